//! Makes pieces of an answer out of the events of a `/v1/messages` stream.

use std::collections::BTreeMap;

use callboard_actors::event::FinishReason;
use callboard_actors::item::{ReasoningSeal, Usage};
use callboard_actors::ports::ModelDelta;
use serde_json::{Value, json};

use super::SEAL_DIALECT;
use super::events::{BlockDelta, ContentBlock, Event, MessageUsage};
use crate::llm::upstream::{AnswerFold, Pieces, broke_off, foreign_event, log_unknown_reason, reported};

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct MessageFold {
    model: Option<String>,
    usage: MessageUsage,
    reason: Option<FinishReason>,
    /// Blocks that have begun and not ended, of which something is to be said at their end. The provider's number of a block is the index
    /// of its tool call.
    open: BTreeMap<u32, OpenBlock>,
}

#[derive(Debug)]
enum OpenBlock {
    /// Its signature so far.
    Thought(String),
    /// What it is called with, as long as nothing was said of it in pieces.
    ToolUse(Option<Value>),
}

impl AnswerFold for MessageFold {
    fn event(&mut self, data: &str, answer: &mut Pieces) {
        match serde_json::from_str::<Event>(data) {
            Ok(event) => self.take_in(event, answer),
            Err(_) => answer.fail(foreign_event(data)),
        }
    }

    /// An answer that had a stop reason is whole.
    fn end(&mut self, answer: &mut Pieces) {
        let Some(reason) = self.reason else {
            return answer.fail(broke_off());
        };
        let left_open: Vec<u32> = self.open.keys().copied().collect();
        for index in left_open {
            self.block_ended(index, answer);
        }
        answer.finish(reason, usage_of(self.usage), self.model.take().unwrap_or_default());
    }
}

impl MessageFold {
    fn take_in(&mut self, event: Event, answer: &mut Pieces) {
        match event {
            Event::MessageStart { message } => {
                self.model = message.model;
                self.count(message.usage);
            }
            Event::ContentBlockStart { index, content_block } => self.block_begun(index, content_block, answer),
            Event::ContentBlockDelta { index, delta } => self.block_grown(index, delta, answer),
            Event::ContentBlockStop { index } => self.block_ended(index, answer),
            Event::MessageDelta { delta, usage } => {
                self.count(usage);
                self.reason = delta.stop_reason.as_deref().map(finish_reason).or(self.reason);
            }
            Event::MessageStop => self.end(answer),
            Event::Error { error } => answer.fail(reported(&error)),
            Event::Other => {}
        }
    }

    fn count(&mut self, usage: Option<MessageUsage>) {
        self.usage = usage.unwrap_or_default().over(self.usage);
    }

    fn block_begun(&mut self, index: u32, block: ContentBlock, answer: &mut Pieces) {
        match block {
            ContentBlock::Text { text } => answer.text(text),
            ContentBlock::Thinking { thinking, signature } => {
                answer.reasoning(thinking);
                self.open.insert(index, OpenBlock::Thought(signature));
            }
            ContentBlock::RedactedThinking { data } => seal(json!({"data": data}), answer),
            ContentBlock::ToolUse { id, name, input } => {
                answer.say(ModelDelta::ToolCallStarted {
                    index,
                    call_id: id,
                    name,
                });
                self.open.insert(index, OpenBlock::ToolUse(Some(input)));
            }
            ContentBlock::Other => {}
        }
    }

    fn block_grown(&mut self, index: u32, delta: BlockDelta, answer: &mut Pieces) {
        match (delta, self.open.get_mut(&index)) {
            (BlockDelta::TextDelta { text }, _) => answer.text(text),
            (BlockDelta::ThinkingDelta { thinking }, _) => answer.reasoning(thinking),
            (BlockDelta::SignatureDelta { signature }, Some(OpenBlock::Thought(so_far))) => so_far.push_str(&signature),
            (BlockDelta::InputJsonDelta { partial_json }, Some(OpenBlock::ToolUse(whole)))
                if !partial_json.is_empty() =>
            {
                *whole = None;
                answer.arguments(index, partial_json);
            }
            // Of blocks that are not ours.
            _ => {}
        }
    }

    fn block_ended(&mut self, index: u32, answer: &mut Pieces) {
        match self.open.remove(&index) {
            Some(OpenBlock::Thought(signature)) if !signature.is_empty() => {
                seal(json!({"signature": signature}), answer);
            }
            // Nothing came in pieces: the call is without arguments, or all of them came at its beginning.
            Some(OpenBlock::ToolUse(Some(input))) if input.is_object() => answer.arguments(index, input.to_string()),
            _ => {}
        }
    }
}

fn seal(data: Value, answer: &mut Pieces) {
    answer.say(ModelDelta::ReasoningSealed(ReasoningSeal {
        dialect: SEAL_DIALECT.into(),
        data,
    }));
}

fn finish_reason(name: &str) -> FinishReason {
    match name {
        "tool_use" => FinishReason::ToolCalls,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        // The last is for tools of the provider's own, which are never asked for.
        "end_turn" | "stop_sequence" | "pause_turn" => FinishReason::Stop,
        unknown => {
            log_unknown_reason(unknown);
            FinishReason::Stop
        }
    }
}

/// What was read is counted apart there, by whether it was cached. How long what was written to the cache is kept there makes no difference
/// here: it has one price.
fn usage_of(said: MessageUsage) -> Usage {
    let cached = said.cache_read_input_tokens.unwrap_or_default();
    let written = said.cache_creation_input_tokens;
    let input = [said.input_tokens, written, Some(cached)];
    Usage {
        input_tokens: input.into_iter().flatten().fold(0, u64::saturating_add),
        output_tokens: said.output_tokens.unwrap_or_default(),
        cached_input_tokens: cached,
        cache_write_input_tokens: written.unwrap_or_default(),
        reasoning_tokens: 0,
    }
}
