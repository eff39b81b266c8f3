//! Built-in tools: harmless ones, enough to see a run call tools.

mod declarations;
mod echo;
mod http_tool;
mod limited;
pub mod mcp;
mod now;
mod places;
mod reach;
pub mod schema;
mod toolbox;
mod wait;

use std::sync::Arc;

use callboard_actors::ports::{Tool, ToolError};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use limited::ToolLimits;
pub use reach::ToolReach;
pub use toolbox::{ServerToolbox, ToolboxOptions};

/// The names of all built-in tools.
pub fn builtin_names() -> [&'static str; 3] {
    ["now", "echo", "wait"]
}

/// The built-in tool with this name.
pub fn builtin(name: &str) -> Option<Arc<dyn Tool>> {
    match name {
        "now" => Some(Arc::new(now::Now)),
        "echo" => Some(Arc::new(echo::Echo)),
        "wait" => Some(Arc::new(wait::Wait)),
        _ => None,
    }
}

/// Reads a tool's arguments; the error tells the model what to mend.
fn arguments<T: DeserializeOwned>(value: Value) -> Result<T, ToolError> {
    serde_json::from_value(value).map_err(|error| ToolError::new(format!("wrong arguments: {error}")))
}
