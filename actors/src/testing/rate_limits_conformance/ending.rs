//! The ways in which a call ends.

use std::time::Duration;

use super::LimitsFactory;
use super::fixtures::{granted, key, tokens, until, usage, wanted};
use crate::ports::rate_limits::CallEnd;

/// More was used than reserved, or less: before and after the answer.
pub async fn what_was_reserved_is_corrected_to_what_was_used(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    for (number, used) in [(0, 10), (1, 100), (2, 350)] {
        for answers in [true, false] {
            let keys = [key(number, tokens(10_000))];
            let before = usage(&limits, &keys[0]).await.tokens;
            let held = granted(&limits, &wanted(&keys, 5000)).await;
            let call = granted(&limits, &wanted(&keys, 100)).await;
            if answers {
                limits.answered(&call, Default::default()).await;
            }
            limits.settle(&call, CallEnd::Used { tokens: used }).await;
            let after = usage(&limits, &keys[0]).await;
            assert!(
                after.tokens == before + 5000 + used || after.tokens == 5000 + used,
                "{after:?}"
            );
            assert_eq!(after.concurrent_calls, 1);
            limits.settle(&held, CallEnd::NotMade).await;
        }
    }
}

/// What was reserved is the best guess.
pub async fn an_unknown_end_counts_what_was_reserved(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(1000))];
    let call = granted(&limits, &wanted(&keys, 300)).await;
    limits.settle(&call, CallEnd::Unknown).await;
    let after = usage(&limits, &keys[0]).await;
    assert_eq!((after.requests, after.tokens, after.concurrent_calls), (1, 300, 0));
}

/// Nobody ever knew of it.
pub async fn a_call_that_was_not_made_counts_for_nothing(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(1000))];
    for _ in 0..50 {
        let call = granted(&limits, &wanted(&keys, 1000)).await;
        limits.settle(&call, CallEnd::NotMade).await;
    }
    let after = usage(&limits, &keys[0]).await;
    assert_eq!((after.requests, after.tokens, after.concurrent_calls), (0, 0, 0));
}

/// The provider took nothing but the call itself.
pub async fn a_rate_limited_call_counts_without_its_tokens(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(1000))];
    let call = granted(&limits, &wanted(&keys, 700)).await;
    let end = CallEnd::RateLimited {
        retry_after: None,
        hints: Default::default(),
    };
    limits.settle(&call, end).await;
    let after = usage(&limits, &keys[0]).await;
    assert_eq!((after.requests, after.tokens, after.concurrent_calls), (1, 0, 0));
}

/// Its instance died: it is under way until its lease is over, and then it is a call that was made.
pub async fn a_grant_that_nobody_settles_was_made(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, tokens(1000))];
    let mut dying = wanted(&keys, 300);
    dying.lease = factory.times().window / 4 + Duration::from_millis(1);
    let lost = granted(&limits[0], &dying).await;
    until(&limits[1], &keys[0], |usage| usage.concurrent_calls == 0).await;
    let after = usage(&limits[1], &keys[0]).await;
    assert_eq!((after.requests, after.tokens), (1, 300));
    // It was not dead after all: what it says now comes too late to count twice.
    limits[0].answered(&lost, Default::default()).await;
    limits[0].settle(&lost, CallEnd::Used { tokens: 300 }).await;
    let late = usage(&limits[1], &keys[0]).await;
    assert!(late.requests <= 1 && late.tokens <= 300, "{late:?}");
    assert_eq!(late.concurrent_calls, 0);
    until(&limits[1], &keys[0], |usage| usage.requests == 0 && usage.tokens == 0).await;
}

/// A second word on a call, which nobody should say, changes no count.
pub async fn a_grant_is_settled_only_once(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(1000))];
    let other = granted(&limits, &wanted(&keys, 200)).await;
    let call = granted(&limits, &wanted(&keys, 300)).await;
    for _ in 0..3 {
        limits.settle(&call, CallEnd::NotMade).await;
        limits.answered(&call, Default::default()).await;
    }
    let after = usage(&limits, &keys[0]).await;
    assert_eq!((after.requests, after.tokens, after.concurrent_calls), (1, 200, 1));
    limits.settle(&other, CallEnd::NotMade).await;
}
