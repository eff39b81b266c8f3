//! Makes pieces of an answer out of the chunks of a `/chat/completions` stream.

use std::collections::{BTreeSet, VecDeque};

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::{ModelDelta, ModelError, ModelErrorKind};

use super::wire::{Chunk, ToolCallDelta};

/// An answer as far as it has come.
#[derive(Debug, Default)]
pub(super) struct ChunkFold {
    model: Option<String>,
    usage: Usage,
    reason: Option<FinishReason>,
    tool_calls: BTreeSet<u32>,
    has_heard: bool,
    ended: bool,
}

impl ChunkFold {
    /// Takes one event in. After the end nothing more is said.
    pub(super) fn event(&mut self, data: &str, pieces: &mut VecDeque<Result<ModelDelta, ModelError>>) {
        self.has_heard = true;
        if self.ended {
            return;
        }
        if data == "[DONE]" {
            self.end(pieces);
            return;
        }
        match serde_json::from_str::<Chunk>(data) {
            Ok(chunk) => self.chunk(chunk, pieces),
            Err(_) => self.fail(
                protocol("the model's provider sent an event that is not of its protocol"),
                pieces,
            ),
        }
    }

    /// The stream is over: fine if the answer had ended, with or without `[DONE]`.
    pub(super) fn end(&mut self, pieces: &mut VecDeque<Result<ModelDelta, ModelError>>) {
        if self.ended {
            return;
        }
        let Some(reason) = self.reason else {
            let error = ModelError::new(ModelErrorKind::Connection, "the model's answer broke off");
            return self.fail(error, pieces);
        };
        self.ended = true;
        let model = self.model.take().unwrap_or_default();
        pieces.push_back(Ok(ModelDelta::Finished {
            reason,
            usage: self.usage,
            model,
        }));
    }

    pub(super) fn fail(&mut self, error: ModelError, pieces: &mut VecDeque<Result<ModelDelta, ModelError>>) {
        if !self.ended {
            self.ended = true;
            pieces.push_back(Err(error));
        }
    }

    /// Whether there was any event at all.
    pub(super) fn has_heard(&self) -> bool {
        self.has_heard
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    fn chunk(&mut self, chunk: Chunk, pieces: &mut VecDeque<Result<ModelDelta, ModelError>>) {
        if chunk.error.is_some() {
            // An error in the stream has no status of its own; providers send it when they are overloaded.
            let message = "the model's provider reported an error in its answer";
            return self.fail(ModelError::new(ModelErrorKind::Status(500), message), pieces);
        }
        if self.model.is_none() {
            self.model = chunk.model;
        }
        if let Some(usage) = chunk.usage {
            self.usage.input_tokens = usage.prompt_tokens.unwrap_or(self.usage.input_tokens);
            self.usage.output_tokens = usage.completion_tokens.unwrap_or(self.usage.output_tokens);
        }
        // Only the first choice: more than one is never asked for.
        let Some(choice) = chunk.choices.into_iter().next() else {
            return;
        };
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(text) = said(choice.delta.reasoning_content) {
            pieces.push_back(Ok(ModelDelta::Reasoning(text)));
        }
        for text in [choice.delta.content, choice.delta.refusal]
            .into_iter()
            .filter_map(said)
        {
            pieces.push_back(Ok(ModelDelta::Text(text)));
        }
        for call in choice.delta.tool_calls.unwrap_or_default() {
            self.tool_call(call, pieces);
        }
        if let Some(reason) = choice.finish_reason {
            self.reason = Some(match reason.as_str() {
                "tool_calls" | "function_call" => FinishReason::ToolCalls,
                "length" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Stop,
            });
        }
    }

    fn tool_call(&mut self, call: ToolCallDelta, pieces: &mut VecDeque<Result<ModelDelta, ModelError>>) {
        let (name, arguments) = call
            .function
            .map_or((None, None), |function| (function.name, function.arguments));
        let index = call.index;
        if self.tool_calls.insert(index) {
            let Some(name) = name else {
                return self.fail(
                    protocol("the model's provider began a tool call without a name"),
                    pieces,
                );
            };
            // Some servers leave the id out: any name that is unique within the answer will do.
            let call_id = call.id.unwrap_or_else(|| format!("call_{index}"));
            pieces.push_back(Ok(ModelDelta::ToolCallStarted { index, call_id, name }));
        }
        if let Some(delta) = arguments.filter(|delta| !delta.is_empty()) {
            pieces.push_back(Ok(ModelDelta::ToolCallArguments { index, delta }));
        }
    }
}

pub(super) fn protocol(message: &str) -> ModelError {
    ModelError::new(ModelErrorKind::Protocol, message)
}
