//! `echo`: says again what it was told, as often as asked.

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use serde::Deserialize;
use serde_json::json;

/// The longest answer, in bytes.
const MAX_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct Echo;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    text: String,
    #[serde(default = "once")]
    repeat: usize,
}

const fn once() -> usize {
    1
}

#[async_trait]
impl Tool for Echo {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "echo".into(),
            description: "Gives a text back, repeated if asked.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "repeat": {"type": "integer", "minimum": 1, "description": "how often; 1 if left out"}
                },
                "required": ["text"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { text, repeat } = super::arguments(call.arguments)?;
        if text.len().saturating_mul(repeat) > MAX_BYTES {
            return Err(ToolError::new(format!(
                "the answer would be longer than {MAX_BYTES} bytes"
            )));
        }
        Ok(text.repeat(repeat))
    }
}
