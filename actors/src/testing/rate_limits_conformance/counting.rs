//! Each limit by itself, filled to the brim by calls that nobody answers.

use super::LimitsFactory;
use super::fixtures::{concurrent, end_call, granted, key, not_yet, tokens, usage, wanted};
use crate::event::ModelWaitingReason;
use crate::ports::rate_limits::{CallEnd, KeyLimits, KeyUsage};

/// A refusal leaves no trace, on no key.
pub async fn a_refusal_counts_nothing(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let limited = KeyLimits {
        requests_per_minute: Some(10),
        tokens_per_minute: Some(100),
        concurrent_calls: Some(10),
    };
    let keys = [key(0, limited), key(1, limited)];
    for _ in 0..2 {
        granted(&limits, &wanted(&keys, 60)).await;
    }
    let before = limits.usage(&keys).await;
    assert!(
        before.iter().all(|usage| (usage.requests, usage.tokens) == (1, 60)),
        "{before:?}"
    );
    for _ in 0..20 {
        let (_, reason) = not_yet(&limits, &wanted(&keys, 41)).await;
        assert_eq!(reason, ModelWaitingReason::TokensPerMinute);
    }
    assert_eq!(limits.usage(&keys).await, before);
    granted(&limits, &wanted(&keys, 40)).await;
}

/// Calls per minute.
pub async fn a_limit_of_calls_holds(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, super::calls(7))];
    for _ in 0..7 {
        granted(&limits, &wanted(&keys, 1_000_000)).await;
    }
    let (_, reason) = not_yet(&limits, &wanted(&keys, 0)).await;
    assert_eq!(reason, ModelWaitingReason::RequestsPerMinute);
}

/// Tokens per minute.
pub async fn a_limit_of_tokens_holds(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(1000))];
    let first = granted(&limits, &wanted(&keys, 600)).await;
    assert_eq!((first.tokens, first.key, &first.key_name), (600, 0, &keys[0].name));
    granted(&limits, &wanted(&keys, 400)).await;
    let (_, reason) = not_yet(&limits, &wanted(&keys, 1)).await;
    assert_eq!(reason, ModelWaitingReason::TokensPerMinute);
    granted(&limits, &wanted(&keys, 0)).await;
}

/// Calls under way, whether they are answered or not.
pub async fn a_limit_of_concurrent_calls_holds(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, concurrent(2))];
    let first = granted(&limits, &wanted(&keys, 1)).await;
    let second = granted(&limits, &wanted(&keys, 1)).await;
    limits.answered(&first, Default::default()).await;
    let (wait, reason) = not_yet(&limits, &wanted(&keys, 1)).await;
    assert_eq!(reason, ModelWaitingReason::ConcurrentCalls);
    assert!(
        wait.as_millis() <= 250,
        "who waits for calls under way asks again soon: {wait:?}"
    );
    for (grant, end) in [(first, CallEnd::Used { tokens: 1 }), (second, CallEnd::NotMade)] {
        limits.settle(&grant, end).await;
        granted(&limits, &wanted(&keys, 1)).await;
        not_yet(&limits, &wanted(&keys, 1)).await;
    }
}

/// As an estimate may be: it counts as the whole limit and needs all of it.
pub async fn a_little_more_than_the_limit_waits_for_an_empty_minute(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(100))];
    let small = granted(&limits, &wanted(&keys, 1)).await;
    not_yet(&limits, &wanted(&keys, 110)).await;
    limits.settle(&small, CallEnd::NotMade).await;
    let large = granted(&limits, &wanted(&keys, 110)).await;
    assert_eq!(large.tokens, 100);
    not_yet(&limits, &wanted(&keys, 1)).await;
    end_call(&limits, &large, 40).await;
    granted(&limits, &wanted(&keys, 60)).await;
}

/// What one instance was granted, another one knows, and may not have once more.
pub async fn instances_count_together(factory: &impl LimitsFactory) {
    let instances = factory.open(3).await;
    let limited = KeyLimits {
        requests_per_minute: Some(4),
        tokens_per_minute: Some(1000),
        concurrent_calls: Some(4),
    };
    let keys = [key(0, limited)];
    for place in [0, 1, 2, 0] {
        granted(&instances[place], &wanted(&keys, 10)).await;
    }
    for limits in &instances {
        not_yet(limits, &wanted(&keys, 10)).await;
        let usage = usage(limits, &keys[0]).await;
        assert_eq!((usage.requests, usage.tokens, usage.concurrent_calls), (4, 40, 4));
    }
}

/// Whatever the order and however many; of a key that was never used, nothing.
pub async fn usage_is_told_in_order(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let mut keys: Vec<_> = (0..4)
        .map(|number| key(number, super::calls(10 + number as u64)))
        .collect();
    keys[3].provider = "elsewhere".into();
    for (place, count) in [(2, 3), (3, 1), (0, 2)] {
        for _ in 0..count {
            granted(&limits, &wanted(&keys[place..=place], 5)).await;
        }
    }
    keys.reverse();
    let told = limits.usage(&keys).await;
    let expected: Vec<_> = [(13, 1), (12, 3), (11, 0), (10, 2)]
        .into_iter()
        .map(|(limit, count)| KeyUsage {
            limits: super::calls(limit),
            requests: count,
            tokens: 5 * count,
            concurrent_calls: count,
            ..KeyUsage::default()
        })
        .collect();
    assert_eq!(told, expected);
    assert!(limits.usage(&[]).await.is_empty());
}
