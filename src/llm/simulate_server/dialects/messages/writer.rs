//! How Anthropic writes an answer.

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use serde_json::{Value, json};

use super::error_kind;
use crate::llm::simulate_server::dialects::{Answer, AnswerWriter, Opening, Problem, ToolCall, write_event};
use crate::llm::simulate_server::seal::signature_of;
use crate::llm::simulated::script::MODEL_NAME;

#[derive(Default)]
pub(super) struct MessagesWriter {
    answer: Answer,
    /// The number of the block that is open, or comes next.
    index: u32,
    open: Option<OpenBlock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenBlock {
    Thinking,
    Text,
    ToolUse,
}

impl MessagesWriter {
    fn open(&mut self, kind: OpenBlock, block: &Value, out: &mut String) {
        self.close(out);
        let event = json!({"type": "content_block_start", "index": self.index, "content_block": block});
        write_event("content_block_start", &event, out);
        self.open = Some(kind);
    }

    fn delta(&self, delta: &Value, out: &mut String) {
        let event = json!({"type": "content_block_delta", "index": self.index, "delta": delta});
        write_event("content_block_delta", &event, out);
    }

    fn close(&mut self, out: &mut String) {
        let Some(open) = self.open.take() else { return };
        if open == OpenBlock::Thinking {
            let signature = signature_of(&self.answer.thought);
            self.delta(&json!({"type": "signature_delta", "signature": signature}), out);
        }
        let event = json!({"type": "content_block_stop", "index": self.index});
        write_event("content_block_stop", &event, out);
        self.index += 1;
    }
}

impl AnswerWriter for MessagesWriter {
    fn begin(&mut self, opening: &Opening, out: &mut String) {
        let mut message = message(opening, &[]);
        message["usage"] = usage_json(&Usage {
            output_tokens: 1,
            ..opening.input
        });
        write_event(
            "message_start",
            &json!({"type": "message_start", "message": message}),
            out,
        );
        write_event("ping", &json!({"type": "ping"}), out);
    }

    fn write(&mut self, piece: &ModelDelta, out: &mut String) {
        match piece {
            ModelDelta::Reasoning(text) => {
                if self.open != Some(OpenBlock::Thinking) {
                    let block = json!({"type": "thinking", "thinking": "", "signature": ""});
                    self.open(OpenBlock::Thinking, &block, out);
                }
                self.delta(&json!({"type": "thinking_delta", "thinking": text}), out);
            }
            ModelDelta::Text(text) => {
                if self.open != Some(OpenBlock::Text) {
                    self.open(OpenBlock::Text, &json!({"type": "text", "text": ""}), out);
                }
                self.delta(&json!({"type": "text_delta", "text": text}), out);
            }
            ModelDelta::ReasoningSealed(_) | ModelDelta::Working => {}
            ModelDelta::ToolCallStarted { call_id, name, .. } => {
                let block = json!({"type": "tool_use", "id": tool_use_id(call_id), "name": name, "input": {}});
                self.open(OpenBlock::ToolUse, &block, out);
                self.delta(&json!({"type": "input_json_delta", "partial_json": ""}), out);
            }
            ModelDelta::ToolCallArguments { delta, .. } => {
                self.delta(&json!({"type": "input_json_delta", "partial_json": delta}), out);
            }
            ModelDelta::Finished { reason, usage, .. } => {
                self.close(out);
                let delta = json!({"stop_reason": reason_name(*reason), "stop_sequence": null});
                let event = json!({"type": "message_delta", "delta": delta, "usage": usage_json(usage)});
                write_event("message_delta", &event, out);
                write_event("message_stop", &json!({"type": "message_stop"}), out);
            }
        }
        self.answer.add(piece);
    }

    fn fail(&mut self, status: u16, out: &mut String) {
        let message = Problem::Trouble(status).message();
        let event = json!({"type": "error", "error": {"type": error_kind(status), "message": message}});
        write_event("error", &event, out);
    }

    fn whole(&mut self, opening: &Opening, answer: &Answer) -> Value {
        let (reason, usage) = answer.end.unwrap_or((FinishReason::Stop, opening.input));
        let mut blocks = Vec::new();
        if !answer.thought.is_empty() {
            let signature = signature_of(&answer.thought);
            blocks.push(json!({"type": "thinking", "thinking": answer.thought, "signature": signature}));
        }
        if !answer.text.is_empty() {
            blocks.push(json!({"type": "text", "text": answer.text}));
        }
        blocks.extend(answer.calls.iter().map(tool_use));
        let mut message = message(opening, &blocks);
        message["stop_reason"] = reason_name(reason).into();
        message["usage"] = usage_json(&usage);
        message
    }
}

fn message(opening: &Opening, blocks: &[Value]) -> Value {
    json!({
        "id": format!("msg_{}", opening.id), "type": "message", "role": "assistant", "model": MODEL_NAME, "content": blocks,
        "stop_reason": null, "stop_sequence": null
    })
}

fn tool_use(call: &ToolCall) -> Value {
    // Arguments that are no JSON cannot be said in one piece.
    let input: Value = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!({}));
    json!({"type": "tool_use", "id": tool_use_id(&call.id), "name": call.name, "input": input})
}

fn tool_use_id(call_id: &str) -> String {
    format!("toolu_{}", call_id.strip_prefix("call_").unwrap_or(call_id))
}

/// Here the tokens that were read from the cache, or put into it, are counted apart.
fn usage_json(usage: &Usage) -> Value {
    let (read, written) = (usage.cached_input_tokens, usage.cache_write_input_tokens);
    json!({
        "input_tokens": usage.input_tokens - read - written, "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
        "output_tokens": usage.output_tokens
    })
}

const fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "end_turn",
        FinishReason::ToolCalls => "tool_use",
        FinishReason::Length => "max_tokens",
        FinishReason::ContentFilter => "refusal",
    }
}
