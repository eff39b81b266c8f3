//! The state of the provider: keys, troubles, journal, under one lock that is only ever held for a decision.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::item::Usage;
use callboard_actors::time::Timestamp;
use tokio::time::Instant;

use super::journal::{Call, Journal, Outcome};
use super::keys::{KeyId, KeyRing, Room};
use super::limiter::{LimitReached, Standing};
use super::settings::{SimulateServerSettings, ending_of};
use crate::llm::simulated::options::SimulateOptions;
use crate::llm::simulated::troubles::{AnswerTrouble, Outage, Troubles};

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) simulate: SimulateOptions,
    pub(super) default_max_output_tokens: u64,
    /// How long "per minute" is.
    pub(super) window_ms: u64,
    pub(super) started_at: Timestamp,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) keys: KeyRing,
    pub(super) journal: Journal,
    pub(super) troubles: TroublesInForce,
}

/// Troubles, since when, and how many calls they have been drawn for.
#[derive(Debug, Default)]
pub(super) struct TroublesInForce {
    pub(super) troubles: Troubles,
    since: Duration,
    calls: u64,
}

/// Who calls, as its headers say.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// The whole key; empty if there is none.
    pub(super) key: String,
    pub(super) run: Option<Arc<str>>,
    pub(super) attempt: u32,
}

impl Provider {
    pub(super) fn new(settings: SimulateServerSettings) -> Self {
        let state = State {
            keys: KeyRing::new(&settings),
            journal: Journal::default(),
            troubles: TroublesInForce {
                troubles: settings.troubles,
                ..TroublesInForce::default()
            },
        };
        Self {
            simulate: settings.simulate,
            default_max_output_tokens: settings.default_max_output_tokens,
            window_ms: settings.window_ms,
            started_at: Timestamp::now(),
            started: Instant::now(),
            state: Mutex::new(state),
        }
    }

    /// Time since the start.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The state, and a time that is not before any at which it was looked at.
    pub(super) fn state(&self) -> (MutexGuard<'_, State>, Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state, self.now())
    }

    /// Writes a call down.
    pub(super) fn begin(self: &Arc<Self>, dialect: &'static str, caller: &Caller, tool_rounds_done: u32) -> OpenCall {
        let call = Call {
            number: 0,
            dialect,
            key: ending_of(&caller.key).into(),
            run: caller.run.clone(),
            attempt: caller.attempt,
            tool_rounds_done,
            received_at_us: Timestamp::now().as_micros(),
            ended_at_us: None,
            status: None,
            outcome: Outcome::Open,
            input_tokens: 0,
            output_tokens: 0,
        };
        let number = self.state().0.journal.begin(call);
        OpenCall {
            provider: self.clone(),
            number,
            room: None,
            ended: false,
            usage: Usage::default(),
        }
    }

    pub(super) fn find_key(&self, text: &str) -> Option<KeyId> {
        let (mut state, now) = self.state();
        state.keys.find(now, text)
    }

    pub(super) fn standing(&self, key: KeyId) -> Standing {
        let (mut state, now) = self.state();
        state.keys.standing(now, key)
    }

    /// What the next call meets.
    pub(super) fn draw_trouble(&self) -> Result<AnswerTrouble, Outage> {
        let (mut state, now) = self.state();
        state.troubles.draw(now)
    }
}

impl TroublesInForce {
    /// Puts others in force; their times and calls count from now.
    pub(super) fn replace(&mut self, now: Duration, troubles: Troubles) {
        *self = Self {
            troubles,
            since: now,
            calls: 0,
        };
    }

    fn draw(&mut self, now: Duration) -> Result<AnswerTrouble, Outage> {
        let call = self.calls;
        self.calls += 1;
        match self.troubles.outage(now.saturating_sub(self.since), call) {
            Some(outage) => Err(outage.clone()),
            None => Ok(self.troubles.of_answer(call)),
        }
    }
}

/// A call that is being answered. Dropping it ends it: the caller has hung up, if it has not ended before.
#[derive(Debug)]
pub(super) struct OpenCall {
    provider: Arc<Provider>,
    number: u64,
    room: Option<Room>,
    ended: bool,
    usage: Usage,
}

impl OpenCall {
    /// Takes room under the limits of the key, and says how they stand after that.
    pub(super) fn take_room(
        &mut self,
        key: KeyId,
        input_tokens: u64,
        most_output: u64,
    ) -> (Standing, Option<LimitReached>) {
        self.usage.input_tokens = input_tokens;
        let (mut state, now) = self.provider.state();
        let taken = state.keys.let_in(now, key, input_tokens.saturating_add(most_output));
        let standing = state.keys.standing(now, key);
        match taken {
            Ok(room) => {
                self.room = Some(room);
                (standing, None)
            }
            Err(reached) => (standing, Some(reached)),
        }
    }

    /// So many more tokens were sent.
    pub(super) fn said(&mut self, tokens: u64) {
        self.usage.output_tokens += tokens;
    }

    /// The answer is whole, and this is what it took. Its room is given back before its last byte is sent: who has seen the end may call again.
    pub(super) fn answered(&mut self, usage: Usage) {
        self.usage = usage;
        self.end(Some(200), Outcome::Answered);
    }

    /// Nothing more will be sent. What was taken and not used comes back.
    pub(super) fn end(&mut self, status: Option<u16>, outcome: Outcome) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let usage = self.usage;
        let (mut state, _) = self.provider.state();
        if let Some(room) = self.room.take() {
            state.keys.settle(room, usage.input_tokens + usage.output_tokens);
        }
        state.journal.end(self.number, |call| {
            call.ended_at_us = Some(Timestamp::now().as_micros());
            call.status = status;
            call.outcome = outcome;
            call.input_tokens = usage.input_tokens;
            call.output_tokens = usage.output_tokens;
        });
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.end(None, Outcome::HungUp);
    }
}
