//! Calls that no minute has room for.

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{calls, granted, key, not_yet, tokens, usage, wanted};
use super::resting::rate_limited;
use crate::ports::model::{LimitHints, WindowHint};
use crate::ports::rate_limits::{Admission, CallEnd, KeyLimits};

fn limit_of_tokens(limit: u64) -> LimitHints {
    LimitHints {
        tokens: WindowHint {
            limit: Some(limit),
            ..WindowHint::default()
        },
        ..LimitHints::default()
    }
}

/// Whatever else is in the way; it counts nowhere.
pub async fn what_never_fits_is_said_at_once(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, tokens(100)), key(1, tokens(200))];
    let large = wanted(&keys, 221);
    let never = Admission::NeverFits { limit: 200 };
    assert_eq!(limits.admit(&large).await, never);
    assert_eq!(limits.usage(&keys).await[1].tokens, 0);
    let full = granted(&limits, &wanted(&keys, 200)).await;
    assert_eq!((full.key, full.tokens), (1, 200), "it does not fit the other one");
    assert_eq!(limits.admit(&large).await, never);
    not_yet(&limits, &wanted(&keys, 220)).await;
    limits.settle(&full, rate_limited(Some(factory.times().window))).await;
    assert_eq!(limits.admit(&large).await, never);
    not_yet(&limits, &wanted(&keys, 220)).await;
    // A key that cannot be used does not count: the other one is too small.
    let call = granted(&limits, &wanted(&keys[..1], 1)).await;
    limits.settle(&call, CallEnd::NotMade).await;
    let other = [key(2, tokens(300)), keys[0].clone()];
    let refused = granted(&limits, &wanted(&other[..1], 1)).await;
    limits.settle(&refused, CallEnd::KeyRefused).await;
    let never = Admission::NeverFits { limit: 100 };
    assert_eq!(limits.admit(&wanted(&other, 250)).await, never);
    assert_eq!(limits.admit(&wanted(&other[..1], 400)).await, Admission::AllKeysRefused);
    // One without a limit takes all.
    let mixed = [keys[0].clone(), key(3, KeyLimits::default())];
    assert_eq!(granted(&limits, &wanted(&mixed, 5000)).await.key, 1);
}

/// On all instances, until it is a while ago: then one call asks what it is now.
pub async fn a_limit_that_is_told_rules_out_for_a_while(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(1000))];
    let large = wanted(&keys, 500);
    let rules_out_for = factory.times().told_limit_rules_out_for;
    let mut call = granted(&limits[0], &large).await;
    for limit in [100, 400] {
        let told_at = Instant::now();
        let hints = limit_of_tokens(limit);
        limits[0].settle(&call, CallEnd::TooLarge { hints }).await;
        for limits in &limits {
            let counts = usage(limits, &keys[0]).await.limits.tokens_per_minute;
            assert_eq!(counts, Some(limit));
            assert_eq!(limits.admit(&large).await, Admission::NeverFits { limit });
        }
        call = loop {
            match limits[0].admit(&large).await {
                Admission::Granted(call) => break call,
                Admission::NeverFits { .. } => tokio::time::sleep(rules_out_for / 20).await,
                other => panic!("there is room: {other:?}"),
            }
            assert!(told_at.elapsed() < rules_out_for * 20, "it is ruled out for ever");
        };
        assert!(told_at.elapsed() >= rules_out_for);
    }
    let hints = limit_of_tokens(455);
    limits[0].settle(&call, CallEnd::TooLarge { hints }).await;
    granted(&limits[1], &large).await;
}

/// It was the call's fault: others are made with it at once. Only the call counts.
pub async fn a_call_that_is_too_large_does_not_cool_its_key(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(100))];
    let large = granted(&limits[0], &wanted(&keys, 5000)).await;
    limits[0]
        .settle(
            &large,
            CallEnd::TooLarge {
                hints: limit_of_tokens(2000),
            },
        )
        .await;
    let after = usage(&limits[1], &keys[0]).await;
    assert_eq!((after.requests, after.tokens, after.concurrent_calls), (1, 0, 0));
    assert_eq!((after.cooling_for, after.refused_for), (None, None));
    for limits in &limits {
        granted(limits, &wanted(&keys, 500)).await;
        granted(limits, &wanted(&keys, 500)).await;
    }
}
