//! How OpenAI writes a response.

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use serde_json::{Value, json};

use super::output::{function_call, message, reasoning, summary_part, text_part};
use crate::llm::simulate_server::dialects::{Answer, AnswerWriter, Opening, Problem, ToolCall, write_event};
use crate::llm::simulated::script::MODEL_NAME;

pub(super) struct ResponsesWriter {
    /// What the response has of the request.
    frame: Value,
    thoughts: Thoughts,
    opening: Opening,
    answer: Answer,
    /// The items that are whole.
    output: Vec<Value>,
    open: Option<OpenItem>,
    sequence_number: u64,
}

/// What is shown of thoughts; that there are some always is.
#[derive(Clone, Copy)]
pub(super) struct Thoughts {
    pub(super) with_summary: bool,
    pub(super) with_encrypted: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum OpenItem {
    Reasoning,
    Message,
    FunctionCall,
}

impl OpenItem {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Reasoning => "rs",
            Self::Message => "msg",
            Self::FunctionCall => "fc",
        }
    }
}

impl ResponsesWriter {
    pub(super) fn new(frame: Value, thoughts: Thoughts) -> Self {
        Self {
            frame,
            thoughts,
            opening: Opening::default(),
            answer: Answer::default(),
            output: Vec::new(),
            open: None,
            sequence_number: 0,
        }
    }

    /// An event of the response as a whole.
    fn event(&mut self, name: &str, mut fields: Value, out: &mut String) {
        fields["type"] = name.into();
        fields["sequence_number"] = self.sequence_number.into();
        self.sequence_number += 1;
        write_event(name, &fields, out);
    }

    /// An event of the item that is open.
    fn item_event(&mut self, kind: OpenItem, name: &str, mut fields: Value, out: &mut String) {
        fields["item_id"] = self.item_id(kind).into();
        fields["output_index"] = self.output.len().into();
        self.event(name, fields, out);
    }

    fn item_id(&self, kind: OpenItem) -> String {
        format!("{}_{}{:02}", kind.prefix(), self.opening.id, self.output.len())
    }

    fn open(&mut self, kind: OpenItem, mut item: Value, out: &mut String) {
        item["id"] = self.item_id(kind).into();
        let fields = json!({"output_index": self.output.len(), "item": item});
        self.event("response.output_item.added", fields, out);
        self.open = Some(kind);
    }

    fn close(&mut self, out: &mut String) {
        let Some(kind) = self.open.take() else { return };
        let id = self.item_id(kind);
        let item = match kind {
            OpenItem::Reasoning => {
                let thought = self.answer.thought.clone();
                if self.thoughts.with_summary {
                    let done = json!({"summary_index": 0, "text": thought});
                    self.item_event(kind, "response.reasoning_summary_text.done", done, out);
                    let done = json!({"summary_index": 0, "part": summary_part(&thought)});
                    self.item_event(kind, "response.reasoning_summary_part.done", done, out);
                }
                reasoning(&id, &thought, self.thoughts)
            }
            OpenItem::Message => {
                let text = self.answer.text.clone();
                let done = json!({"content_index": 0, "text": text, "logprobs": []});
                self.item_event(kind, "response.output_text.done", done, out);
                let done = json!({"content_index": 0, "part": text_part(&text)});
                self.item_event(kind, "response.content_part.done", done, out);
                message(&id, &text)
            }
            OpenItem::FunctionCall => {
                let Some(call) = self.answer.calls.last().cloned() else {
                    return;
                };
                let done = json!({"name": call.name, "arguments": call.arguments});
                self.item_event(kind, "response.function_call_arguments.done", done, out);
                function_call(&id, &call)
            }
        };
        let done = json!({"output_index": self.output.len(), "item": item});
        self.event("response.output_item.done", done, out);
        self.output.push(item);
    }

    /// The response as it is now.
    fn response(&self, status: &str, usage: Option<&Usage>) -> Value {
        let mut response = self.frame.clone();
        response["id"] = format!("resp_{}", self.opening.id).into();
        response["created_at"] = self.opening.created.into();
        response["model"] = MODEL_NAME.into();
        response["status"] = status.into();
        response["output"] = self.output.clone().into();
        response["usage"] = usage.map_or(Value::Null, usage_json);
        response
    }

    /// The response that has ended, and the name of the event that says so.
    fn ended(&self, reason: FinishReason, usage: &Usage) -> (&'static str, Value) {
        let why = match reason {
            FinishReason::Stop | FinishReason::ToolCalls => {
                return ("response.completed", self.response("completed", Some(usage)));
            }
            FinishReason::Length => "max_output_tokens",
            FinishReason::ContentFilter => "content_filter",
        };
        let mut response = self.response("incomplete", Some(usage));
        response["incomplete_details"] = json!({"reason": why});
        ("response.incomplete", response)
    }

    fn think(&mut self, text: &str, out: &mut String) {
        let is_first = self.open != Some(OpenItem::Reasoning);
        if is_first {
            self.close(out);
            self.open(OpenItem::Reasoning, json!({"type": "reasoning", "summary": []}), out);
        }
        if !self.thoughts.with_summary {
            return;
        }
        if is_first {
            let part = json!({"summary_index": 0, "part": summary_part("")});
            self.item_event(OpenItem::Reasoning, "response.reasoning_summary_part.added", part, out);
        }
        let delta = json!({"summary_index": 0, "delta": text});
        self.item_event(OpenItem::Reasoning, "response.reasoning_summary_text.delta", delta, out);
    }

    fn start_call(&mut self, call: &ToolCall, out: &mut String) {
        let mut item = function_call("", call);
        item["status"] = "in_progress".into();
        self.open(OpenItem::FunctionCall, item, out);
    }
}

impl AnswerWriter for ResponsesWriter {
    fn begin(&mut self, opening: &Opening, out: &mut String) {
        self.opening = opening.clone();
        for name in ["response.created", "response.in_progress"] {
            let response = self.response("in_progress", None);
            self.event(name, json!({"response": response}), out);
        }
    }

    fn write(&mut self, piece: &ModelDelta, out: &mut String) {
        match piece {
            ModelDelta::Reasoning(text) => self.think(text, out),
            ModelDelta::Text(text) => {
                if self.open != Some(OpenItem::Message) {
                    self.close(out);
                    let item = json!({"type": "message", "status": "in_progress", "role": "assistant", "content": []});
                    self.open(OpenItem::Message, item, out);
                    let part = json!({"content_index": 0, "part": text_part("")});
                    self.item_event(OpenItem::Message, "response.content_part.added", part, out);
                }
                let delta = json!({"content_index": 0, "delta": text, "logprobs": []});
                self.item_event(OpenItem::Message, "response.output_text.delta", delta, out);
            }
            ModelDelta::ReasoningSealed(_) | ModelDelta::Working => {}
            ModelDelta::ToolCallStarted { call_id, name, .. } => {
                self.close(out);
                let call = ToolCall {
                    id: call_id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                };
                self.start_call(&call, out);
            }
            ModelDelta::ToolCallArguments { delta, .. } => {
                let fields = json!({"delta": delta});
                self.item_event(
                    OpenItem::FunctionCall,
                    "response.function_call_arguments.delta",
                    fields,
                    out,
                );
            }
            ModelDelta::Finished { reason, usage, .. } => {
                self.close(out);
                let (name, response) = self.ended(*reason, usage);
                self.event(name, json!({"response": response}), out);
            }
        }
        self.answer.add(piece);
    }

    fn fail(&mut self, status: u16, out: &mut String) {
        let mut response = self.response("failed", None);
        let code = if status == 429 {
            "rate_limit_exceeded"
        } else {
            "server_error"
        };
        response["error"] = json!({"code": code, "message": Problem::Trouble(status).message()});
        self.event("response.failed", json!({"response": response}), out);
    }

    fn whole(&mut self, opening: &Opening, answer: &Answer) -> Value {
        self.opening = opening.clone();
        if !answer.thought.is_empty() {
            let id = self.item_id(OpenItem::Reasoning);
            self.output.push(reasoning(&id, &answer.thought, self.thoughts));
        }
        if !answer.text.is_empty() {
            let id = self.item_id(OpenItem::Message);
            self.output.push(message(&id, &answer.text));
        }
        for call in &answer.calls {
            let id = self.item_id(OpenItem::FunctionCall);
            self.output.push(function_call(&id, call));
        }
        let (reason, usage) = answer.end.unwrap_or((FinishReason::Stop, opening.input));
        self.ended(reason, &usage).1
    }
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens, "input_tokens_details": {"cached_tokens": usage.cached_input_tokens},
        "output_tokens": usage.output_tokens, "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens
    })
}
