//! What a provider says of its limits.

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{calls, calls_left, granted, key, not_yet, until, usage, wanted};
use crate::ports::model::{LimitHints, WindowHint};
use crate::ports::rate_limits::{CallEnd, KeyLimits};

fn limit_of_calls(limit: u64) -> LimitHints {
    LimitHints {
        requests: WindowHint {
            limit: Some(limit),
            ..WindowHint::default()
        },
        ..LimitHints::default()
    }
}

/// A lower one than ours, or one where we have none; not a higher one. The last word counts.
pub async fn a_lower_limit_of_the_provider_counts(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let (ours, none) = ([key(0, calls(10))], [key(1, KeyLimits::default())]);
    for (keys, words) in [(&ours, [(20, 10), (4, 4), (6, 6)]), (&none, [(20, 20), (4, 4), (6, 6)])] {
        for (said, counts) in words {
            let call = granted(&limits[0], &wanted(keys, 1)).await;
            limits[0].answered(&call, limit_of_calls(said)).await;
            limits[0].settle(&call, CallEnd::NotMade).await;
            let limit = usage(&limits[1], &keys[0]).await.limits.requests_per_minute;
            assert_eq!(limit, Some(counts), "after {said}");
        }
        for _ in 0..6 {
            granted(&limits[1], &wanted(keys, 1)).await;
        }
        not_yet(&limits[1], &wanted(keys, 1)).await;
    }
}

/// Less room than we know of is somebody else's use: on all instances, and for a window at most.
pub async fn others_use_counts_for_a_window(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(10))];
    let call = granted(&limits[0], &wanted(&keys, 1)).await;
    let said_at = Instant::now();
    limits[0].answered(&call, calls_left(10, 2)).await;
    limits[0].settle(&call, CallEnd::NotMade).await;
    assert_eq!(usage(&limits[1], &keys[0]).await.requests, 7);
    for _ in 0..3 {
        granted(&limits[1], &wanted(&keys, 1)).await;
    }
    not_yet(&limits[1], &wanted(&keys, 1)).await;
    until(&limits[1], &keys[0], |usage| usage.requests == 3).await;
    let counted_for = said_at.elapsed();
    assert!(counted_for >= factory.times().window * 9 / 10, "{counted_for:?}");
    for _ in 0..7 {
        granted(&limits[0], &wanted(&keys, 1)).await;
    }
}

/// More room than we thought, once nobody else uses the key any more; but never more than what we know of.
pub async fn the_provider_is_believed_when_others_have_gone(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(100))];
    for (left, others) in [(49, 50), (78, 20), (90, 7), (99, 0), (95, 0), (40, 54)] {
        let call = granted(&limits, &wanted(&keys, 1)).await;
        let known = usage(&limits, &keys[0]).await.requests;
        limits.answered(&call, calls_left(100, left)).await;
        let ours = usage(&limits, &keys[0]).await.concurrent_calls;
        let now = usage(&limits, &keys[0]).await.requests;
        assert_eq!(now, ours + others, "{left} left, {known} known before");
    }
}

/// Calls on their way, which the provider may have counted or not, are counted once; and its words, which differ by just those, do not make
/// the view change.
pub async fn calls_under_way_are_not_taken_for_others(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(100))];
    let first = granted(&limits, &wanted(&keys, 1)).await;
    limits.answered(&first, calls_left(100, 79)).await;
    assert_eq!(usage(&limits, &keys[0]).await.requests, 21, "20 are others'");
    let mut under_way = Vec::new();
    for _ in 0..10 {
        under_way.push(granted(&limits, &wanted(&keys, 1)).await);
    }
    assert_eq!(usage(&limits, &keys[0]).await.requests, 31);
    // The first had been counted when it was answered, and any number of the others.
    for (call, counted) in under_way.into_iter().zip([1, 10, 3, 7, 10, 6, 10, 9, 10, 10]) {
        limits.answered(&call, calls_left(100, 100 - 21 - counted)).await;
        assert_eq!(
            usage(&limits, &keys[0]).await.requests,
            31,
            "{counted} of 10 had arrived"
        );
    }
}
