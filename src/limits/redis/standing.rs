//! Who decides: the fleet in Redis, this instance by its share, or both. And what Redis has not heard yet.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::ports::model::{LimitHints, WindowHint};
use callboard_actors::ports::rate_limits::{CallEnd, Grant};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Words that Redis has not heard are forgotten beyond so many, the oldest first: leases end what they were about.
const MOST_UNHEARD: usize = 10_000;

/// Who decides on an admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decides {
    /// Redis, for all instances.
    Fleet,
    /// Redis, and this instance by its share: Redis may not know of calls that were granted within the last window.
    Both,
    /// This instance, by its share.
    Instance,
}

/// Something that Redis is to be told about a grant.
#[derive(Debug, Clone)]
pub(super) struct Word {
    pub(super) grant: Grant,
    /// How it ended; `None`: it was answered.
    pub(super) end: Option<CallEnd>,
    said_at: Instant,
}

#[derive(Debug)]
pub(super) struct Standing {
    state: Mutex<State>,
    /// Redis does not answer, or there are words for it.
    pub(super) work: Notify,
    window: Duration,
}

#[derive(Debug)]
struct State {
    is_away: bool,
    /// Whether this instance has ever granted something, or Redis been reached: if neither, there is nothing that Redis does not know.
    has_past: bool,
    both_until: Option<Instant>,
    /// Providers of which Redis has not counted for a whole window yet.
    young_until: HashMap<Arc<str>, Instant>,
    unheard: VecDeque<Word>,
}

impl Word {
    pub(super) fn new(grant: &Grant, end: Option<CallEnd>) -> Self {
        Self {
            grant: grant.clone(),
            end,
            said_at: Instant::now(),
        }
    }

    /// How the call ended, as it is to be told now: what was left under the limits then says nothing any more.
    pub(super) fn end_told_late(&self) -> Option<CallEnd> {
        let late = self.said_at.elapsed();
        self.end.map(|end| match end {
            CallEnd::RateLimited { retry_after, hints } => CallEnd::RateLimited {
                retry_after: retry_after.map(|time| time.saturating_sub(late)),
                hints: only_limits(hints),
            },
            CallEnd::TooLarge { hints } => CallEnd::TooLarge {
                hints: only_limits(hints),
            },
            end => end,
        })
    }
}

fn only_limits(hints: LimitHints) -> LimitHints {
    let only_limit = |hint: WindowHint| WindowHint {
        limit: hint.limit,
        ..WindowHint::default()
    };
    LimitHints {
        requests: only_limit(hints.requests),
        tokens: only_limit(hints.tokens),
    }
}

impl Standing {
    /// Redis is away until it is reached for the first time.
    pub(super) fn new(window: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                is_away: true,
                has_past: false,
                both_until: None,
                young_until: HashMap::new(),
                unheard: VecDeque::new(),
            }),
            work: Notify::new(),
            window,
        }
    }

    pub(super) fn decides(&self, provider: &Arc<str>) -> Decides {
        let now = Instant::now();
        let mut state = self.lock();
        if state.is_away {
            state.has_past = true;
            return Decides::Instance;
        }
        let young_until = state.young_until.get(provider).copied();
        if [state.both_until, young_until]
            .into_iter()
            .flatten()
            .any(|until| until > now)
        {
            return Decides::Both;
        }
        Decides::Fleet
    }

    /// Whether all that is granted now is decided by the fleet alone.
    pub(super) fn is_fleets(&self) -> bool {
        let now = Instant::now();
        let state = self.lock();
        let mut until = state.young_until.values().chain(&state.both_until);
        !state.is_away && !until.any(|until| *until > now)
    }

    pub(super) fn is_away(&self) -> bool {
        self.lock().is_away
    }

    /// Redis says that it has not counted for a whole window.
    pub(super) fn is_young(&self, provider: &Arc<str>, until_old: Duration) {
        let until = Instant::now() + until_old.min(self.window);
        self.lock().young_until.insert(provider.clone(), until);
    }

    /// Whether it is known that Redis has not counted for a whole window, and so this instance decides too.
    pub(super) fn knows_young(&self, provider: &Arc<str>) -> bool {
        let until = self.lock().young_until.get(provider).copied();
        until.is_some_and(|until| until > Instant::now())
    }

    /// Redis does not answer.
    pub(super) fn lost(&self, reason: &str) {
        if std::mem::replace(&mut self.lock().is_away, true) {
            return;
        }
        tracing::warn!(
            reason,
            "rate limits cannot be shared; this instance keeps to its share of them"
        );
        self.work.notify_one();
    }

    /// Redis answers, and has heard everything: false if it has not.
    pub(super) fn found(&self) -> bool {
        let mut state = self.lock();
        if !state.unheard.is_empty() {
            return false;
        }
        state.is_away = false;
        if std::mem::replace(&mut state.has_past, true) {
            state.both_until = Some(Instant::now() + self.window);
        }
        tracing::info!("rate limits are shared");
        true
    }

    /// Redis is to be told, as soon as it can be.
    pub(super) fn tell_later(&self, word: Word) {
        let mut state = self.lock();
        if state.unheard.len() >= MOST_UNHEARD {
            state.unheard.pop_front();
        }
        state.unheard.push_back(word);
        self.work.notify_one();
    }

    /// The oldest of what Redis has not heard; it must be put back if it cannot be told.
    pub(super) fn next_word(&self) -> Option<Word> {
        self.lock().unheard.pop_front()
    }

    pub(super) fn put_back(&self, word: Word) {
        self.lock().unheard.push_front(word);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
