//! How much of a key was used within a minute.

use super::WINDOW_US;
use super::evidence::{Call, Fate};
use super::site::Key;

/// So much of a key's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) calls: u64,
    pub(super) tokens: u64,
}

/// What a key was used for.
#[derive(Debug)]
pub(crate) struct KeyUse {
    pub(crate) key: Key,
    /// When a call took room, and what had been used until then with it. In the order of time.
    taken: Vec<(i64, Amount)>,
    pub(super) rate_limited: usize,
    pub(super) refused: usize,
    pub(super) outages: usize,
}

impl KeyUse {
    /// `calls` are in the order of time.
    pub(super) fn of(key: &Key, calls: &[Call]) -> Self {
        let mut sum = Amount::default();
        let mut taken = Vec::new();
        let (mut rate_limited, mut refused, mut outages) = (0, 0, 0);
        for call in calls.iter().filter(|call| call.key == key.ending) {
            match call.fate {
                Fate::LetIn => {
                    sum.calls += 1;
                    sum.tokens += call.tokens;
                    taken.push((call.received_us, sum));
                }
                Fate::RateLimited => rate_limited += 1,
                Fate::KeyRefused => refused += 1,
                Fate::Outage => outages += 1,
            }
        }
        Self {
            key: key.clone(),
            taken,
            rate_limited,
            refused,
            outages,
        }
    }

    /// Since the beginning.
    pub(super) fn total(&self) -> Amount {
        self.taken.last().map_or(Amount::default(), |(_, sum)| *sum)
    }

    /// In the minute that ends now.
    pub(super) fn within_minute(&self, now_us: i64) -> Amount {
        let (until, before) = (self.until(now_us), self.until(now_us - WINDOW_US));
        Amount {
            calls: until.calls - before.calls,
            tokens: until.tokens - before.tokens,
        }
    }

    fn until(&self, moment_us: i64) -> Amount {
        let count = self.taken.partition_point(|(at, _)| *at <= moment_us);
        count
            .checked_sub(1)
            .map_or(Amount::default(), |last| self.taken[last].1)
    }

    /// The most that any minute has of each.
    pub(super) fn most_in_a_minute(&self) -> Amount {
        let minutes = self.taken.iter().map(|(at, _)| self.within_minute(*at));
        minutes.fold(Amount::default(), |most, minute| Amount {
            calls: most.calls.max(minute.calls),
            tokens: most.tokens.max(minute.tokens),
        })
    }

    /// What part of its scarcer limit is used in the minute that ends now.
    pub(crate) fn share(&self, now_us: i64) -> f64 {
        let used = self.within_minute(now_us);
        let part = |used: u64, limit: u64| used as f64 / limit as f64;
        part(used.calls, self.key.calls).max(part(used.tokens, self.key.tokens))
    }

    /// Whether some minute has more than its limits allow.
    pub(super) fn is_over_limit(&self) -> bool {
        let most = self.most_in_a_minute();
        most.calls > self.key.calls || most.tokens > self.key.tokens
    }
}
