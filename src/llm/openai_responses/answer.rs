//! Makes pieces of an answer out of the events of a `/responses` stream.

use std::collections::BTreeSet;

use callboard_actors::event::FinishReason;
use callboard_actors::item::{ReasoningSeal, Usage};
use callboard_actors::ports::ModelDelta;
use serde_json::{Value, json};

use super::SEAL_DIALECT;
use super::events::{Event, OutputItem, Response, ResponseUsage};
use crate::llm::upstream::{AnswerFold, Pieces, broke_off, foreign_event, log_unknown_reason, reported};

/// An answer as far as it has come. The provider numbers its output; the same number is a tool call's index.
#[derive(Debug, Default)]
pub(super) struct ResponseFold {
    tool_calls: BTreeSet<u32>,
    /// Output of which there was something before its end. Some servers say all of an item at its end only.
    heard_of: BTreeSet<u32>,
    /// The last thing heard was a thought that is not sealed.
    in_thought: bool,
}

impl AnswerFold for ResponseFold {
    fn event(&mut self, data: &str, answer: &mut Pieces) {
        if data == "[DONE]" {
            return;
        }
        match serde_json::from_str::<Event>(data) {
            Ok(event) => self.take_in(event, answer),
            Err(_) => answer.fail(foreign_event(data)),
        }
    }

    fn end(&mut self, answer: &mut Pieces) {
        answer.fail(broke_off());
    }
}

impl ResponseFold {
    fn take_in(&mut self, event: Event, answer: &mut Pieces) {
        match event {
            Event::ItemAdded { output_index, item } => self.begun(output_index, &item, answer),
            Event::ItemDone { output_index, item } => self.done(output_index, item, answer),
            Event::Text { output_index, delta } => self.text(output_index, delta, answer),
            Event::SummaryPart { summary_index } if summary_index > 0 => self.separate_thoughts(answer),
            Event::SummaryPart { .. } | Event::Other => {}
            Event::Reasoning { delta } => {
                self.in_thought |= !delta.is_empty();
                answer.reasoning(delta);
            }
            Event::Arguments { output_index, delta } => self.arguments(output_index, delta, answer),
            Event::Completed { response } => self.ended(response, answer),
            Event::Incomplete { response } => Self::cut_short(response, answer),
            Event::Failed { response } => answer.fail(reported(&response["error"])),
            // The error is the event itself in this API, and inside of it in others.
            Event::Error(event) => answer.fail(reported(event.get("error").unwrap_or(&event))),
        }
    }

    fn begun(&mut self, index: u32, item: &OutputItem, answer: &mut Pieces) {
        match item {
            OutputItem::FunctionCall { call_id, name, .. } if self.tool_calls.insert(index) => {
                self.in_thought = false;
                let call_id = call_id.clone().unwrap_or_else(|| format!("call_{index}"));
                let name = name.clone();
                answer.say(ModelDelta::ToolCallStarted { index, call_id, name });
            }
            OutputItem::Reasoning { .. } => self.separate_thoughts(answer),
            _ => {}
        }
    }

    fn done(&mut self, index: u32, item: OutputItem, answer: &mut Pieces) {
        if matches!(item, OutputItem::FunctionCall { .. }) {
            self.begun(index, &item, answer);
        }
        let is_new = !self.heard_of.contains(&index);
        match item {
            OutputItem::Message { content } if is_new => {
                for part in content {
                    let text = part.text.or(part.refusal).unwrap_or_default();
                    self.text(index, text, answer);
                }
            }
            OutputItem::FunctionCall { arguments, .. } if is_new => {
                self.arguments(index, arguments.unwrap_or_default(), answer);
            }
            OutputItem::Reasoning {
                summary,
                encrypted_content: Some(Value::String(encrypted)),
            } => {
                self.in_thought = false;
                let summary = summary.filter(Value::is_array).unwrap_or_else(|| json!([]));
                answer.say(ModelDelta::ReasoningSealed(ReasoningSeal {
                    dialect: SEAL_DIALECT.into(),
                    data: json!({"summary": summary, "encrypted_content": encrypted}),
                }));
            }
            _ => {}
        }
    }

    fn text(&mut self, index: u32, delta: String, answer: &mut Pieces) {
        if !delta.is_empty() {
            self.in_thought = false;
            self.heard_of.insert(index);
            answer.text(delta);
        }
    }

    fn arguments(&mut self, index: u32, delta: String, answer: &mut Pieces) {
        if !self.tool_calls.contains(&index) {
            // Of a call to a tool that the provider runs itself.
            return;
        }
        if !delta.is_empty() {
            self.heard_of.insert(index);
            answer.arguments(index, delta);
        }
    }

    /// Between two parts of what becomes one thought.
    fn separate_thoughts(&mut self, answer: &mut Pieces) {
        if std::mem::take(&mut self.in_thought) {
            answer.reasoning("\n\n".into());
        }
    }

    /// Some servers end every response with the same event, and say in its status what became of it.
    fn ended(&self, response: Response, answer: &mut Pieces) {
        match response.status.as_deref() {
            Some("failed" | "cancelled") => answer.fail(reported(&response.error)),
            Some("incomplete") => Self::cut_short(response, answer),
            _ if self.tool_calls.is_empty() => finish(FinishReason::Stop, response, answer),
            _ => finish(FinishReason::ToolCalls, response, answer),
        }
    }

    fn cut_short(response: Response, answer: &mut Pieces) {
        let details = response.incomplete_details.as_ref();
        let reason = match details.and_then(|details| details.reason.as_deref()) {
            Some("content_filter") => FinishReason::ContentFilter,
            Some("max_output_tokens") | None => FinishReason::Length,
            Some(unknown) => {
                log_unknown_reason(unknown);
                FinishReason::Length
            }
        };
        finish(reason, response, answer);
    }
}

fn finish(reason: FinishReason, response: Response, answer: &mut Pieces) {
    let usage = usage_of(&response.usage.unwrap_or_default());
    answer.finish(reason, usage, response.model.unwrap_or_default());
}

fn usage_of(said: &ResponseUsage) -> Usage {
    let cached = said.input_tokens_details.as_ref().and_then(|all| all.cached_tokens);
    let thought = said.output_tokens_details.as_ref();
    Usage {
        cached_input_tokens: cached.unwrap_or_default(),
        reasoning_tokens: thought.and_then(|all| all.reasoning_tokens).unwrap_or_default(),
        ..Usage::of(
            said.input_tokens.unwrap_or_default(),
            said.output_tokens.unwrap_or_default(),
        )
    }
}
