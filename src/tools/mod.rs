//! Built-in tools.

mod echo;
mod now;
pub mod parse_file;
mod wait;

use std::sync::Arc;

use callboard_actors::ports::{Tool, ToolError};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The names of all built-in tools.
pub fn builtin_names() -> [&'static str; 4] {
    ["now", "echo", "wait", "parse_file"]
}

/// The built-in tool with this name, of those that need nothing of the server.
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
