//! What events are made of.

use serde::{Deserialize, Serialize};

use crate::ids::ItemId;
use crate::item::Role;
use crate::time::Timestamp;

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
    /// No deltas; the summary comes whole.
    Summary,
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
    /// A run before it in its thread has not ended. Its position is that in the thread: 1 is next.
    ThreadBusy,
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

impl WaitingReason {
    /// As clients and metrics read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeedsReview => "needs_review",
            Self::Budget => "budget",
            Self::ToolOutputs => "tool_outputs",
            Self::Approval => "approval",
        }
    }
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
