//! What a key did, second by second: for charts of how much of its limits was used.

use std::collections::VecDeque;

use serde::Serialize;

/// Seconds in which something happened that are remembered, per key.
const REMEMBERED: usize = 3_600;

#[derive(Debug, Default)]
pub(super) struct Meter {
    seconds: VecDeque<Second>,
}

/// One second of one key, by when its calls came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Second {
    /// Since the provider started.
    pub(super) second: u64,
    /// Calls that were let in.
    pub(super) requests: u64,
    /// Tokens of those calls: what they may use, and once they have ended, what they used.
    pub(super) tokens: u64,
    /// Calls that were answered 429.
    pub(super) rate_limited: u64,
}

impl Meter {
    pub(super) fn let_in(&mut self, second: u64, tokens: u64) {
        let entry = self.entry(second);
        entry.requests += 1;
        entry.tokens += tokens;
    }

    pub(super) fn rate_limited(&mut self, second: u64) {
        self.entry(second).rate_limited += 1;
    }

    /// Counts other tokens for a call that was let in then.
    pub(super) fn correct(&mut self, second: u64, from: u64, to: u64) {
        let place = self.seconds.binary_search_by_key(&second, |entry| entry.second);
        if let Some(entry) = place.ok().and_then(|place| self.seconds.get_mut(place)) {
            entry.tokens = (entry.tokens + to).saturating_sub(from);
        }
    }

    pub(super) fn seconds(&self) -> Vec<Second> {
        self.seconds.iter().copied().collect()
    }

    fn entry(&mut self, second: u64) -> &mut Second {
        if self.seconds.back().is_none_or(|last| last.second < second) {
            if self.seconds.len() == REMEMBERED {
                self.seconds.pop_front();
            }
            self.seconds.push_back(Second {
                second,
                requests: 0,
                tokens: 0,
                rate_limited: 0,
            });
        }
        let last = self.seconds.len() - 1;
        &mut self.seconds[last]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_count_in_their_second_and_old_seconds_are_forgotten() {
        let mut meter = Meter::default();
        meter.let_in(1, 100);
        meter.let_in(1, 50);
        meter.rate_limited(4);
        meter.correct(1, 100, 20);
        meter.correct(2, 9, 0);
        let second = |second, requests, tokens, rate_limited| Second {
            second,
            requests,
            tokens,
            rate_limited,
        };
        assert_eq!(meter.seconds(), [second(1, 2, 70, 0), second(4, 0, 0, 1)]);
        for later in 5..5 + REMEMBERED as u64 {
            meter.let_in(later, 1);
        }
        meter.correct(1, 20, 0);
        assert_eq!((meter.seconds().len(), meter.seconds()[0].second), (REMEMBERED, 5));
    }
}
