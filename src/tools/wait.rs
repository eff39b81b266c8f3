//! `wait`: does nothing for a while.

use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use serde::Deserialize;
use serde_json::json;

/// The longest wait, in milliseconds.
const MAX_MILLISECONDS: u64 = 60_000;

pub(super) struct Wait;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    milliseconds: u64,
}

#[async_trait]
impl Tool for Wait {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "wait".into(),
            description: "Waits, then says how long it did.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"milliseconds": {"type": "integer", "minimum": 0, "maximum": MAX_MILLISECONDS}},
                "required": ["milliseconds"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { milliseconds } = super::arguments(call.arguments)?;
        if milliseconds > MAX_MILLISECONDS {
            return Err(ToolError::new(format!(
                "milliseconds must be at most {MAX_MILLISECONDS}"
            )));
        }
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        Ok(format!("waited {milliseconds} ms"))
    }
}
