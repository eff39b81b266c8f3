//! The items that an answer consists of.

use serde_json::{Value, json};

use super::writer::Thoughts;
use crate::llm::simulate_server::dialects::ToolCall;
use crate::llm::simulate_server::seal::encrypted;

pub(super) fn reasoning(id: &str, thought: &str, thoughts: Thoughts) -> Value {
    let summary: Vec<_> = thoughts
        .with_summary
        .then(|| summary_part(thought))
        .into_iter()
        .collect();
    let mut item = json!({"type": "reasoning", "id": id, "summary": summary});
    if thoughts.with_encrypted {
        item["encrypted_content"] = encrypted(thought).into();
    }
    item
}

pub(super) fn summary_part(thought: &str) -> Value {
    json!({"type": "summary_text", "text": thought})
}

pub(super) fn message(id: &str, text: &str) -> Value {
    json!({"type": "message", "id": id, "status": "completed", "role": "assistant", "content": [text_part(text)]})
}

pub(super) fn text_part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

pub(super) fn function_call(id: &str, call: &ToolCall) -> Value {
    json!({
        "type": "function_call", "id": id, "call_id": call.id, "name": call.name, "arguments": call.arguments,
        "status": "completed"
    })
}
