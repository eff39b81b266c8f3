//! Events as the document describes them.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::agent_schemas::AgentPin;
use super::run_schemas::{Item, Role, RunError, RunLimits, Usage, WaitingReason};
use super::tool_schemas::{ToolUse, WaitingCall};

/// One event. Within a run `seq` is 0, 1, 2, … without a gap, and an event never changes.
#[derive(Deserialize, ToSchema)]
pub(super) struct Event {
    /// Its place in the run's log.
    seq: u64,
    run_id: String,
    #[schema(format = DateTime)]
    at: String,
    #[serde(flatten)]
    body: EventBody,
}

/// What happened. A log of a run that has ended has exactly one of `run.completed`, `run.failed` and `run.cancelled`, as its last event.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type")]
pub(super) enum EventBody {
    /// The run exists; always the first event.
    #[serde(rename = "run.created")]
    RunCreated { spec: RunSpec },
    /// The run waits; position 1 is next in its account's line.
    #[serde(rename = "run.queued")]
    RunQueued { position: u64, reason: QueuedReason },
    /// The run has moved up.
    #[serde(rename = "run.queue_position")]
    RunQueuePosition { position: u64 },
    /// An actor works on the run; `epoch` grows by one with each take-over.
    #[serde(rename = "run.started")]
    RunStarted { epoch: u64 },
    /// An actor took the run over from one that was lost.
    #[serde(rename = "run.recovered")]
    RunRecovered { epoch: u64, lost: Option<LostEvents> },
    /// The run needs something from outside.
    #[serde(rename = "run.waiting")]
    RunWaiting {
        reason: WaitingReason,
        /// The tool calls that somebody has to answer or decide.
        calls: Option<Vec<WaitingCall>>,
    },
    /// Somebody has decided about a tool call.
    #[serde(rename = "tool.decided")]
    ToolDecided {
        item_id: String,
        call_id: String,
        decision: ToolDecision,
        /// With `approved`: arguments instead of the model's, JSON text.
        arguments: Option<String>,
    },
    /// Tools that the run was to have are not there, this time.
    #[serde(rename = "tools.unavailable")]
    ToolsUnavailable { source: String, reason: String },
    /// A tool call that is under way says how far it is.
    #[serde(rename = "tool.progress")]
    ToolProgress {
        item_id: String,
        call_id: String,
        progress: f64,
        /// What `progress` grows to, if the tool knows.
        total: Option<f64>,
        message: Option<String>,
    },
    /// The provider failed in a way that may pass; try number `attempt` follows after `delay_ms`.
    #[serde(rename = "model.retrying")]
    ModelRetrying {
        attempt: u32,
        error: RunError,
        delay_ms: u64,
    },
    /// The next model call waits for room under the limits of the provider's keys, for about `estimate_ms`.
    #[serde(rename = "model.waiting")]
    ModelWaiting {
        reason: ModelWaitingReason,
        estimate_ms: u64,
    },
    /// A provider could not answer; the call goes to another one of the model's route.
    #[serde(rename = "model.rerouted")]
    ModelRerouted { provider: String, error: RunError },
    /// A model call has ended.
    #[serde(rename = "model.completed")]
    ModelCompleted {
        step: u32,
        /// Who answered, as the server's configuration names it.
        #[serde(default)]
        provider: String,
        /// What answered, as the provider names it.
        model: String,
        /// True if the answer was there already, and nobody was asked; else not there.
        #[serde(default)]
        cached: bool,
        /// US dollars by the server's prices; not there if nothing.
        #[serde(default)]
        cost_usd: f64,
        /// True if no real model was asked; else not there.
        #[serde(default)]
        simulated: bool,
        usage: Usage,
        finish_reason: FinishReason,
    },
    /// An item begins; `index` counts the run's items from 0, without its input.
    #[serde(rename = "item.added")]
    ItemAdded {
        item_id: String,
        index: u32,
        item: ItemSeed,
    },
    /// A message grows.
    #[serde(rename = "text.delta")]
    TextDelta { item_id: String, delta: String },
    /// Reasoning grows.
    #[serde(rename = "reasoning.delta")]
    ReasoningDelta { item_id: String, delta: String },
    /// A tool call's arguments grow.
    #[serde(rename = "arguments.delta")]
    ArgumentsDelta { item_id: String, delta: String },
    /// An item is whole and durable.
    #[serde(rename = "item.completed")]
    ItemCompleted { index: u32, item: Item },
    /// An item was cut off.
    #[serde(rename = "item.incomplete")]
    ItemIncomplete { index: u32, item: Item },
    /// The end: the model had no more to say.
    #[serde(rename = "run.completed")]
    RunCompleted { usage: Usage },
    /// The end: an error, a limit or a deadline.
    #[serde(rename = "run.failed")]
    RunFailed { error: RunError, usage: Usage },
    /// The end: someone asked for it.
    #[serde(rename = "run.cancelled")]
    RunCancelled { usage: Usage },
}

/// What was asked for, with the server's defaults filled in. What is empty is not there.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunSpec {
    agent: Option<AgentPin>,
    model: String,
    fallback_models: Option<Vec<String>>,
    instructions: Option<String>,
    tools: Option<Vec<ToolUse>>,
    model_options: Option<Map<String, Value>>,
    metadata: Option<std::collections::BTreeMap<String, String>>,
    limits: RunLimits,
}

/// Why a run is in the queue.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum QueuedReason {
    Quota,
    Capacity,
    HandedOver,
    Resumed,
}

/// What was decided about a tool call.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToolDecision {
    Approved,
    Refused,
    Retry,
    ResultTaken,
    RunFailed,
}

/// What a model call has too little of while it waits.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ModelWaitingReason {
    RequestsPerMinute,
    TokensPerMinute,
    ConcurrentCalls,
    CoolingDown,
    Line,
    Budget,
}

/// Seqs that may have been seen and will never be used again (durability `relaxed` only).
#[derive(Deserialize, ToSchema)]
pub(super) struct LostEvents {
    from: u64,
    to: u64,
}

/// Why a model stopped.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FinishReason {
    Stop,
    ToolCalls,
    Length,
    ContentFilter,
}

/// What is known of an item when it begins.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ItemSeed {
    /// `text.delta` follow.
    Message { role: Role },
    /// `reasoning.delta` follow.
    Reasoning,
    /// `arguments.delta` follow.
    ToolCall { call_id: String, name: String },
    /// The result comes whole.
    ToolResult { call_id: String },
}

/// A part of a run's log.
#[derive(Deserialize, ToSchema)]
pub(super) struct EventPage {
    data: Vec<Event>,
    has_more: bool,
    /// For `?after=`; `null` if there is no more at the moment.
    #[schema(required)]
    next_cursor: Option<String>,
    /// For the `?after=` of the next request, also when there was nothing new.
    #[schema(required)]
    last_seq: Option<u64>,
    /// The page has the run's last event.
    ended: bool,
}
