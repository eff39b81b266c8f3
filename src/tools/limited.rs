//! A tool of the server under the limits of the configuration.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::AccountId;
use callboard_actors::ports::{ProgressReporter, RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use tokio::sync::Semaphore;

/// What a tool of the server keeps to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolLimits {
    /// How long a call may take, if less than others.
    pub timeout: Option<Duration>,
    /// Calls that are made at once, of all runs of this instance.
    pub max_concurrent: Option<usize>,
}

/// A tool under limits, counted under its name: those of the server are few.
pub(super) struct LimitedTool {
    tool: Arc<dyn Tool>,
    name: Arc<str>,
    timeout: Option<Duration>,
    places: Option<Arc<Semaphore>>,
}

impl LimitedTool {
    pub(super) fn new(tool: Arc<dyn Tool>, name: &str, limits: ToolLimits) -> Self {
        let own = tool.timeout();
        Self {
            name: name.into(),
            timeout: own.into_iter().chain(limits.timeout).min(),
            places: limits.max_concurrent.map(|most| Arc::new(Semaphore::new(most))),
            tool,
        }
    }
}

#[async_trait]
impl Tool for LimitedTool {
    fn definition(&self) -> ToolDefinition {
        self.tool.definition()
    }

    fn retry_class(&self) -> RetryClass {
        self.tool.retry_class()
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Its own first: those may be of the account only.
    fn places(&self, account: &AccountId) -> Vec<Arc<Semaphore>> {
        let mut places = self.tool.places(account);
        places.extend(self.places.clone());
        places
    }

    fn label(&self) -> Arc<str> {
        self.name.clone()
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        self.tool.call(call).await
    }

    async fn call_with_progress(&self, call: ToolCall, progress: ProgressReporter) -> Result<String, ToolError> {
        self.tool.call_with_progress(call, progress).await
    }
}
