//! When a call stops counting.

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{calls, end_call, granted, granted_in_the_end, key, not_yet, until, wanted};
use crate::ports::rate_limits::CallEnd;

/// A call on its way counts, however long it is; one that was answered counts for a window from then on, and no longer than that.
pub async fn a_minute_begins_with_the_answer(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let window = factory.times().window;
    let keys = [key(0, calls(1))];
    let slow = granted(&limits, &wanted(&keys, 1)).await;
    tokio::time::sleep(window * 3 / 2).await;
    not_yet(&limits, &wanted(&keys, 1)).await;
    let answered_at = Instant::now();
    limits.answered(&slow, Default::default()).await;
    granted_in_the_end(&limits, &wanted(&keys, 1)).await;
    assert!(
        answered_at.elapsed() >= window,
        "the provider's minute may not be over yet"
    );
}

/// The provider may have counted it until then.
pub async fn a_call_that_ends_without_an_answer_counts_from_its_end(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let keys = [key(0, calls(1))];
    for end in [CallEnd::Unknown, CallEnd::Used { tokens: 1 }] {
        let call = granted_in_the_end(&limits, &wanted(&keys, 1)).await;
        let ended_at = Instant::now();
        limits.settle(&call, end).await;
        not_yet(&limits, &wanted(&keys, 1)).await;
        until(&limits, &keys[0], |usage| usage.requests == 0).await;
        assert!(ended_at.elapsed() >= factory.times().window);
    }
}

/// Who comes again when he was told to finds room, if nobody else came.
pub async fn there_is_room_after_the_wait(factory: &impl LimitsFactory) {
    let limits = factory.open(1).await.remove(0);
    let window = factory.times().window;
    let keys = [key(0, calls(5))];
    for _ in 0..5 {
        let call = granted(&limits, &wanted(&keys, 1)).await;
        end_call(&limits, &call, 1).await;
    }
    let (wait, _) = not_yet(&limits, &wanted(&keys, 1)).await;
    assert!(wait <= window + window / 50, "{wait:?} is longer than anything counts");
    tokio::time::sleep(wait).await;
    granted(&limits, &wanted(&keys, 1)).await;
}
