//! Where model calls wait for room under the limits of their keys: bounded, fair between accounts, each with a deadline.
//!
//! One task, the pump, asks the limits for whoever is first; it lives as long as somebody waits. So a line costs its limits one question
//! at a time, however many wait. Accounts take turns; calls of an account go in the order in which they came. While the provider is left
//! alone nobody goes, and everybody keeps his place.
//!
//! A call whose route has several targets has a [`Place`] in the line of each.

use std::collections::{HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

use super::circuit::CircuitState;
use super::grant::GrantHold;
use super::place::Place;
use super::route::Provider;
use crate::event::ModelWaitingReason;
use crate::ids::AccountId;
use crate::ports::RateLimits;
use crate::ports::rate_limits::{Admission, Grant, Wanted};

/// The longest time between two looks at the limits: another instance may have given back what it did not use.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How much a new interval between two grants counts in their average.
const PACE_WEIGHT: f64 = 0.1;

/// A line of calls.
pub struct CallLine {
    limits: Arc<dyn RateLimits>,
    /// Calls that may wait.
    most_waiting: usize,
    state: Mutex<State>,
    /// Room may have come up.
    pub(super) room: Notify,
}

#[derive(Default)]
struct State {
    lines: HashMap<AccountId, VecDeque<Waiting>>,
    /// Accounts that have somebody in line, each once, in the order of their turns.
    turns: VecDeque<AccountId>,
    /// Calls in `lines`.
    waiting: usize,
    next_number: u64,
    /// Somebody asks the limits for whoever is first.
    is_pumped: bool,
    /// One of those that wait is out of the line already, because it is its turn.
    is_serving: bool,
    /// What the first one waits for, and until when as far as is known.
    head: Option<(ModelWaitingReason, Instant)>,
    last_grant: Option<Instant>,
    /// Average seconds between two grants while somebody waits.
    pace: f64,
}

struct Waiting {
    number: u64,
    wanted: Wanted,
    provider: Arc<Provider>,
    deadline: Instant,
    reply: oneshot::Sender<Result<GrantHold, NoRoom>>,
}

/// Why there is no room for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// As many calls wait as may, and this account has its share of them.
    LineFull,
    /// It has waited for as long as it may.
    Deadline,
    /// The provider takes none of the keys.
    AllKeysRefused,
    /// No minute of any key has room for it.
    NeverFits {
        /// Tokens a minute of the key that has most.
        limit: u64,
    },
}

/// What a call that waits is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitNotice {
    /// What there is too little of.
    pub reason: ModelWaitingReason,
    /// Until its turn, as far as can be said.
    pub estimate: Duration,
}

/// What became of a call that does not want to wait.
pub(super) enum RoomNow {
    Granted(GrantHold),
    NotYet,
    AllKeysRefused,
    NeverFits { limit: u64 },
}

impl CallLine {
    /// An empty line in front of these limits.
    pub fn new(limits: Arc<dyn RateLimits>, most_waiting: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            most_waiting,
            state: Mutex::default(),
            room: Notify::new(),
        })
    }

    /// Calls that wait, the one that is first among them.
    pub fn waiting(&self) -> usize {
        self.lock().all_waiting()
    }

    /// Takes room if there is some that nobody waits for.
    pub(super) async fn room_now(self: &Arc<Self>, provider: &Arc<Provider>, wanted: &Wanted) -> RoomNow {
        // Who stands in line for it hears that when it is its turn; what the operator set is known now.
        if let Some(limit) = wanted.limit_that_rules_out() {
            return RoomNow::NeverFits { limit };
        }
        if self.lock().is_pumped {
            return RoomNow::NotYet;
        }
        match self.limits.admit(wanted).await {
            Admission::Granted(grant) => RoomNow::Granted(self.hold(provider, grant)),
            Admission::NotYet { wait, reason } => {
                self.lock().head = Some((reason, Instant::now() + wait));
                RoomNow::NotYet
            }
            Admission::AllKeysRefused => RoomNow::AllKeysRefused,
            Admission::NeverFits { limit } => RoomNow::NeverFits { limit },
        }
    }

    /// Takes a place at the end of the account's line.
    pub(super) fn stand_in_line(
        self: &Arc<Self>,
        account: &AccountId,
        provider: &Arc<Provider>,
        wanted: Wanted,
        deadline: Instant,
    ) -> Result<Place, NoRoom> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.all_waiting() >= self.most_waiting && !state.make_place(account) {
            return Err(NoRoom::LineFull);
        }
        state.waiting += 1;
        let number = state.next_number;
        state.next_number += 1;
        let line = state.lines.entry(account.clone()).or_default();
        line.push_back(Waiting {
            number,
            wanted,
            provider: provider.clone(),
            deadline,
            reply,
        });
        if line.len() == 1 {
            state.turns.push_back(account.clone());
        }
        if !std::mem::replace(&mut state.is_pumped, true) {
            tokio::spawn(self.clone().pump());
        }
        Ok(Place::new(self.clone(), account.clone(), number, answer))
    }

    /// What the call with this number is told.
    pub(super) fn notice(&self, account: &AccountId, number: u64) -> WaitNotice {
        let state = self.lock();
        WaitNotice {
            reason: state.head.map_or(ModelWaitingReason::Line, |(reason, _)| reason),
            estimate: state.wait_behind(state.ahead_of(account, number)),
        }
    }

    /// Takes the call with this number out of the line, if it is still in it.
    pub(super) fn leave(&self, account: &AccountId, number: u64) {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(account) else {
            return;
        };
        let Ok(place) = line.binary_search_by_key(&number, |waiting| waiting.number) else {
            return;
        };
        line.remove(place);
        if line.is_empty() {
            state.lines.remove(account);
            state.turns.retain(|other| other != account);
        }
        state.waiting -= 1;
    }

    /// Asks for whoever is first until nobody waits.
    async fn pump(self: Arc<Self>) {
        while let Some(first) = self.next() {
            // Whoever it was about hears that there is no room; the others must not wait for ever.
            if AssertUnwindSafe(self.serve(first)).catch_unwind().await.is_err() {
                tracing::error!("the limits of a provider's keys panicked");
            }
        }
    }

    /// The first call of the account whose turn it is, taken out of the line. Without one the pump ends.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.lock();
        while let Some(account) = state.turns.pop_front() {
            let Some(line) = state.lines.get_mut(&account) else {
                continue;
            };
            let first = line.pop_front();
            if line.is_empty() {
                state.lines.remove(&account);
            } else {
                state.turns.push_back(account);
            }
            if first.is_some() {
                state.waiting -= 1;
                state.is_serving = true;
                return first;
            }
        }
        state.is_pumped = false;
        state.is_serving = false;
        state.head = None;
        state.last_grant = None;
        None
    }

    async fn serve(self: &Arc<Self>, mut first: Waiting) {
        loop {
            if first.reply.is_closed() {
                return;
            }
            let circuit = &first.provider.circuit;
            let (wait, reason) = if circuit.lets_through() {
                match self.limits.admit(&first.wanted).await {
                    Admission::Granted(grant) => {
                        self.note_grant();
                        // If it left at this moment, what it was given is dropped, and given back.
                        let _ = first.reply.send(Ok(self.hold(&first.provider, grant)));
                        return;
                    }
                    Admission::AllKeysRefused => {
                        circuit.not_tried();
                        let _ = first.reply.send(Err(NoRoom::AllKeysRefused));
                        return;
                    }
                    Admission::NeverFits { limit } => {
                        circuit.not_tried();
                        let _ = first.reply.send(Err(NoRoom::NeverFits { limit }));
                        return;
                    }
                    Admission::NotYet { wait, reason } => {
                        circuit.not_tried();
                        // A key that cools down does not change its mind.
                        if Instant::now() + wait > first.deadline && reason == ModelWaitingReason::CoolingDown {
                            let _ = first.reply.send(Err(NoRoom::Deadline));
                            return;
                        }
                        (wait, reason)
                    }
                }
            } else {
                match circuit.state() {
                    CircuitState::Open(rest) => (rest, ModelWaitingReason::CoolingDown),
                    // Another call finds out whether it is well again.
                    CircuitState::HalfOpen | CircuitState::Closed => (LONGEST_LOOK, ModelWaitingReason::CoolingDown),
                }
            };
            let until = Instant::now() + wait;
            self.lock().head = Some((reason, until));
            tokio::select! {
                () = sleep_until(until.min(Instant::now() + LONGEST_LOOK)) => {}
                () = self.room.notified() => {}
                () = first.reply.closed() => return,
            }
        }
    }

    fn hold(self: &Arc<Self>, provider: &Arc<Provider>, grant: Grant) -> GrantHold {
        GrantHold::new(self.clone(), self.limits.clone(), provider.clone(), grant)
    }

    fn note_grant(&self) {
        let mut state = self.lock();
        let now = Instant::now();
        if let Some(last) = state.last_grant.replace(now) {
            let interval = now.duration_since(last).as_secs_f64();
            state.pace += (interval - state.pace) * PACE_WEIGHT;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// In a line that is full: sends the last call of the longest line away, if that is more than one longer than this account's.
    fn make_place(&mut self, account: &AccountId) -> bool {
        let own = self.lines.get(account).map_or(0, VecDeque::len);
        let Some(longest) = self.lines.values_mut().max_by_key(|line| line.len()) else {
            return false;
        };
        if longest.len() <= own + 1 {
            return false;
        }
        let Some(last) = longest.pop_back() else {
            return false;
        };
        self.waiting -= 1;
        // If it has left at this moment it does not want to know.
        let _ = last.reply.send(Err(NoRoom::LineFull));
        true
    }

    fn all_waiting(&self) -> usize {
        self.waiting + usize::from(self.is_serving)
    }

    fn wait_behind(&self, ahead: usize) -> Duration {
        let head = self.head.map_or(Duration::ZERO, |(_, until)| {
            until.saturating_duration_since(Instant::now())
        });
        let others = Duration::try_from_secs_f64(self.pace * ahead as f64).unwrap_or_default();
        head.saturating_add(others)
    }

    /// Calls whose turn comes before the one with this place in its account's line: as many of each account, about.
    fn ahead_of(&self, account: &AccountId, number: u64) -> usize {
        let place = self
            .lines
            .get(account)
            .map_or(0, |line| line.partition_point(|waiting| waiting.number < number));
        let others = self.lines.iter().filter(|(other, _)| *other != account);
        place + others.map(|(_, line)| line.len().min(place + 1)).sum::<usize>()
    }
}
