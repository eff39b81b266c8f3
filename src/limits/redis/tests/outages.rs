//! Redis that is not there, or is too slow for a model call to wait for it.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::{CallEnd, KeyLimits, LimitsReach};
use callboard_actors::testing::rate_limits_conformance::{calls, granted, key, not_yet, wanted};

use super::{open, options, until_reach, until_shared};
use crate::redis_client::test_server::OwnServer;

const SHARE: LimitsReach = LimitsReach::Share { instances: 2 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_starts_without_redis() {
    let mut server = OwnServer::forgetful().await;
    server.stop();
    let limits: Arc<dyn RateLimits> = open(&options(server.address()), 2);
    let keys = [key(0, calls(10))];
    assert_eq!(limits.reach(), SHARE);
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(granted(&limits, &wanted(&keys, 1)).await);
    }
    not_yet(&limits, &wanted(&keys, 1)).await;
    server.run().await;
    until_shared(&limits).await;
    for call in calls {
        limits.settle(&call, CallEnd::NotMade).await;
    }
    for _ in 0..10 {
        granted(&limits, &wanted(&keys, 1)).await;
    }
    not_yet(&limits, &wanted(&keys, 1)).await;
}

/// What this instance was granted by the fleet just before counts against its share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_is_not_had_on_top() {
    let mut server = OwnServer::forgetful().await;
    let options = options(server.address());
    let instances: Vec<Arc<dyn RateLimits>> = vec![open(&options, 2), open(&options, 2)];
    for limits in &instances {
        until_shared(limits).await;
    }
    let keys = [key(0, calls(10))];
    for _ in 0..7 {
        granted(&instances[0], &wanted(&keys, 1)).await;
    }
    server.stop();
    for limits in &instances {
        until_reach(limits, SHARE).await;
    }
    not_yet(&instances[0], &wanted(&keys, 1)).await;
    for _ in 0..5 {
        granted(&instances[1], &wanted(&keys, 1)).await;
    }
    not_yet(&instances[1], &wanted(&keys, 1)).await;
}

/// It is there, and says nothing: nobody waits for it, and what it grants in the end is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_redis_is_one_that_is_away() {
    let server = OwnServer::forgetful().await;
    let mut options = options(server.address());
    let patient: Arc<dyn RateLimits> = open(&options, 2);
    options.answer_within = Duration::from_millis(300);
    let limits: Arc<dyn RateLimits> = open(&options, 2);
    until_shared(&limits).await;
    until_shared(&patient).await;
    let keys = [key(0, calls(10))];
    let mut connection = server.connection().await;
    let mut pause = redis::cmd("CLIENT");
    pause.arg("PAUSE").arg(2000);
    pause.exec_async(&mut connection).await.expect("it answers");
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(granted(&limits, &wanted(&keys, 1)).await);
    }
    assert_eq!(limits.reach(), SHARE);
    not_yet(&limits, &wanted(&keys, 1)).await;
    for call in &calls {
        limits.settle(call, CallEnd::NotMade).await;
    }
    until_shared(&limits).await;
    let usage = patient.usage(&keys).await.remove(0);
    assert_eq!((usage.requests, usage.concurrent_calls), (0, 0));
}

/// Looking at how keys are used takes longer than a call may wait: the look fails, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_takes_too_long_changes_nothing() {
    let server = OwnServer::forgetful().await;
    let mut options = options(server.address());
    options.answer_within = Duration::from_millis(300);
    let limits: Arc<dyn RateLimits> = open(&options, 2);
    until_shared(&limits).await;
    let keys = [key(0, calls(10))];
    for _ in 0..7 {
        granted(&limits, &wanted(&keys, 1)).await;
    }
    let mut connection = server.connection().await;
    let mut command = redis::cmd("CLIENT");
    command.arg("PAUSE").arg(60_000).arg("WRITE");
    command.exec_async(&mut connection).await.expect("it answers");
    let seen = limits.usage(&keys).await.remove(0);
    assert_eq!(seen.requests, 7, "as this instance counts");
    assert_eq!(limits.reach(), LimitsReach::Fleet);
    let mut command = redis::cmd("CLIENT");
    command.arg("UNPAUSE");
    command.exec_async(&mut connection).await.expect("it answers");
    // A share would be over after five.
    for _ in 0..3 {
        granted(&limits, &wanted(&keys, 1)).await;
    }
    not_yet(&limits, &wanted(&keys, 1)).await;
    assert_eq!(limits.reach(), LimitsReach::Fleet);
}

/// It answers, and takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_full_is_one_that_is_away() {
    let server = OwnServer::forgetful().await;
    let limits: Arc<dyn RateLimits> = open(&options(server.address()), 2);
    until_shared(&limits).await;
    let mut connection = server.connection().await;
    let mut memory = async |bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.exec_async(&mut connection).await.expect("Redis takes the setting");
    };
    memory("1").await;
    let keys = [key(0, KeyLimits::default())];
    let grant = granted(&limits, &wanted(&keys, 1)).await;
    assert_eq!(limits.reach(), SHARE);
    memory("0").await;
    limits.settle(&grant, CallEnd::NotMade).await;
    until_shared(&limits).await;
}
