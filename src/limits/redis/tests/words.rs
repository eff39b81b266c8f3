//! What Redis is told when it could not be told at once; and what is needed for that.

use std::sync::Arc;

use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::{CallEnd, KeyLimits, LimitsReach};
use callboard_actors::testing::rate_limits_conformance::{calls, granted, key, not_yet, wanted};
use futures::FutureExt;

use super::{PATIENCE, open, options, until_reach, until_shared};
use crate::redis_client::RedisAddress;
use crate::redis_client::test_server::{self, OwnServer};

async fn until_under_way(limits: &Arc<dyn RateLimits>, expected: u64) {
    let keys = [key(0, KeyLimits::default())];
    let looking = async {
        while limits.usage(&keys).await.remove(0).concurrent_calls != expected {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_of_calls_are_told_when_redis_is_back() {
    let mut server = OwnServer::lasting().await;
    let options = options(server.address());
    let limits: Arc<dyn RateLimits> = open(&options, 2);
    let other: Arc<dyn RateLimits> = open(&options, 2);
    until_shared(&limits).await;
    until_shared(&other).await;
    let keys = [key(0, calls(100))];
    let first = granted(&limits, &wanted(&keys, 1)).await;
    let second = granted(&limits, &wanted(&keys, 1)).await;
    server.stop();
    until_reach(&limits, LimitsReach::Share { instances: 2 }).await;
    let alone = granted(&limits, &wanted(&keys, 1)).await;
    limits.answered(&first, Default::default()).await;
    limits.settle(&first, CallEnd::Used { tokens: 1 }).await;
    server.run().await;
    until_shared(&other).await;
    until_under_way(&other, 1).await;
    limits.settle(&alone, CallEnd::Unknown).await;
    limits.settle(&second, CallEnd::KeyRefused).await;
    until_shared(&limits).await;
    until_under_way(&other, 0).await;
}

/// Nobody will use it, so it is taken back. (On one thread, so that no answer comes while it is asked.)
#[tokio::test]
async fn what_nobody_waits_for_is_taken_back() {
    let limits: Arc<dyn RateLimits> = open(&options(test_server::single()), 1);
    until_shared(&limits).await;
    let keys = [key(0, calls(100))];
    for _ in 0..50 {
        let wanted = wanted(&keys, 1);
        let mut asking = limits.admit(&wanted);
        assert!(asking.as_mut().now_or_never().is_none(), "Redis is asked");
        drop(asking);
    }
    granted(&limits, &wanted(&keys, 1)).await;
    until_under_way(&limits, 1).await;
    assert_eq!(limits.usage(&keys).await.remove(0).requests, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_that_redis_has_forgotten_are_told_again() {
    let server = OwnServer::forgetful().await;
    let limits: Arc<dyn RateLimits> = open(&options(server.address()), 2);
    until_shared(&limits).await;
    let keys = [key(0, calls(3))];
    let mut connection = server.connection().await;
    for _ in 0..3 {
        redis::cmd("SCRIPT")
            .arg("FLUSH")
            .exec_async(&mut connection)
            .await
            .expect("it answers");
        let grant = granted(&limits, &wanted(&keys, 1)).await;
        limits.answered(&grant, Default::default()).await;
        assert_eq!(limits.reach(), LimitsReach::Fleet);
    }
    not_yet(&limits, &wanted(&keys, 1)).await;
}

/// What it needs to be allowed, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_few_rights_is_enough() {
    let rules = "callboard on >correct-horse ~callboard:* +ping +evalsha +script|load +time +del +pexpire +hget +hmget +hgetall \
                 +hset +hdel +hincrby +zadd +zrem +zcard +zrangebyscore";
    let mut arguments = vec!["--user"];
    arguments.extend(rules.split_whitespace());
    arguments.extend(["--user", "default", "off"]);
    let server = OwnServer::start(&arguments).await;
    let url = format!("redis://callboard:correct-horse@127.0.0.1:{}/", server.port);
    let limits: Arc<dyn RateLimits> = open(&options(RedisAddress::Single(url.into())), 2);
    until_shared(&limits).await;
    let keys = [key(0, calls(2))];
    for end in [CallEnd::Unknown, CallEnd::KeyRefused] {
        let grant = granted(&limits, &wanted(&keys, 1)).await;
        limits.answered(&grant, Default::default()).await;
        limits.settle(&grant, end).await;
    }
    assert!(limits.usage(&keys).await.remove(0).refused_for.is_some());
    assert_eq!(limits.reach(), LimitsReach::Fleet);
}
