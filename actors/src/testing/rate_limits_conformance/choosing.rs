//! Which of several keys.

use std::sync::Arc;

use super::LimitsFactory;
use super::fixtures::{calls, granted, key, wanted};
use crate::ports::RateLimits;
use crate::ports::rate_limits::{CallEnd, KeyLimits, LimitedKey};

async fn granted_by_key(limits: &Arc<dyn RateLimits>, keys: &[LimitedKey], count: usize) -> Vec<usize> {
    let mut by_key = vec![0; keys.len()];
    for _ in 0..count {
        let grant = granted(limits, &wanted(keys, 10)).await;
        assert_eq!(grant.key_name, keys[grant.key].name);
        by_key[grant.key] += 1;
    }
    by_key
}

/// All of the same size come to the same use, and all of it can be used.
pub async fn all_keys_are_used_evenly(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let limited = KeyLimits {
        requests_per_minute: Some(20),
        tokens_per_minute: Some(1000),
        concurrent_calls: Some(15),
    };
    let keys: Vec<_> = (0..4).map(|number| key(number, limited)).collect();
    assert_eq!(granted_by_key(&limits, &keys, 40).await, [10, 10, 10, 10]);
    assert_eq!(granted_by_key(&limits, &keys, 20).await, [5, 5, 5, 5]);
    super::not_yet(&limits, &wanted(&keys, 10)).await;
}

/// In proportion to their limits.
pub async fn larger_keys_get_more(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(10)), key(1, calls(30)), key(2, calls(60))];
    assert_eq!(granted_by_key(&limits, &keys, 50).await, [5, 15, 30]);
    assert_eq!(granted_by_key(&limits, &keys, 50).await, [5, 15, 30]);
}

/// The one with the fewest calls under way.
pub async fn keys_without_limits_share_what_is_under_way(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys: Vec<_> = (0..3).map(|number| key(number, KeyLimits::default())).collect();
    assert_eq!(granted_by_key(&limits, &keys, 30).await, [10, 10, 10]);
    for _ in 0..4 {
        let call = granted(&limits, &wanted(&keys[1..2], 1)).await;
        limits.settle(&call, CallEnd::Unknown).await;
    }
    let busy = granted(&limits, &wanted(&keys[1..2], 1)).await;
    assert_eq!(granted_by_key(&limits, &keys, 2).await, [1, 0, 1]);
    limits.settle(&busy, CallEnd::NotMade).await;
    assert_eq!(granted(&limits, &wanted(&keys, 1)).await.key, 1);
}
