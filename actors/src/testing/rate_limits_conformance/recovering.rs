//! Keys that have met a 429: how long they cool down where the provider does not say, and how carefully they are used after that.

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{calls, end_call, granted, granted_in_the_end, key, not_yet, usage, wanted};
use super::resting::rate_limited;
use crate::event::ModelWaitingReason;
use crate::ports::rate_limits::{CallEnd, KeyLimits};

/// One call finds out, whoever makes it; with each that is answered one more may be under way.
pub async fn a_key_that_has_cooled_down_is_used_with_care(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, KeyLimits::default())];
    let one = wanted(&keys, 1);
    let long_call = granted(&limits[1], &one).await;
    for instance in [0, 1] {
        let hurt = granted(&limits[instance], &one).await;
        limits[instance].settle(&hurt, rate_limited(None)).await;
        let mut under_way = vec![granted_in_the_end(&limits[0], &one).await];
        // What was granted before says nothing of now: neither that it goes on, nor that it is answered.
        limits[1].answered(&long_call, Default::default()).await;
        for allowed in 1..6 {
            while under_way.len() < allowed {
                under_way.push(granted(&limits[under_way.len() % 2], &one).await);
            }
            for limits in &limits {
                let (_, reason) = not_yet(limits, &one).await;
                assert_eq!(reason, ModelWaitingReason::CoolingDown);
            }
            limits[0].answered(&under_way[allowed - 1], Default::default()).await;
        }
        // The end of a call that was answered is no other answer.
        for call in &under_way {
            limits[0].settle(call, CallEnd::Used { tokens: 1 }).await;
        }
        let again = [granted(&limits[0], &one).await, granted(&limits[1], &one).await];
        for call in &again {
            limits[0].settle(call, CallEnd::NotMade).await;
        }
        let mut all = Vec::new();
        for _ in 0..6 {
            all.push(granted(&limits[1], &one).await);
        }
        not_yet(&limits[1], &one).await;
        for call in &all {
            limits[1].settle(call, CallEnd::Unknown).await;
        }
    }
}

/// A try that ends without an answer lets the next one try, and no more than one.
pub async fn a_careful_try_without_an_answer_lets_the_next_try(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, KeyLimits::default())];
    let one = wanted(&keys, 1);
    let hurt = granted(&limits, &one).await;
    limits.settle(&hurt, rate_limited(None)).await;
    for end in [CallEnd::NotMade, CallEnd::Unknown, CallEnd::NotMade] {
        let tries = granted_in_the_end(&limits, &one).await;
        not_yet(&limits, &one).await;
        limits.settle(&tries, end).await;
    }
    let mut dying = wanted(&keys, 1);
    dying.lease = factory.times().window / 4;
    granted(&limits, &dying).await;
    granted_in_the_end(&limits, &one).await;
    not_yet(&limits, &one).await;
}

/// Twice as long each time that a try meets 429 again, up to a longest time; and as at first once one was answered.
pub async fn a_key_that_meets_429_again_cools_longer(factory: &impl LimitsFactory) {
    let limits = factory.open(2).await;
    let keys = [key(0, calls(100))];
    let (usual, longest) = (factory.times().usual_cooling, factory.times().longest_usual_cooling);
    for _ in 0..2 {
        // Many that were made at the same moment are one.
        let mut burst = Vec::new();
        for _ in 0..2 {
            let call = granted_in_the_end(&limits[0], &wanted(&keys, 1)).await;
            limits[0].answered(&call, Default::default()).await;
            burst.push(call);
        }
        let mut expected = usual;
        for round in 0..5 {
            let began = Instant::now();
            for call in burst.drain(..) {
                limits[round % 2].settle(&call, rate_limited(None)).await;
            }
            let cooling_for = usage(&limits[1], &keys[0]).await.cooling_for.expect("it cools down");
            assert!(cooling_for <= expected, "{cooling_for:?} is more than {expected:?}");
            burst.push(granted_in_the_end(&limits[1], &wanted(&keys, 1)).await);
            assert!(
                began.elapsed() >= expected,
                "{:?} is less than {expected:?}",
                began.elapsed()
            );
            expected = (expected * 2).min(longest);
        }
        for call in burst {
            end_call(&limits[0], &call, 1).await;
        }
    }
}
