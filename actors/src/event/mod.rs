//! The event vocabulary: everything a subscriber of a run can see, in one growing sequence.
//!
//! Order within a run: `run.created` (seq 0), then `run.queued` or `run.started`, … and exactly one of `run.completed`, `run.failed`,
//! `run.cancelled` as the last. Per item: `item.added`, deltas, then `item.completed` or `item.incomplete`, each carrying the whole item.
//! Indices count items of the run in the order they were added and never repeat. That is enough to write any other protocol as a
//! pure fold over the log.

use std::sync::Arc;

mod parts;

use serde::{Deserialize, Serialize};

use crate::error::RunError;
use crate::ids::{ItemId, RunId};
use crate::item::{Item, Usage};
use crate::money::Money;
use crate::ports::tool::ToolProgress;
use crate::run_state::RunState;
use crate::spec::RunSpec;
use crate::time::Timestamp;
pub use parts::{
    FinishReason, ItemSeed, LostEvents, ModelWaitingReason, QueuedReason, ToolDecision, WaitingCall, WaitingNeed,
    WaitingReason,
};

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
        spec: Arc<RunSpec>,
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
    /// The thread is longer than the model may see: its oldest turns were left out, as the run's history policy says.
    #[serde(rename = "history.trimmed")]
    HistoryTrimmed {
        /// Turns (runs of the thread) that were left out.
        turns: u64,
        /// Tokens that they would have taken, estimated.
        tokens: u64,
        /// Turns that the model sees.
        kept_turns: u64,
        /// Tokens that these take, estimated.
        kept_tokens: u64,
    },
    /// The thread is longer than the model may see: it sees a summary in place of the oldest turns. Told in each run that goes on with one;
    /// the run that made it has it as an item.
    #[serde(rename = "history.summarized")]
    HistorySummarized {
        /// The summary: an item of this run or of an earlier one of the thread.
        item_id: ItemId,
        /// Turns that it stands for.
        turns: u64,
        /// Tokens that they would have taken, estimated.
        tokens: u64,
        /// Turns that the model sees whole.
        kept_turns: u64,
        /// Tokens that these take, estimated.
        kept_tokens: u64,
        /// Tokens that the summary takes, estimated.
        summary_tokens: u64,
    },
    /// No summary could be made: the run goes on without the turns that it was to stand for, which `history.trimmed` tells of.
    #[serde(rename = "history.summary_failed")]
    HistorySummaryFailed {
        /// Why.
        error: RunError,
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
        /// Which step of the run it was, from 1; 0 if it wrote the summary of the history, which is no step.
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
            Self::HistoryTrimmed { .. } => "history.trimmed",
            Self::HistorySummarized { .. } => "history.summarized",
            Self::HistorySummaryFailed { .. } => "history.summary_failed",
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
