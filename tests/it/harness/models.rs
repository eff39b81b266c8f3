//! Models that say what the test tells them, and routes to several of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::llm::{CallSettings, Choice, ModelRoute, ModelTimeouts};
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use callboard_actors::retry::RetryPolicy;
use futures::StreamExt;
use futures::stream;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;

/// What a model does when it is asked.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Says this and ends well.
    Says(&'static str),
    /// Says this, and the connection breaks.
    BreaksAfter(&'static str),
    /// Says this, and nothing more.
    StallsAfter(&'static str),
    /// Answers with an error.
    Fails(ModelErrorKind),
}

/// What every whole answer uses.
pub(crate) const USAGE: Usage = Usage::of(100, 20);

/// Answers in this order; the last one again and again.
pub(crate) struct ScriptedModel {
    answers: Mutex<VecDeque<Answer>>,
    asked: AtomicUsize,
    /// What it takes to be answered.
    pub(crate) turnstile: Arc<Semaphore>,
}

impl ScriptedModel {
    pub(crate) fn new(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        Arc::new(Self {
            answers: Mutex::new(answers.into_iter().collect()),
            asked: AtomicUsize::new(0),
            turnstile: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        })
    }

    /// One that answers whom its turnstile lets through.
    pub(crate) fn behind_a_turnstile(answers: impl IntoIterator<Item = Answer>) -> Arc<Self> {
        let model = Self::new(answers);
        model.turnstile.forget_permits(Semaphore::MAX_PERMITS);
        model
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn next(&self) -> Answer {
        let mut answers = self.answers.lock().unwrap();
        match answers.len() {
            1 => answers[0].clone(),
            _ => answers.pop_front().expect("at least one answer"),
        }
    }
}

#[async_trait]
impl Model for ScriptedModel {
    async fn call(&self, _request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.turnstile.acquire().await.expect("it stays open").forget();
        let said = |text: &str| Ok(ModelDelta::Text(text.to_owned()));
        let pieces = match self.next() {
            Answer::Fails(kind) => return Err(ModelError::new(kind, "told to fail")),
            Answer::Says(text) => {
                let end = ModelDelta::Finished {
                    reason: FinishReason::Stop,
                    usage: USAGE,
                    model: "scripted".into(),
                };
                stream::iter([said(text), Ok(end)]).boxed()
            }
            Answer::BreaksAfter(text) => {
                let broken = ModelError::new(ModelErrorKind::Connection, "told to break");
                stream::iter([said(text), Err(broken)]).boxed()
            }
            Answer::StallsAfter(text) => stream::iter([said(text)]).chain(stream::pending()).boxed(),
        };
        Ok(ModelAnswer::unlimited(pieces))
    }

    fn check_options(&self, _options: &Map<String, Value>) -> Result<(), InvalidOption> {
        Ok(())
    }
}

/// How the routes of tests make calls: patient, and without pauses that a test would have to wait for.
pub(crate) fn call_settings(max_attempts: u32) -> CallSettings {
    let minute = Duration::from_secs(60);
    CallSettings {
        timeouts: ModelTimeouts {
            first_byte: minute,
            idle: minute,
            call: minute,
        },
        retry: RetryPolicy {
            max_attempts,
            initial_backoff: Duration::from_millis(1),
            maximum_backoff: Duration::from_millis(1),
        },
        longest_wait: minute,
        expected_output_tokens: 1000,
        max_output_tokens: 16_384,
        cache_for: None,
    }
}

/// A route to these models, each behind a provider of its own, asked in this order.
pub(crate) fn route(name: &str, calls: CallSettings, providers: &[(&str, Arc<ScriptedModel>)]) -> Arc<ModelRoute> {
    let targets = providers.iter().flat_map(|(provider, model)| {
        let route = ModelRoute::to(provider, model.clone(), calls);
        route.targets
    });
    Arc::new(ModelRoute {
        context_window: None,
        name: name.into(),
        targets: targets.collect(),
        choice: Choice::Ordered,
        calls,
    })
}
