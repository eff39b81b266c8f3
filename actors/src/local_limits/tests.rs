//! The conformance suite; and what only this adapter promises.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::recent_use::{Amount, PerMinute, RecentUse};
use super::{LimitTimes, LocalRateLimits};
use crate::ports::RateLimits;
use crate::ports::rate_limits::{Admission, CallEnd, KeyLimits, LimitsReach, WINDOW};
use crate::testing::rate_limits_conformance::{LimitsFactory, calls, end_call, granted, key, not_yet, wanted};

struct Factory;

#[async_trait]
impl LimitsFactory for Factory {
    async fn open(&self, instances: usize) -> Vec<Arc<dyn RateLimits>> {
        let limits: Arc<dyn RateLimits> = Arc::new(LocalRateLimits::new(self.times()));
        vec![limits; instances]
    }

    fn times(&self) -> LimitTimes {
        LimitTimes::default()
    }
}

mod conformance {
    use super::Factory;

    crate::rate_limits_conformance!(Factory, start_paused = true);
}

/// A window of calls at a steady rate takes no more memory than its parts, and uses nearly all of the limit.
#[tokio::test(start_paused = true)]
async fn nearly_all_of_a_limit_is_used() {
    let limits: Arc<dyn RateLimits> = Arc::new(LocalRateLimits::default());
    let keys = [key(0, calls(6000))];
    let (mut made, begun) = (0, tokio::time::Instant::now());
    while begun.elapsed() < WINDOW * 5 {
        match limits.admit(&wanted(&keys, 1)).await {
            Admission::Granted(grant) => {
                made += 1;
                end_call(&limits, &grant, 1).await;
            }
            Admission::NotYet { wait, .. } => tokio::time::sleep(wait).await,
            other => panic!("nobody refused it: {other:?}"),
        }
    }
    assert!(made >= 6000 * 5 * 99 / 100, "{made} of 30000");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_does_not_grow_with_the_calls() {
    let mut use_of_a_key = RecentUse::new(tokio::time::Instant::now(), WINDOW);
    for _ in 0..50_000 {
        tokio::time::advance(Duration::from_millis(7)).await;
        let now = tokio::time::Instant::now();
        use_of_a_key.forget_old(now);
        use_of_a_key.add(now, Amount::of_call(3));
        assert!(use_of_a_key.parts() <= 121);
    }
    let sum = use_of_a_key.sum();
    assert_eq!(sum.tokens, 3 * sum.calls);
    assert!((60_000 / 7..=60_500 / 7).contains(&sum.calls), "{sum:?}");
    let now = tokio::time::Instant::now();
    let all_gone = use_of_a_key.gone_in(now, PerMinute::Calls, sum.calls);
    assert!(all_gone.is_some_and(|time| time >= WINDOW), "{all_gone:?}");
    assert_eq!(use_of_a_key.gone_in(now, PerMinute::Tokens, sum.tokens + 1), None);
}

/// Each of several that cannot ask the others.
#[tokio::test(start_paused = true)]
async fn a_share_is_a_part_of_each_limit_and_at_least_one() {
    let instances = Arc::new(AtomicU32::new(0));
    let share: Arc<dyn RateLimits> = Arc::new(LocalRateLimits::sharing_with(instances.clone(), LimitTimes::default()));
    let limits = KeyLimits {
        requests_per_minute: Some(10),
        tokens_per_minute: Some(1000),
        concurrent_calls: Some(2),
    };
    let keys = [key(0, limits)];
    for (count, expected) in [
        (0, (10, 1000, 2)),
        (1, (10, 1000, 2)),
        (3, (3, 333, 1)),
        (100, (1, 10, 1)),
    ] {
        instances.store(count, Ordering::Relaxed);
        assert_eq!(
            share.reach(),
            LimitsReach::Share {
                instances: count.max(1)
            }
        );
        let limits = share.usage(&keys).await.remove(0).limits;
        let (requests, tokens, concurrent) = expected;
        assert_eq!(limits.requests_per_minute, Some(requests));
        assert_eq!(limits.tokens_per_minute, Some(tokens));
        assert_eq!(limits.concurrent_calls, Some(concurrent));
    }
    // More than the share, but no more than the limit, counts in full.
    let large = granted(&share, &wanted(&keys, 500)).await;
    assert_eq!(large.tokens, 500);
    share.settle(&large, CallEnd::Unknown).await;
    not_yet(&share, &wanted(&keys, 1)).await;
}

/// What was granted elsewhere counts like what was granted here.
#[tokio::test(start_paused = true)]
async fn calls_granted_elsewhere_are_counted() {
    let (elsewhere, here) = (LocalRateLimits::default(), LocalRateLimits::default());
    let keys = [key(0, calls(2))];
    let Admission::Granted(grant) = elsewhere.admit_now(&wanted(&keys, 7)) else {
        panic!("there is room");
    };
    here.adopt(&grant, &keys[0], WINDOW);
    let usage = here.usage_now(&keys).remove(0);
    assert_eq!((usage.requests, usage.tokens, usage.concurrent_calls), (1, 7, 1));
    here.settle_now(&grant, CallEnd::Used { tokens: 3 });
    let usage = here.usage_now(&keys).remove(0);
    assert_eq!((usage.requests, usage.tokens, usage.concurrent_calls), (1, 3, 0));
}
