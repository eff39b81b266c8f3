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

/// Cuts these events off after every one of them and in the middle of every one, and checks that there is one end each time: an error, or
/// after the event number `whole_after`, with which the answer is whole, nothing worse than the answer.
pub(in crate::llm) fn cut_anywhere<Fold: AnswerFold + Default>(events: &[String], whole_after: usize) {
    let ends = |pieces: &[Result<ModelDelta, ModelError>]| {
        let is_end = |piece: &&Result<_, _>| matches!(piece, Err(_) | Ok(ModelDelta::Finished { .. }));
        pieces.iter().filter(is_end).count()
    };
    for (place, event) in events.iter().enumerate() {
        let before = folded(Fold::default(), &events[..place]);
        assert_eq!(ends(&before), 1, "cut before {event}");
        assert_eq!(
            before.last().is_some_and(Result::is_ok),
            place >= whole_after,
            "{event}"
        );
        for length in (0..event.len()).filter(|length| event.is_char_boundary(*length)) {
            let mut cut = events[..place].to_vec();
            cut.push(event[..length].to_owned());
            let pieces = folded(Fold::default(), &cut);
            assert_eq!(ends(&pieces), 1, "{event} cut after {length} bytes");
        }
    }
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
