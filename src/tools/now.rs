//! `now`: what time it is.

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::time::Timestamp;
use serde::Deserialize;
use serde_json::json;

pub(super) struct Now;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {}

#[async_trait]
impl Tool for Now {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "now".into(),
            description: "The current date and time in UTC (RFC 3339).".into(),
            parameters: json!({"type": "object", "properties": {}, "additionalProperties": false}),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments {} = super::arguments(call.arguments)?;
        Ok(Timestamp::now().to_string())
    }
}
