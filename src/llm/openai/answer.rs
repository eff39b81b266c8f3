//! Makes pieces of an answer out of the chunks of a `/chat/completions` stream.

use std::collections::BTreeMap;

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;

use super::wire::{Chunk, ChunkUsage, Content, Delta, ToolCallDelta};
use crate::llm::upstream::{
    AnswerFold, Pieces, broke_off, foreign_event, gave_up, log_unknown_reason, protocol, reported,
};

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct ChunkFold {
    model: Option<String>,
    usage: Usage,
    reason: Option<FinishReason>,
    /// Anything of the answer has come.
    has_begun: bool,
    /// The call that each index of the provider stands for now.
    tool_calls: BTreeMap<u32, OpenToolCall>,
    tool_calls_begun: u32,
}

#[derive(Debug)]
struct OpenToolCall {
    index: u32,
    id: Option<String>,
}

impl AnswerFold for ChunkFold {
    fn event(&mut self, data: &str, answer: &mut Pieces) {
        if data == "[DONE]" {
            self.done();
            return self.end(answer);
        }
        match serde_json::from_str::<Chunk>(data) {
            Ok(chunk) => self.chunk(chunk, answer),
            Err(_) => answer.fail(foreign_event(data)),
        }
    }

    /// An answer that had a finish reason is whole, with or without `[DONE]`.
    fn end(&mut self, answer: &mut Pieces) {
        match self.reason {
            Some(reason) => answer.finish(reason, self.usage, self.model.take().unwrap_or_default()),
            None => answer.fail(broke_off()),
        }
    }
}

impl ChunkFold {
    /// The provider says that this was all. Some never give a reason.
    fn done(&mut self) {
        if self.reason.is_none() && self.has_begun {
            self.reason = Some(if self.tool_calls.is_empty() {
                FinishReason::Stop
            } else {
                FinishReason::ToolCalls
            });
        }
    }

    fn chunk(&mut self, chunk: Chunk, answer: &mut Pieces) {
        if let Some(error) = chunk.error {
            return answer.fail(reported(&error));
        }
        if self.model.is_none() {
            self.model = chunk.model;
        }
        if let Some(usage) = chunk.usage {
            self.count(&usage);
        }
        // Only the first choice: more than one is never asked for.
        let Some(choice) = chunk.choices.into_iter().flatten().next() else {
            return;
        };
        self.delta(choice.delta.unwrap_or_default(), answer);
        if let Some(reason) = choice.finish_reason {
            match finish_reason(&reason) {
                Some(reason) => self.reason = Some(reason),
                None => answer.fail(gave_up()),
            }
        }
    }

    fn count(&mut self, said: &ChunkUsage) {
        let usage = &mut self.usage;
        usage.input_tokens = said.prompt_tokens.unwrap_or(usage.input_tokens);
        usage.output_tokens = said.completion_tokens.unwrap_or(usage.output_tokens);
        let cached = said.prompt_tokens_details.as_ref().and_then(|all| all.cached_tokens);
        usage.cached_input_tokens = cached.unwrap_or(usage.cached_input_tokens);
        let thought = said.completion_tokens_details.as_ref();
        let thought = thought.and_then(|all| all.reasoning_tokens);
        usage.reasoning_tokens = thought.unwrap_or(usage.reasoning_tokens);
    }

    fn delta(&mut self, delta: Delta, answer: &mut Pieces) {
        self.has_begun |= delta.says_something();
        // Some servers say the same under both names.
        if let Some(text) = delta.reasoning_content.or(delta.reasoning) {
            answer.reasoning(text);
        }
        match delta.content {
            Some(Content::Text(text)) => answer.text(text),
            Some(Content::Parts(parts)) => {
                for part in parts {
                    for thought in part.thinking.into_iter().flatten() {
                        answer.reasoning(thought.text.unwrap_or_default());
                    }
                    answer.text(part.text.unwrap_or_default());
                }
            }
            None => {}
        }
        answer.text(delta.refusal.unwrap_or_default());
        for call in delta.tool_calls.unwrap_or_default() {
            self.tool_call(call, answer);
        }
    }

    fn tool_call(&mut self, call: ToolCallDelta, answer: &mut Pieces) {
        let (name, arguments) = call
            .function
            .map_or((None, None), |function| (function.name, function.arguments));
        let id = call.id.filter(|id| !id.is_empty());
        let place = call.index.unwrap_or_else(|| self.place_without_index(id.as_deref()));
        let open = self.tool_calls.get(&place);
        // Some servers give all parallel calls the same index: one with a name and another id is another call.
        let is_another = open.is_some_and(|open| name.is_some() && id.is_some() && open.id != id);
        let index = match open {
            Some(open) if !is_another => open.index,
            _ => {
                let Some(name) = name else {
                    return answer.fail(protocol("the model's provider began a tool call without a name"));
                };
                let index = self.tool_calls_begun;
                self.tool_calls_begun += 1;
                // Some leave the id out: any name that is unique within the answer will do.
                let call_id = id.clone().unwrap_or_else(|| format!("call_{index}"));
                self.tool_calls.insert(place, OpenToolCall { index, id });
                answer.say(ModelDelta::ToolCallStarted { index, call_id, name });
                index
            }
        };
        answer.arguments(index, arguments.unwrap_or_default());
    }

    /// Where a call without an index belongs: to the call of its id, or behind them all if the id is new, or to the last one.
    fn place_without_index(&self, id: Option<&str>) -> u32 {
        let next = self
            .tool_calls
            .keys()
            .next_back()
            .map_or(0, |last| last.saturating_add(1));
        match id {
            Some(id) => {
                let known = self.tool_calls.iter().find(|(_, open)| open.id.as_deref() == Some(id));
                known.map_or(next, |(place, _)| *place)
            }
            None => next.saturating_sub(1),
        }
    }
}

/// `None` if the provider means that it could not go on: what has come is a part of an answer.
fn finish_reason(name: &str) -> Option<FinishReason> {
    match name {
        "stop" | "eos" | "end_turn" => Some(FinishReason::Stop),
        "tool_calls" | "function_call" => Some(FinishReason::ToolCalls),
        // The second is Mistral's, for a full context window.
        "length" | "model_length" => Some(FinishReason::Length),
        "content_filter" => Some(FinishReason::ContentFilter),
        // OpenRouter and Mistral; vLLM and SGLang; DeepSeek.
        "error" | "abort" | "insufficient_system_resource" => None,
        unknown => {
            log_unknown_reason(unknown);
            Some(FinishReason::Stop)
        }
    }
}
