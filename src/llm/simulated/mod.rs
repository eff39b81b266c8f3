//! Adapter `simulated`: a model that asks nobody. Deterministic by seed; what it does is settable per request by
//! `model_options.simulate`; every answer says that it is simulated.

pub mod options;
mod random;
pub mod script;
pub mod troubles;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::item::{Item, ItemContent, Role, shown_result, shown_summary, text_of};
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelError, ModelErrorKind, ModelRequest, ModelStream};
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value};

use options::{FailureKind, SimulateOptions};
use script::{Act, Performance, estimate_tokens};
use troubles::AnswerTrouble;

/// A model that asks nobody.
#[derive(Debug, Clone, Default)]
pub struct SimulatedModel {
    defaults: SimulateOptions,
}

impl SimulatedModel {
    /// One that does this where a request is silent.
    pub fn new(defaults: SimulateOptions) -> Self {
        Self { defaults }
    }
}

#[async_trait]
impl Model for SimulatedModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let options = SimulateOptions::from_model_options(&request.options, &self.defaults)
            .map_err(|error| ModelError::new(ModelErrorKind::Status(400), error.to_string()))?;
        let performance = performance_of(&request, options);
        if let Some(failure) = performance.failure() {
            match failure.kind {
                FailureKind::Status => {
                    let message = format!("the simulated provider answered {}", failure.status);
                    let mut error = ModelError::new(ModelErrorKind::Status(failure.status), message);
                    error.retry_after = failure.retry_after_ms.map(Duration::from_millis);
                    return Err(error);
                }
                FailureKind::Connect => {
                    return Err(ModelError::new(
                        ModelErrorKind::Connection,
                        "the simulated provider is not there",
                    ));
                }
                FailureKind::Break
                | FailureKind::Stall
                | FailureKind::Garbage
                | FailureKind::ErrorEvent
                | FailureKind::Panic => {}
            }
        }
        let status = performance.failure().map_or(503, |failure| failure.status);
        let pieces = performance.play().flat_map(move |act| match act {
            Act::Say(pieces) => stream::iter(pieces).map(Ok).boxed(),
            Act::Fail(kind) => fail(kind, status),
        });
        Ok(ModelAnswer::unlimited(pieces.boxed()))
    }

    fn option_names(&self) -> &'static [&'static str] {
        &super::openai::PASSED_ON
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        if let Some(key) = options
            .keys()
            .find(|key| !super::openai::PASSED_ON.contains(&key.as_str()))
        {
            let problem = "the simulated model has no such option".to_owned();
            return Err(InvalidOption {
                key: key.clone(),
                problem,
            });
        }
        SimulateOptions::from_model_options(options, &self.defaults).map(|_| ())
    }

    fn is_simulated(&self) -> bool {
        true
    }
}

fn fail(kind: FailureKind, status: u16) -> ModelStream {
    let error = match kind {
        FailureKind::Stall => return stream::pending().boxed(),
        FailureKind::Panic => return stream::once(async { panic!("the simulated model was told to panic") }).boxed(),
        FailureKind::Garbage => ModelError::new(ModelErrorKind::Protocol, "the simulated provider sent garbage"),
        FailureKind::ErrorEvent => {
            let message = format!("the simulated provider broke off with {status}");
            ModelError::new(ModelErrorKind::Status(status), message)
        }
        FailureKind::Break | FailureKind::Connect | FailureKind::Status => {
            ModelError::new(ModelErrorKind::Connection, "the simulated provider broke off")
        }
    };
    stream::iter([Err(error)]).boxed()
}

fn performance_of(request: &ModelRequest, options: SimulateOptions) -> Performance {
    let mut hasher = DefaultHasher::new();
    let mut bytes = request.instructions.as_ref().map_or(0, String::len);
    let mut tool_rounds_done = 0;
    let mut in_round = false;
    request.instructions.hash(&mut hasher);
    for item in request.conversation.iter() {
        let text = said_in(item);
        bytes += text.len();
        text.hash(&mut hasher);
        if matches!(item.content, ItemContent::Message { role: Role::User, .. }) {
            // Rounds of earlier turns are none of this answer's.
            tool_rounds_done = 0;
        }
        let calls = matches!(item.content, ItemContent::ToolCall { .. });
        tool_rounds_done += u32::from(calls && !in_round);
        in_round = calls;
    }
    Performance {
        options,
        prompt_hash: hasher.finish(),
        input_tokens: estimate_tokens(bytes),
        tool_rounds_done,
        attempt: request.attempt,
        max_output_tokens: request.max_output_tokens,
        trouble: AnswerTrouble::default(),
    }
}

fn said_in(item: &Item) -> String {
    match &item.content {
        ItemContent::Message { content, .. } => text_of(content),
        ItemContent::Reasoning { .. } => String::new(),
        ItemContent::ToolCall { name, arguments, .. } => format!("{name}{arguments}"),
        ItemContent::ToolResult {
            output,
            approved_arguments,
            ..
        } => shown_result(output, approved_arguments.as_deref()).into_owned(),
        ItemContent::Summary { text, .. } => shown_summary(text),
    }
}
