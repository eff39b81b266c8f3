//! Keys that cool down, and keys that the provider does not take.

use std::time::Duration;

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{calls, granted, granted_in_the_end, key, not_yet, until, usage, wanted};
use crate::event::ModelWaitingReason;
use crate::ports::rate_limits::{Admission, CallEnd};

pub(super) const fn rate_limited(retry_after: Option<Duration>) -> CallEnd {
    CallEnd::RateLimited {
        retry_after,
        hints: crate::ports::model::LimitHints {
            requests: NOTHING_SAID,
            tokens: NOTHING_SAID,
        },
    }
}

const NOTHING_SAID: crate::ports::model::WindowHint = crate::ports::model::WindowHint {
    limit: None,
    remaining: None,
    resets_in: None,
};

/// On no instance, until it is over. Its calls under way go on.
pub async fn a_key_that_cools_down_is_granted_to_nobody(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(100))];
    let unhurt = granted(&limits[1], &wanted(&keys, 1)).await;
    let hurt = granted(&limits[0], &wanted(&keys, 1)).await;
    let cooling = factory.times().window;
    let began = Instant::now();
    limits[0].settle(&hurt, rate_limited(Some(cooling))).await;
    for limits in &limits {
        let (wait, reason) = not_yet(limits, &wanted(&keys, 1)).await;
        assert_eq!(reason, ModelWaitingReason::CoolingDown);
        assert!(wait <= cooling);
        let cooling_for = usage(limits, &keys[0]).await.cooling_for;
        assert!(cooling_for.is_some_and(|left| left <= cooling), "{cooling_for:?}");
    }
    // A shorter one does not cut it short.
    limits[1]
        .settle(&unhurt, rate_limited(Some(Duration::from_millis(1))))
        .await;
    granted_in_the_end(&limits[1], &wanted(&keys, 1)).await;
    assert!(began.elapsed() >= cooling);
    assert_eq!(usage(&limits[0], &keys[0]).await.cooling_for, None);
}

/// Of a provider that does not say how long.
pub async fn the_usual_cooling_is_known(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(100))];
    let hurt = granted(&limits, &wanted(&keys, 1)).await;
    limits.settle(&hurt, rate_limited(None)).await;
    let cooling_for = usage(&limits, &keys[0]).await.cooling_for.expect("it cools down");
    assert!(cooling_for <= factory.times().usual_cooling, "{cooling_for:?}");
    not_yet(&limits, &wanted(&keys, 1)).await;
}

/// Only the key itself rests.
pub async fn other_keys_are_used_meanwhile(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(100)), key(1, calls(100)), key(2, calls(100))];
    for (end, place) in [
        (rate_limited(Some(Duration::from_secs(3000))), 0),
        (CallEnd::KeyRefused, 1),
    ] {
        let hurt = granted(&limits, &wanted(&keys[place..=place], 1)).await;
        limits.settle(&hurt, end).await;
    }
    for _ in 0..50 {
        assert_eq!(granted(&limits, &wanted(&keys, 1)).await.key, 2);
    }
    let (wait, _) = not_yet(&limits, &wanted(&keys[..2], 1)).await;
    assert!(wait <= factory.times().refused_key_rest, "{wait:?}");
}

/// On no instance, until it has rested. Then one call finds out whether the provider takes it again, and the others wait for that.
pub async fn a_refused_key_rests_and_one_call_tries_it_again(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(100))];
    let rest = factory.times().refused_key_rest;
    let call = granted(&limits[0], &wanted(&keys, 1)).await;
    let mut refused_at = Instant::now();
    limits[0].settle(&call, CallEnd::KeyRefused).await;
    for still_refused in [true, false] {
        let refused_for = usage(&limits[1], &keys[0]).await.refused_for;
        assert!(refused_for.is_some_and(|left| left <= rest), "{refused_for:?}");
        for limits in &limits {
            assert_eq!(limits.admit(&wanted(&keys, 1)).await, Admission::AllKeysRefused);
        }
        until(&limits[1], &keys[0], |usage| usage.refused_for.is_none()).await;
        assert!(refused_at.elapsed() >= rest);
        let tries = granted(&limits[1], &wanted(&keys, 1)).await;
        for limits in &limits {
            not_yet(limits, &wanted(&keys, 1)).await;
        }
        if still_refused {
            refused_at = Instant::now();
            limits[1].settle(&tries, CallEnd::KeyRefused).await;
        } else {
            limits[1].answered(&tries, Default::default()).await;
        }
    }
    for limits in &limits {
        granted(limits, &wanted(&keys, 1)).await;
    }
}

/// Who was to try and did not finds out nothing.
pub async fn a_try_that_was_not_made_lets_the_next_try(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(100))];
    let call = granted(&limits, &wanted(&keys, 1)).await;
    limits.settle(&call, CallEnd::KeyRefused).await;
    until(&limits, &keys[0], |usage| usage.refused_for.is_none()).await;
    for _ in 0..3 {
        let tries = granted(&limits, &wanted(&keys, 1)).await;
        not_yet(&limits, &wanted(&keys, 1)).await;
        limits.settle(&tries, CallEnd::NotMade).await;
    }
    let mut dying = wanted(&keys, 1);
    dying.lease = factory.times().window / 4;
    granted(&limits, &dying).await;
    granted_in_the_end(&limits, &wanted(&keys, 1)).await;
}
