//! What this instance and Redis decide together, as long as Redis has not counted for a whole window.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::local_limits::LimitTimes;
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::{Admission, CallEnd, LimitsReach};
use callboard_actors::testing::rate_limits_conformance::{calls, granted, key, wanted};

use super::{RedisLimitsOptions, open, options, until_reach};
use crate::redis_client::test_server;

/// Longer than the test takes.
fn young() -> RedisLimitsOptions {
    let mut options = options(test_server::single());
    options.times = LimitTimes::default();
    options
}

/// One key was refused before this instance was started, as Redis knows, and the other one by a call of its own: nobody waits for either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_refused_in_part_here_in_part_there_are_all_refused() {
    let options = young();
    let before: Arc<dyn RateLimits> = open(&options, 2);
    let keys = [key(0, calls(10)), key(1, calls(10))];
    until_reach(&before, LimitsReach::Fleet).await;
    let call = granted(&before, &wanted(&keys[1..], 1)).await;
    before.settle(&call, CallEnd::KeyRefused).await;
    let limits: Arc<dyn RateLimits> = open(&options, 2);
    until_reach(&limits, LimitsReach::Fleet).await;
    let call = granted(&limits, &wanted(&keys, 1)).await;
    assert_eq!(call.key, 0);
    assert_eq!(limits.reach(), LimitsReach::Share { instances: 2 }, "both decide");
    limits.settle(&call, CallEnd::KeyRefused).await;
    assert_eq!(limits.admit(&wanted(&keys, 1)).await, Admission::AllKeysRefused);
    // One that both would use is there for all.
    let keys = [keys[0].clone(), keys[1].clone(), key(2, calls(10))];
    assert_eq!(granted(&limits, &wanted(&keys, 1)).await.key, 2);
    let Admission::NotYet { wait, .. } = ({
        for _ in 0..4 {
            granted(&limits, &wanted(&keys, 1)).await;
        }
        limits.admit(&wanted(&keys, 1)).await
    }) else {
        panic!("the share of the third is used up");
    };
    assert!(wait <= Duration::from_secs(60), "{wait:?}");
}
