//! Models that say what the test tells them, and routes to several of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::llm::{
    CallLine, CallSettings, Choice, Circuit, CircuitSettings, ModelRoute, ModelTimeouts, Price, Provider, Target,
};
use callboard_actors::local_limits::{LimitTimes, LocalRateLimits};
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::rate_limits::{KeyLimits, LimitedKey};
use callboard_actors::ports::{Model, ModelAnswer, ModelDelta, ModelError, ModelErrorKind, ModelRequest, RateLimits};
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
    /// Says this and is cut off by a limit of tokens.
    CutOffAfter(&'static str),
    /// Says this, and the connection breaks.
    BreaksAfter(&'static str),
    /// Says this, and then this error.
    FailsAfter(&'static str, ModelErrorKind),
    /// Says this, and nothing more.
    StallsAfter(&'static str),
    /// Calls the tool `none` so many times.
    Calls(u32),
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
            Answer::Says(text) => stream::iter([said(text), Ok(end(FinishReason::Stop))]).boxed(),
            Answer::CutOffAfter(text) => stream::iter([said(text), Ok(end(FinishReason::Length))]).boxed(),
            Answer::BreaksAfter(text) => {
                let broken = ModelError::new(ModelErrorKind::Connection, "told to break");
                stream::iter([said(text), Err(broken)]).boxed()
            }
            Answer::FailsAfter(text, kind) => {
                stream::iter([said(text), Err(ModelError::new(kind, "told to fail"))]).boxed()
            }
            Answer::Calls(count) => {
                let calls = (0..count).flat_map(|index| {
                    let begun = ModelDelta::ToolCallStarted {
                        index,
                        call_id: format!("call_{index}"),
                        name: "none".to_owned(),
                    };
                    let delta = "{}".to_owned();
                    [Ok(begun), Ok(ModelDelta::ToolCallArguments { index, delta })]
                });
                stream::iter(calls.chain([Ok(end(FinishReason::ToolCalls))])).boxed()
            }
            Answer::StallsAfter(text) => stream::iter([said(text)]).chain(stream::pending()).boxed(),
        };
        Ok(ModelAnswer::unlimited(pieces))
    }

    fn check_options(&self, _options: &Map<String, Value>) -> Result<(), InvalidOption> {
        Ok(())
    }
}

fn end(reason: FinishReason) -> ModelDelta {
    ModelDelta::Finished {
        reason,
        usage: USAGE,
        model: "scripted".into(),
    }
}

/// A route to one provider with a key for each of these, and the line in front of them.
pub(crate) fn keyed_route(
    name: &str,
    calls: CallSettings,
    provider: &str,
    models: &[&Arc<ScriptedModel>],
) -> (Arc<ModelRoute>, Arc<dyn RateLimits>) {
    limited_route(name, calls, provider, models, KeyLimits::default())
}

/// The same with limits on each key.
pub(crate) fn limited_route(
    name: &str,
    calls: CallSettings,
    provider: &str,
    models: &[&Arc<ScriptedModel>],
    of_each_key: KeyLimits,
) -> (Arc<ModelRoute>, Arc<dyn RateLimits>) {
    let mut route = ModelRoute::to(name, models[0].clone(), calls);
    let limits: Arc<dyn RateLimits> = Arc::new(LocalRateLimits::new(LimitTimes::default()));
    let circuit = CircuitSettings {
        failures: 0,
        rest: Duration::ZERO,
        longest_rest: Duration::ZERO,
    };
    let key = |number: usize| LimitedKey {
        name: format!("{provider}/{number}").into(),
        provider: provider.into(),
        limits: of_each_key,
    };
    route.targets = vec![Arc::new(Target {
        provider: Arc::new(Provider {
            name: provider.into(),
            circuit: Circuit::new(circuit),
        }),
        upstream_model: name.into(),
        keys: (1..=models.len()).map(key).collect(),
        has_keys: true,
        models: models.iter().map(|model| (*model).clone() as Arc<dyn Model>).collect(),
        line: CallLine::new(limits.clone(), 10),
        weight: 1,
        price: Price::default(),
    })];
    (Arc::new(route), limits)
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
