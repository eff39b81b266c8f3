//! The event vocabulary: everything a subscriber of a run can see, in one growing sequence.
//!
//! Order within a run: `run.created` (seq 0), then `run.queued` or `run.started`, … and exactly one of `run.completed`, `run.failed`,
//! `run.cancelled` as the last. Per item: `item.added`, deltas, then `item.completed` or `item.incomplete`, each carrying the whole item.
//! Indices count items of the run in the order they were added and never repeat. That is enough to write any other protocol as a
//! pure fold over the log.

use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::ids::{ItemId, RunId};
use crate::item::{Item, Role, Usage};
use crate::money::Money;
use crate::ports::tool::ToolProgress;
use crate::run_state::RunState;
use crate::spec::RunSpec;
use crate::time::Timestamp;

/// One event as clients read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Place in the run's log: starts at 0 and grows by exactly 1.
    pub seq: u64,
    /// Whose log.
    pub run_id: RunId,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    /// The run exists.
    #[serde(rename = "run.created")]
    RunCreated {
        /// What was asked for.
        spec: RunSpec,
    },
    /// The run waits for a Permit and a Slot.
    #[serde(rename = "run.queued")]
    RunQueued {
        /// 1 is next in the account's line.
        position: u64,
        /// Why it is (again) in the queue.
        reason: QueuedReason,
    },
    /// The run has moved up. Told about once each time its place halves, and no more often than the configured interval.
    #[serde(rename = "run.queue_position")]
    RunQueuePosition {
        /// 1 is next in the account's line.
        position: u64,
    },
    /// An actor works on the run.
    #[serde(rename = "run.started")]
    RunStarted {
        /// Grows by one with each take-over.
        epoch: u64,
    },
    /// An actor took the run over from one that was lost.
    #[serde(rename = "run.recovered")]
    RunRecovered {
        /// Grows by one with each take-over.
        epoch: u64,
        /// Events that may have been seen but are gone (durability `relaxed` only): their seqs are never used again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lost: Option<LostEvents>,
    },
    /// The run needs something from outside.
    #[serde(rename = "run.waiting")]
    RunWaiting {
        /// What it needs.
        reason: WaitingReason,
        /// The tool calls that somebody has to answer or decide.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<WaitingCall>,
    },
    /// Somebody has decided about a tool call.
    #[serde(rename = "tool.decided")]
    ToolDecided {
        /// The item of the call.
        item_id: ItemId,
        /// The model's name for the call.
        call_id: String,
        /// What was decided.
        #[serde(flatten)]
        decision: ToolDecision,
    },
    /// A tool call that is under way says how far it is: at most once a second, and the latest it said. Its result tells the rest.
    #[serde(rename = "tool.progress")]
    ToolProgress {
        /// The item of the call.
        item_id: ItemId,
        /// The model's name for the call.
        call_id: String,
        /// How far, in the tool's own measure.
        #[serde(flatten)]
        progress: ToolProgress,
    },
    /// The provider failed in a way that may pass; the call is made again.
    #[serde(rename = "model.retrying")]
    ModelRetrying {
        /// The try that is to come; the first was 1.
        attempt: u32,
        /// What went wrong with the last one.
        error: RunError,
        /// Milliseconds until then.
        delay_ms: u64,
    },
    /// The next model call waits: the limits of the keys leave no room at the moment. Told once per wait, unless that is short.
    #[serde(rename = "model.waiting")]
    ModelWaiting {
        /// What there is too little of.
        reason: ModelWaitingReason,
        /// Milliseconds until its turn, as far as can be said now.
        estimate_ms: u64,
    },
    /// The provider that was asked cannot answer now; the call goes to the next one of the model's route.
    #[serde(rename = "model.rerouted")]
    ModelRerouted {
        /// The provider that is asked next.
        provider: String,
        /// What went wrong with the one before.
        error: RunError,
    },
    /// Tools that the run was to have are not there, this time: the run goes on without them.
    #[serde(rename = "tools.unavailable")]
    ToolsUnavailable {
        /// The tool, or the server whose tools they are.
        source: String,
        /// Why.
        reason: String,
    },
    /// A model call has ended.
    #[serde(rename = "model.completed")]
    ModelCompleted {
        /// Which step of the run it was, from 1.
        step: u32,
        /// The provider that answered, as `config.toml` names it.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        provider: String,
        /// What answered, as the provider names it.
        model: String,
        /// True if nobody was asked: the same call was answered before, or at the same moment, for this account.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        cached: bool,
        /// US dollars, by the prices in `config.toml`.
        #[serde(default, skip_serializing_if = "Money::is_zero")]
        cost_usd: Money,
        /// True if no real model was asked.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        simulated: bool,
        /// What it cost.
        usage: Usage,
        /// Why it ended.
        finish_reason: FinishReason,
    },
    /// An item begins.
    #[serde(rename = "item.added")]
    ItemAdded {
        /// Its name.
        item_id: ItemId,
        /// Its place among the run's items, from 0; input items are not counted.
        index: u32,
        /// What it will be.
        item: ItemSeed,
    },
    /// A message grows.
    #[serde(rename = "text.delta")]
    TextDelta {
        /// Which.
        item_id: ItemId,
        /// By what.
        delta: String,
    },
    /// A reasoning item grows.
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta {
        /// Which.
        item_id: ItemId,
        /// By what.
        delta: String,
    },
    /// A tool call's arguments grow.
    #[serde(rename = "arguments.delta")]
    ArgumentsDelta {
        /// Which.
        item_id: ItemId,
        /// By what.
        delta: String,
    },
    /// An item is whole and durable.
    #[serde(rename = "item.completed")]
    ItemCompleted {
        /// Its place among the run's items.
        index: u32,
        /// All of it.
        item: Item,
    },
    /// An item was cut off; it is kept, but is no part of the output.
    #[serde(rename = "item.incomplete")]
    ItemIncomplete {
        /// Its place among the run's items.
        index: u32,
        /// What there is of it.
        item: Item,
    },
    /// The end: the model had no more to say.
    #[serde(rename = "run.completed")]
    RunCompleted {
        /// Of all its model calls.
        usage: Usage,
    },
    /// The end: an error, a limit or a deadline.
    #[serde(rename = "run.failed")]
    RunFailed {
        /// Which.
        error: RunError,
        /// Of all its model calls.
        usage: Usage,
    },
    /// The end: someone asked for it.
    #[serde(rename = "run.cancelled")]
    RunCancelled {
        /// Of all its model calls.
        usage: Usage,
    },
}

/// What is known of an item when it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemSeed {
    /// `text.delta` follow.
    Message {
        /// Who speaks.
        role: Role,
    },
    /// `reasoning.delta` follow.
    Reasoning,
    /// `arguments.delta` follow.
    ToolCall {
        /// The model's name for this call.
        call_id: String,
        /// Which tool.
        name: String,
    },
    /// No deltas; the result comes whole.
    ToolResult {
        /// The call it answers.
        call_id: String,
    },
}

/// Why a run is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueuedReason {
    /// The account has as many runs running as its tier allows.
    Quota,
    /// This server has as many runs running as it can bear.
    Capacity,
    /// The instance that had it left.
    HandedOver,
    /// What it waited for has come.
    Resumed,
}

/// What a waiting run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingReason {
    /// A tool call that is not safe to repeat was cut off by a crash: a person must say what became of it.
    NeedsReview,
    /// The account's budget is used up: it goes on after a top-up, or when the next period begins.
    Budget,
    /// The client has to answer tool calls.
    ToolOutputs,
    /// A person has to say whether tool calls may be made.
    Approval,
}

/// A tool call that somebody has to answer or to decide about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingCall {
    /// The item of the call.
    pub item_id: ItemId,
    /// The model's name for the call.
    pub call_id: String,
    /// Which tool.
    pub name: String,
    /// JSON text.
    pub arguments: String,
    /// What it waits for.
    pub needs: WaitingNeed,
    /// When it is given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
}

/// What a tool call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingNeed {
    /// `POST /runs/{id}/tool_outputs`.
    Output,
    /// `POST /runs/{id}/approvals`.
    Approval,
    /// `POST /runs/{id}/review`.
    Review,
}

/// What was decided about a tool call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum ToolDecision {
    /// It may be made.
    Approved {
        /// With these arguments instead of the model's: JSON text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        arguments: Option<String>,
    },
    /// It may not be made.
    Refused,
    /// It is made again, although nobody knows what became of it.
    Retry,
    /// Whoever decided said what it brought.
    ResultTaken,
    /// The run ends because of it.
    RunFailed,
}

/// Why a model call waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelWaitingReason {
    /// Calls per minute of all keys are used up.
    RequestsPerMinute,
    /// Tokens per minute of all keys are used up.
    TokensPerMinute,
    /// All keys have as many calls under way as they may.
    ConcurrentCalls,
    /// The provider asked to be left alone for a while.
    CoolingDown,
    /// Calls of other runs are first in line.
    Line,
    /// What is left of the account's budget is held by other calls, which may use less.
    Budget,
}

impl ModelWaitingReason {
    /// The name in JSON and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::ConcurrentCalls => "concurrent_calls",
            Self::CoolingDown => "cooling_down",
            Self::Line => "line",
            Self::Budget => "budget",
        }
    }
}

/// Why a model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had no more to say.
    Stop,
    /// It wants tools.
    ToolCalls,
    /// It reached the limit of output tokens.
    Length,
    /// The provider withheld the rest.
    ContentFilter,
}

/// A closed range of seqs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostEvents {
    /// First lost seq.
    pub from: u64,
    /// Last lost seq.
    pub to: u64,
}

impl EventBody {
    /// The `type` of the event.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RunCreated { .. } => "run.created",
            Self::RunQueued { .. } => "run.queued",
            Self::RunQueuePosition { .. } => "run.queue_position",
            Self::RunStarted { .. } => "run.started",
            Self::RunRecovered { .. } => "run.recovered",
            Self::RunWaiting { .. } => "run.waiting",
            Self::ToolDecided { .. } => "tool.decided",
            Self::ToolProgress { .. } => "tool.progress",
            Self::ModelRetrying { .. } => "model.retrying",
            Self::ModelWaiting { .. } => "model.waiting",
            Self::ModelRerouted { .. } => "model.rerouted",
            Self::ToolsUnavailable { .. } => "tools.unavailable",
            Self::ModelCompleted { .. } => "model.completed",
            Self::ItemAdded { .. } => "item.added",
            Self::TextDelta { .. } => "text.delta",
            Self::ReasoningDelta { .. } => "reasoning.delta",
            Self::ArgumentsDelta { .. } => "arguments.delta",
            Self::ItemCompleted { .. } => "item.completed",
            Self::ItemIncomplete { .. } => "item.incomplete",
            Self::RunCompleted { .. } => "run.completed",
            Self::RunFailed { .. } => "run.failed",
            Self::RunCancelled { .. } => "run.cancelled",
        }
    }

    /// Whether it only makes an item grow: all it says is said again by the item's end.
    pub const fn is_delta(&self) -> bool {
        matches!(
            self,
            Self::TextDelta { .. } | Self::ReasoningDelta { .. } | Self::ArgumentsDelta { .. }
        )
    }

    /// Whether it is the last event of its run.
    pub const fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::RunCompleted { .. } | Self::RunFailed { .. } | Self::RunCancelled { .. }
        )
    }

    /// The event that tells of a run's end in `state`, with what the run cost. `None` if `state` is not an end.
    pub fn ending(state: RunState, error: Option<&RunError>, usage: Usage) -> Option<Self> {
        match state {
            RunState::Completed => Some(Self::RunCompleted { usage }),
            RunState::Cancelled => Some(Self::RunCancelled { usage }),
            RunState::Failed => Some(Self::RunFailed {
                error: error.cloned().unwrap_or_else(RunError::internal),
                usage,
            }),
            RunState::Queued | RunState::Running | RunState::Waiting => None,
        }
    }
}

/// The largest seq a client may name, so that arithmetic on it is safe everywhere (2^53 - 1, the largest whole number of JSON readers).
pub const MAX_SEQ: u64 = (1 << 53) - 1;
