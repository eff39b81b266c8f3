//! Circuit breaker of a provider: one that is in trouble is left alone for a while, so that calls go where they can be answered.
//!
//! Closed: everything goes through. After [`CircuitSettings::failures`] calls in a row that failed by the provider's fault it opens: nothing
//! goes through for [`CircuitSettings::rest`]. Then one call may try; the beginning of an answer closes the circuit, its failure opens it for twice as
//! long, up to [`CircuitSettings::longest_rest`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When a circuit opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitSettings {
    /// Failures in a row that open it; 0 never does.
    pub failures: u32,
    /// How long it is open at first.
    pub rest: Duration,
    /// How long it is open at most.
    pub longest_rest: Duration,
}

/// A provider's circuit breaker.
#[derive(Debug)]
pub struct Circuit {
    settings: CircuitSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures_in_a_row: u32,
    open_until: Option<Instant>,
    /// How long it was open last.
    last_rest: Duration,
    /// Somebody tries whether the provider is well again; nobody else does until then.
    trying_until: Option<Instant>,
}

/// What the circuit lets through now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Everything.
    Closed,
    /// Nothing, for so long.
    Open(Duration),
    /// One call, to see.
    HalfOpen,
}

/// How long a try may take before another one is let through in its place.
const LONGEST_TRY: Duration = Duration::from_secs(30);

impl Circuit {
    /// A closed one.
    pub fn new(settings: CircuitSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// Whether a call may be made now. Of an open circuit whose time is over, the first to ask is let through.
    pub fn lets_through(&self) -> bool {
        let mut state = self.lock();
        let now = Instant::now();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) if state.trying_until.is_some_and(|until| now < until) => false,
            Some(_) => {
                state.trying_until = Some(now + LONGEST_TRY);
                true
            }
        }
    }

    /// The provider has begun to answer: it can be asked again. Whether answers come to their end is to be seen.
    pub fn answered(&self) {
        let mut state = self.lock();
        state.open_until = None;
        state.trying_until = None;
    }

    /// The provider has answered: with an answer, or with an error that is the caller's own fault.
    pub fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// The provider has failed by its own fault. True if that has opened the circuit.
    pub fn failed(&self) -> bool {
        let mut state = self.lock();
        state.failures_in_a_row = state.failures_in_a_row.saturating_add(1);
        let was_trying = state.trying_until.take().is_some();
        let opens = self.settings.failures > 0 && state.failures_in_a_row >= self.settings.failures;
        // Calls that were under way when it opened say nothing new.
        if !opens || (state.open_until.is_some() && !was_trying) {
            return false;
        }
        state.last_rest = match state.last_rest {
            Duration::ZERO => self.settings.rest,
            last => last.saturating_mul(2).min(self.settings.longest_rest),
        };
        state.open_until = Some(Instant::now() + state.last_rest);
        true
    }

    /// A call that was let through was not made after all: another one may try.
    pub fn not_tried(&self) {
        self.lock().trying_until = None;
    }

    /// How it stands.
    pub fn state(&self) -> CircuitState {
        match self.lock().open_until {
            None => CircuitState::Closed,
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                Duration::ZERO => CircuitState::HalfOpen,
                left => CircuitState::Open(left),
            },
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: CircuitSettings = CircuitSettings {
        failures: 3,
        rest: Duration::from_secs(10),
        longest_rest: Duration::from_secs(30),
    };

    fn opened() -> Circuit {
        let circuit = Circuit::new(SETTINGS);
        assert!(!circuit.failed() && !circuit.failed());
        assert!(circuit.lets_through());
        assert!(circuit.failed());
        circuit
    }

    #[tokio::test(start_paused = true)]
    async fn after_failures_in_a_row_nothing_goes_through_for_a_while_then_one_call() {
        let circuit = opened();
        assert!(!circuit.lets_through());
        assert_eq!(circuit.state(), CircuitState::Open(Duration::from_secs(10)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(circuit.state(), CircuitState::HalfOpen);
        assert!(circuit.lets_through());
        assert!(!circuit.lets_through(), "one is enough to see");
        circuit.succeeded();
        assert!(circuit.lets_through() && circuit.lets_through());
        assert_eq!(circuit.state(), CircuitState::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn each_try_that_fails_doubles_the_rest_up_to_the_longest() {
        let circuit = opened();
        for seconds in [10, 20, 30, 30] {
            assert_eq!(circuit.state(), CircuitState::Open(Duration::from_secs(seconds)));
            assert!(!circuit.failed(), "a call that was under way already");
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert!(circuit.lets_through());
            assert!(circuit.failed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_never_ends_or_is_not_made_does_not_close_the_way() {
        let circuit = opened();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(circuit.lets_through());
        circuit.not_tried();
        assert!(circuit.lets_through());
        tokio::time::advance(LONGEST_TRY).await;
        assert!(circuit.lets_through());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_between_successes_open_nothing() {
        let circuit = Circuit::new(SETTINGS);
        for _ in 0..10 {
            assert!(!circuit.failed() && !circuit.failed());
            circuit.succeeded();
        }
        let never = Circuit::new(CircuitSettings {
            failures: 0,
            ..SETTINGS
        });
        assert!((0..100).all(|_| !never.failed()));
    }
}
