//! What the tests of the dialects share.

use std::sync::Arc;

use callboard_actors::event::FinishReason;
use callboard_actors::ids::RunId;
use callboard_actors::item::{Item, Usage};
use callboard_actors::ports::{ModelDelta, ModelError, ModelRequest, ToolDefinition};
use serde_json::{Value, json};

use super::{AnswerFold, Pieces, broke_off};

/// A dialect in which every event is text, but for `end`.
pub(in crate::llm) struct Echo;

impl AnswerFold for Echo {
    fn event(&mut self, data: &str, answer: &mut Pieces) {
        match data {
            "end" => answer.finish(FinishReason::Stop, Usage::default(), "echo".into()),
            text => answer.text(text.to_owned()),
        }
    }

    fn end(&mut self, answer: &mut Pieces) {
        answer.fail(broke_off());
    }
}

/// Everything a fold makes of these events and the end of the stream.
pub(in crate::llm) fn folded(
    mut fold: impl AnswerFold,
    events: &[impl AsRef<str>],
) -> Vec<Result<ModelDelta, ModelError>> {
    let mut pieces = Pieces::default();
    for event in events {
        fold.event(event.as_ref(), &mut pieces);
    }
    fold.end(&mut pieces);
    std::iter::from_fn(|| pieces.take_next()).collect()
}

/// The same, of an answer that must be whole.
pub(in crate::llm) fn whole(fold: impl AnswerFold, events: &[impl AsRef<str>]) -> Vec<ModelDelta> {
    let pieces = folded(fold, events).into_iter().collect::<Result<Vec<_>, _>>();
    let pieces = pieces.expect("nothing goes wrong");
    assert!(matches!(pieces.last(), Some(ModelDelta::Finished { .. })), "{pieces:?}");
    pieces
}

/// A first call with this conversation and these options, and a tool named `now` if wanted.
pub(in crate::llm) fn request(conversation: Vec<Item>, options: Value, with_tool: bool) -> ModelRequest {
    let tool = ToolDefinition {
        name: "now".into(),
        description: "The time.".into(),
        parameters: json!({"type": "object"}),
    };
    ModelRequest {
        run_id: RunId::new(),
        step: 1,
        attempt: 1,
        instructions: None,
        conversation: conversation.into_iter().map(Arc::new).collect(),
        tools: with_tool.then_some(tool).into_iter().collect(),
        max_output_tokens: None,
        options: Arc::new(options.as_object().expect("options are an object").clone()),
    }
}
