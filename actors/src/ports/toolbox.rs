//! Port `Toolbox`: finds the tools that a run may call, wherever they are.
//!
//! Opening happens once for each time that a run is started, on the I/O runtime. A source that does not answer takes away its tools and not
//! the run: it is bounded by a time-out of its own, and the run's log tells what is missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::ids::{AccountId, RunId};
use crate::ports::tool::{Tool, ToolDefinition};
use crate::tool_use::{OnDeadline, ToolUse};

/// Finds the tools that a run may call.
pub trait Toolbox: Send + Sync + 'static {
    /// Checks what a client of this account declares, before anything is taken on. The first thing that is wrong is told.
    fn check(&self, account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool>;

    /// Opens the tools of a run. Those that were declared and are not there (any more) are missing, not an error.
    fn open(&self, wish: ToolsWish) -> ToolsOpening;

    /// The tools that a run may name, for people who look for one.
    fn names(&self) -> Vec<String>;
}

/// Whose tools are to be opened.
#[derive(Debug, Clone)]
pub struct ToolsWish {
    /// Whose run.
    pub account: AccountId,
    /// Which run.
    pub run: RunId,
    /// What it may call.
    pub tools: Vec<ToolUse>,
}

/// Tools that are there, or will be.
pub enum ToolsOpening {
    /// Nothing has to be asked for them.
    Ready(OpenTools),
    /// Somebody has.
    Later(BoxFuture<'static, OpenTools>),
}

/// The tools of a run.
#[derive(Clone, Default)]
pub struct OpenTools {
    /// By the name that the model uses.
    pub tools: BTreeMap<String, RunTool>,
    /// Sources that do not answer.
    pub missing: Vec<MissingTools>,
}

/// A tool of a run.
#[derive(Clone)]
pub struct RunTool {
    /// What the model is told.
    pub definition: ToolDefinition,
    /// Who answers its calls.
    pub answered_by: AnsweredBy,
    /// A person has to say yes to each call.
    pub requires_approval: bool,
    /// Checks arguments against the definition's schema.
    pub arguments: Arc<dyn ArgumentCheck>,
}

/// Who answers the calls of a tool.
#[derive(Clone)]
pub enum AnsweredBy {
    /// This server.
    Server(Arc<dyn Tool>),
    /// The client.
    Client {
        /// How long a call waits for its output; `None`: as long as the run may take.
        deadline: Option<Duration>,
        /// What becomes of it then.
        on_deadline: OnDeadline,
    },
}

/// Reads arguments of a call, and checks them before it is made. Asked on the I/O runtime: what takes longer than a moment is for another
/// thread, and nothing may take long, whatever the schema and the arguments are.
#[async_trait]
pub trait ArgumentCheck: Send + Sync + 'static {
    /// The arguments that are written there. `Err` has a sentence that helps the model to do better.
    async fn read(&self, written: String) -> Result<Value, String>;
}

/// Arguments as a model wrote them; some write nothing where there are none.
///
/// # Errors
/// They are not JSON; the sentence is for the model.
pub fn parse_arguments(written: &str) -> Result<Value, String> {
    let written = if written.trim().is_empty() { "{}" } else { written };
    serde_json::from_str(written).map_err(|error| format!("the arguments are not JSON: {error}"))
}

/// A source of tools that did not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingTools {
    /// Which: the name of a tool or of an MCP server.
    pub source: String,
    /// Why, in a sentence that is fit for clients.
    pub reason: String,
}

/// What is wrong with a declared tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidTool {
    /// Its place in the list.
    pub index: usize,
    /// The field of it, dotted if nested; `None` is the tool as a whole.
    pub field: Option<String>,
    /// Whether it is a name that nobody knows, and not something that is wrong in itself.
    pub is_unknown: bool,
    /// What is wrong.
    pub problem: String,
}
