//! A server with a tool of its own.
//!
//! ```sh
//! cargo run --example custom_tool
//! curl -N http://127.0.0.1:8700/api/v1/runs -H 'content-type: application/json' -d '{
//!   "input": "Roll three dice", "stream": true, "tools": ["roll_dice"],
//!   "model_options": {"simulate": {"tool_calls": [{"name": "roll_dice", "arguments": {"dice": 3}}]}}}'
//! ```
//!
//! A tool only does its work. The server bounds its time and output, runs the calls of one step in parallel, tells the model of errors,
//! and writes the result down before the next step begins.

use std::sync::Arc;

use async_trait::async_trait;
use callboard::config::{Sources, load, this_machine};
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use rand::RngExt;
use serde_json::json;

const MOST_DICE: u64 = 100;

struct RollDice;

#[async_trait]
impl Tool for RollDice {
    /// What the model is told: a name, what it is good for, and a JSON Schema of its arguments.
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "roll_dice".into(),
            description: "Rolls dice with six sides; gives each number.".into(),
            parameters: json!({
                "type": "object",
                "properties": {"dice": {"type": "integer", "minimum": 1, "maximum": MOST_DICE}},
                "required": ["dice"],
                "additionalProperties": false
            }),
        }
    }

    /// Rolling again does no harm, so the server may, if it crashed before the numbers were written down. The default says no: then such
    /// a run waits for a person. What sends an e-mail or moves money should say `Unsafe`, or use `call.item_id` as its idempotency key.
    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    /// The model reads the error, too, and may do better: say what was expected.
    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let dice = call.arguments["dice"]
            .as_u64()
            .filter(|dice| (1..=MOST_DICE).contains(dice))
            .ok_or_else(|| ToolError::new(format!("`dice` must be a whole number from 1 to {MOST_DICE}")))?;
        let mut random = rand::rng();
        let numbers: Vec<u8> = (0..dice).map(|_| random.random_range(1..=6)).collect();
        Ok(json!({"numbers": numbers}).to_string())
    }
}

fn main() -> anyhow::Result<()> {
    // As the `callboard` binary does: config.toml if there is one, then the environment.
    let loaded = load(Sources::of_this_process(None))?;
    callboard::app::serve_with_tools(&loaded.config, this_machine(), vec![Arc::new(RollDice)])
}
