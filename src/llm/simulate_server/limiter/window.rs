//! The calls of the last minute of one key, each at the moment it was let in.
//!
//! No window of the given length, wherever it begins, has more in it than was allowed: a call takes room from its own moment until exactly
//! one length later. (A bucket that refills, or a minute of the clock, lets up to twice the limit through within a minute.)

use std::collections::VecDeque;
use std::time::Duration;

/// A sliding window. All times are since one common moment and never go back.
#[derive(Debug)]
pub(super) struct CallWindow {
    length: Duration,
    calls: VecDeque<LetIn>,
    /// The number of the oldest of `calls`.
    oldest: u64,
    tokens: u64,
}

#[derive(Debug, Clone, Copy)]
struct LetIn {
    at: Duration,
    tokens: u64,
}

impl CallWindow {
    pub(super) fn new(length: Duration) -> Self {
        Self {
            length,
            calls: VecDeque::new(),
            oldest: 0,
            tokens: 0,
        }
    }

    /// Forgets what is over by now.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some(call) = self.calls.front().filter(|call| call.at + self.length <= now) {
            self.tokens -= call.tokens;
            self.oldest += 1;
            self.calls.pop_front();
        }
    }

    /// Counts a call; the number is for [`Self::correct`].
    pub(super) fn let_in(&mut self, now: Duration, tokens: u64) -> u64 {
        self.calls.push_back(LetIn { at: now, tokens });
        self.tokens += tokens;
        self.oldest + self.calls.len() as u64 - 1
    }

    /// Counts other tokens for a call, at its old moment. Nothing if the call is out of the window.
    pub(super) fn correct(&mut self, number: u64, tokens: u64) {
        let place = number
            .checked_sub(self.oldest)
            .and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            self.tokens = self.tokens - call.tokens + tokens;
            call.tokens = tokens;
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.calls.len() as u64
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    /// How long until there is room for one more call if nothing else is let in. Zero if there is; `None` if never.
    pub(super) fn room_for_call_in(&self, now: Duration, limit: u64) -> Option<Duration> {
        if limit == 0 {
            return None;
        }
        let too_many = (self.requests() + 1).saturating_sub(limit);
        let Some(last) = too_many.checked_sub(1).and_then(|last| usize::try_from(last).ok()) else {
            return Some(Duration::ZERO);
        };
        self.calls.get(last).map(|call| self.over_in(*call, now))
    }

    /// How long until there is room for so many tokens if nothing else is let in. Zero if there is; `None` if never.
    pub(super) fn room_for_tokens_in(&self, now: Duration, limit: u64, wanted: u64) -> Option<Duration> {
        if wanted > limit {
            return None;
        }
        let mut tokens = self.tokens;
        let mut wait = Duration::ZERO;
        for call in &self.calls {
            if tokens + wanted <= limit {
                break;
            }
            tokens -= call.tokens;
            wait = self.over_in(*call, now);
        }
        Some(wait)
    }

    /// How long until no call is left.
    pub(super) fn no_calls_in(&self, now: Duration) -> Duration {
        self.calls
            .back()
            .map_or(Duration::ZERO, |call| self.over_in(*call, now))
    }

    /// How long until no token is left.
    pub(super) fn no_tokens_in(&self, now: Duration) -> Duration {
        let last = self.calls.iter().rfind(|call| call.tokens > 0);
        last.map_or(Duration::ZERO, |call| self.over_in(*call, now))
    }

    fn over_in(&self, call: LetIn, now: Duration) -> Duration {
        (call.at + self.length).saturating_sub(now)
    }
}
