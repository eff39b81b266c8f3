//! Port `Tool`: something the model may ask for.
//!
//! The caller bounds the time and the output, runs calls of one step in parallel and catches panics; a tool just does its work.
//! A tool's failure is told to the model, which may try something else; a tool's panic ends the run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::ids::{AccountId, ItemId, RunId};
pub use crate::ports::tool_progress::{ProgressReporter, ToolProgress};

/// Something the model may ask for.
#[async_trait]
pub trait Tool: Send + Sync + 'static {
    /// What the model is told about it.
    fn definition(&self) -> ToolDefinition;

    /// What may be done after a crash between call and result. The careful answer is the default.
    fn retry_class(&self) -> RetryClass {
        RetryClass::Unsafe
    }

    /// How long a call may take, if less than the configured time-out.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// The places that a call of this account takes while it is made: one of each, in this order, so that whoever has many calls waits for its
    /// own place before it takes one that others want. A call that finds none free waits, within its time-out. Empty is no limit but the run's
    /// own. No semaphore is ever closed.
    fn places(&self, _account: &AccountId) -> Vec<Arc<Semaphore>> {
        Vec::new()
    }

    /// What its calls are counted under in metrics. There must be few of them: a name that clients choose is none.
    fn label(&self) -> Arc<str> {
        "custom".into()
    }

    /// Does it. The future is dropped on time-out and on cancel.
    async fn call(&self, call: ToolCall) -> Result<String, ToolError>;

    /// The same, for a tool that can say how far it is.
    async fn call_with_progress(&self, call: ToolCall, progress: ProgressReporter) -> Result<String, ToolError> {
        drop(progress);
        self.call(call).await
    }
}

/// What the model is told about a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolDefinition {
    /// How the model names it.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema of its arguments: an object.
    pub parameters: Value,
}

/// One call.
#[derive(Debug, Clone)]
pub struct ToolCall {
    /// Whose run: a tool shows it nothing of another account.
    pub account: AccountId,
    /// Which run.
    pub run_id: RunId,
    /// The call's item: stays the same when the call is made again, so it can serve as an idempotency key.
    pub item_id: ItemId,
    /// Parsed JSON, of any shape: models make mistakes.
    pub arguments: Value,
}

/// Whether a call without a known result may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// It changes nothing.
    Safe,
    /// Made twice with the same item id, it acts once.
    Idempotent,
    /// Made twice, it acts twice. Never repeated by the server.
    Unsafe,
}

/// Why a call failed; the model is told the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// One sentence that helps the model to do better.
    pub message: String,
}

impl ToolError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}
