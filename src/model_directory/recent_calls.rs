//! How the calls with one key went in the last minutes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelDelta, ModelError, ModelRequest};
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use serde_json::{Map, Value};
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// How far back calls are counted, in minutes; the last one is the one that goes on.
pub const MINUTES: usize = 5;

/// The calls of one key, counted by minutes.
#[derive(Debug)]
pub struct RecentCalls {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of minute `n` since the beginning at `n % MINUTES`.
    minutes: [CallCounts; MINUTES],
    newest: u64,
    last_failure: Option<Failure>,
}

/// Calls that ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// All of them, but for those that were broken off from here.
    pub calls: u64,
    /// Those that failed by the provider's or the key's fault.
    pub failed: u64,
    /// Of these, those that the provider answered with 429.
    pub rate_limited: u64,
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// Why; without keys, URLs or anything the provider wrote.
    pub message: String,
}

impl Default for RecentCalls {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            state: Mutex::default(),
        }
    }
}

impl RecentCalls {
    /// What the last minutes had, and the last failure of all.
    pub fn now(&self) -> (CallCounts, Option<Failure>) {
        let state = self.state_now();
        let mut sum = CallCounts::default();
        for minute in &state.minutes {
            sum.calls += minute.calls;
            sum.failed += minute.failed;
            sum.rate_limited += minute.rate_limited;
        }
        (sum, state.last_failure.clone())
    }

    fn succeeded(&self) {
        self.state_now().counts().calls += 1;
    }

    fn failed(&self, error: &ModelError) {
        let mut state = self.state_now();
        let is_theirs = error.is_upstream_trouble() || error.is_key_refused() || error.is_rate_limited();
        let counts = state.counts();
        counts.calls += 1;
        counts.failed += u64::from(is_theirs);
        counts.rate_limited += u64::from(error.is_rate_limited());
        if is_theirs {
            state.last_failure = Some(Failure {
                at: Timestamp::now(),
                message: error.message.clone(),
            });
        }
    }

    /// With the minutes that are over forgotten.
    fn state_now(&self) -> std::sync::MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = self.began.elapsed().as_secs() / MINUTE.as_secs();
        let passed = minute.saturating_sub(state.newest).min(MINUTES as u64);
        for back in 0..passed {
            state.minutes[place(minute - back)] = CallCounts::default();
        }
        state.newest = minute;
        state
    }
}

impl State {
    fn counts(&mut self) -> &mut CallCounts {
        &mut self.minutes[place(self.newest)]
    }
}

fn place(minute: u64) -> usize {
    usize::try_from(minute % MINUTES as u64).unwrap_or_default()
}

/// A model with one key, and what becomes of its calls.
pub struct WatchedModel {
    model: Arc<dyn Model>,
    calls: Arc<RecentCalls>,
}

impl WatchedModel {
    /// Calls to this model are counted there.
    pub fn new(model: Arc<dyn Model>, calls: Arc<RecentCalls>) -> Self {
        Self { model, calls }
    }
}

#[async_trait]
impl Model for WatchedModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let answer = match self.model.call(request).await {
            Ok(answer) => answer,
            Err(error) => {
                self.calls.failed(&error);
                return Err(error);
            }
        };
        let calls = self.calls.clone();
        let count = move |piece: &Result<ModelDelta, ModelError>| match piece {
            Ok(ModelDelta::Finished { .. }) => calls.succeeded(),
            Ok(_) => {}
            Err(error) => calls.failed(error),
        };
        Ok(ModelAnswer {
            hints: answer.hints,
            pieces: answer.pieces.inspect(count).boxed(),
        })
    }

    fn option_names(&self) -> &'static [&'static str] {
        self.model.option_names()
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        self.model.check_options(options)
    }

    fn is_simulated(&self) -> bool {
        self.model.is_simulated()
    }
}

#[cfg(test)]
mod tests {
    use callboard_actors::ports::ModelErrorKind;

    use super::*;

    fn status(status: u16) -> ModelError {
        ModelError::new(
            ModelErrorKind::Status(status),
            format!("the provider answered {status}"),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn calls_count_for_five_minutes() {
        let calls = RecentCalls::default();
        calls.succeeded();
        calls.failed(&status(429));
        tokio::time::advance(MINUTE * 4).await;
        calls.failed(&status(503));
        let (counts, failure) = calls.now();
        assert_eq!((counts.calls, counts.failed, counts.rate_limited), (3, 2, 1));
        assert_eq!(failure.expect("one").message, "the provider answered 503");
        tokio::time::advance(MINUTE).await;
        assert_eq!(calls.now().0.calls, 1);
        tokio::time::advance(MINUTE * 100).await;
        assert_eq!(calls.now().0, CallCounts::default());
        assert!(calls.now().1.is_some(), "the last failure is kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_wrong_by_itself_is_no_failure_of_the_key() {
        let calls = RecentCalls::default();
        calls.failed(&status(400));
        let (counts, failure) = calls.now();
        assert_eq!((counts.calls, counts.failed), (1, 0));
        assert_eq!(failure, None);
    }
}
