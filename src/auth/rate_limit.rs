//! Requests per second and account, by tier.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_actors::ids::AccountId;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// After so many checks, accounts that have been quiet are forgotten.
const CHECKS_BETWEEN_SWEEPS: u64 = 4096;

/// How fast an account of a tier may send requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRate {
    /// In the long run.
    pub requests_per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

/// One limiter per tier; an account's state is a few words, and only while it matters.
pub struct RateLimiters {
    by_tier: BTreeMap<String, DefaultKeyedRateLimiter<AccountId>>,
    clock: DefaultClock,
    checks: AtomicU64,
}

impl RateLimiters {
    /// Limiters for these tiers; tiers that are not listed are not limited.
    pub fn new(rates: impl IntoIterator<Item = (String, RequestRate)>) -> Self {
        let limiter = |rate: RequestRate| {
            DefaultKeyedRateLimiter::keyed(Quota::per_second(rate.requests_per_second).allow_burst(rate.burst))
        };
        Self {
            by_tier: rates.into_iter().map(|(tier, rate)| (tier, limiter(rate))).collect(),
            clock: DefaultClock::default(),
            checks: AtomicU64::new(0),
        }
    }

    /// Counts a request; `Err` says how long to wait.
    pub fn check(&self, tier: &str, account: &AccountId) -> Result<(), Duration> {
        let Some(limiter) = self.by_tier.get(tier) else {
            return Ok(());
        };
        if self.checks.fetch_add(1, Ordering::Relaxed) % CHECKS_BETWEEN_SWEEPS == CHECKS_BETWEEN_SWEEPS - 1 {
            self.forget_quiet_accounts();
        }
        limiter
            .check_key(account)
            .map_err(|refusal| refusal.wait_time_from(self.clock.now()))
    }

    fn forget_quiet_accounts(&self) {
        for limiter in self.by_tier.values() {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_burst_passes_and_the_next_request_waits() {
        let rate = RequestRate {
            requests_per_second: NonZeroU32::MIN,
            burst: NonZeroU32::new(3).unwrap(),
        };
        let limiters = RateLimiters::new([("free".to_owned(), rate)]);
        let account: AccountId = "acme".parse().unwrap();
        for _ in 0..3 {
            assert_eq!(limiters.check("free", &account), Ok(()));
        }
        let wait = limiters.check("free", &account).unwrap_err();
        assert!(wait <= Duration::from_secs(1));
        assert_eq!(limiters.check("free", &"other".parse().unwrap()), Ok(()));
        assert_eq!(limiters.check("unlisted", &account), Ok(()));
    }
}
