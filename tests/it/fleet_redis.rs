//! Redis goes away and comes back: runs go on, their readers miss nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{DEFAULT_LEASE, TestFleet, story, until_some};
use crate::rig::{Following, Instance, Redis, RedisMemory, shared_postgres_url};

/// Words that a run says in a second.
const PACE: u32 = 10;

async fn fleet_on(redis: &Redis) -> TestFleet {
    TestFleet::on(&shared_postgres_url().unwrap(), &redis.url(), DEFAULT_LEASE).await
}

/// Waits until a run that nobody disturbs has gone on for so long: its words are the clock.
async fn until_it_has_spoken_for(following: &mut Following, time: Duration) {
    let words = |kind: &str| kind == "text.delta";
    let before = following
        .so_far()
        .events
        .iter()
        .filter(|event| words(&event.kind))
        .count();
    let more = usize::try_from(time.as_secs() * u64::from(PACE)).unwrap();
    let spoken = |seen: &crate::rig::Followed| {
        let now = seen.events.iter().filter(|event| words(&event.kind)).count();
        now >= before + more || seen.has_ended()
    };
    following.until("more words", spoken).await.unwrap();
}

/// Runs on each of the instances, each followed from the next one. With one more run on `a` that is followed where it runs.
async fn runs_on_all(fleet: &TestFleet, instances: [&Instance; 3], seconds: u32) -> (Vec<Following>, Following) {
    let [a, b, c] = instances;
    let body = story(seconds * PACE, PACE);
    let mut followings = Vec::new();
    for (runs_on, followed_from) in [(a, b), (b, c), (c, a)] {
        followings.extend(fleet.followed_elsewhere(4, &body, runs_on, &[followed_from]).await);
    }
    let clock = fleet.followed_elsewhere(1, &body, a, &[a]).await.pop().unwrap();
    (followings, clock)
}

async fn readiness(instance: &Instance) -> Value {
    instance.client().unwrap().get("/readyz").await.expect_status(200)
}

async fn until_ready_as(instances: [&Instance; 3], status: &str) {
    for instance in instances {
        until_some(status, || async {
            (readiness(instance).await["status"] == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_restarts_without_memory_or_stands_still_takes_nothing_from_anyone() {
    let mut redis = Redis::start(RedisMemory::Forgets).await.unwrap();
    let fleet = fleet_on(&redis).await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let (mut followings, mut clock) = runs_on_all(&fleet, [&a, &b, &c], 8).await;
    redis.restart().await.unwrap();
    until_it_has_spoken_for(&mut clock, Duration::from_secs(2)).await;
    redis.pause().unwrap();
    until_it_has_spoken_for(&mut clock, Duration::from_secs(3)).await;
    redis.go_on().unwrap();
    followings.push(clock);
    let followed = fleet.all_complete(followings, &[&a, &b, &c]).await;
    for followed in followed {
        assert!(
            !followed.has("run.recovered"),
            "no lease depends on Redis: {:?}",
            followed.run
        );
    }
    fleet.finish_after_errors([a, b, c]).await;
}

#[tokio::test]
async fn a_redis_that_is_gone_for_ten_seconds_is_a_degraded_fleet_and_no_more() {
    let mut redis = Redis::start(RedisMemory::Keeps).await.unwrap();
    let fleet = fleet_on(&redis).await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let stalled = json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}});
    let body = json!({"input": "Go.", "model_options": {"simulate": stalled}});
    let mut doomed = fleet.followed_elsewhere(1, &body, &a, &[&b]).await.pop().unwrap();
    until_ready_as([&a, &b, &c], "ready").await;
    let (mut followings, mut clock) = runs_on_all(&fleet, [&a, &b, &c], 13).await;
    redis.kill().await.unwrap();
    until_ready_as([&a, &b, &c], "degraded").await;

    let asked = Instant::now();
    let run = doomed.so_far().run;
    let cancelled = c.client().unwrap().cancel(&run).await;
    assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
    println!("a cancel on another instance took {:?} without Redis", asked.elapsed());
    doomed.until_seen("run.cancelled").await.unwrap();
    println!(
        "and reached a reader on a third {:?} after it was asked",
        asked.elapsed()
    );
    // Runs still start, and are seen elsewhere.
    let more = fleet.followed_elsewhere(2, &story(5, PACE), &b, &[&c]).await;
    fleet.all_complete(more, &[&a, &b, &c]).await;

    until_it_has_spoken_for(&mut clock, Duration::from_secs(10)).await;
    redis.run().await.unwrap();
    until_ready_as([&a, &b, &c], "ready").await;
    followings.push(clock);
    for followed in fleet.all_complete(followings, &[&a, &b, &c]).await {
        assert!(
            !followed.has("run.recovered"),
            "no lease depends on Redis: {:?}",
            followed.run
        );
    }
    fleet.check_ended(&doomed.ended().await.unwrap(), &[&a, &b, &c]).await;
    fleet.finish_after_errors([a, b, c]).await;
}

#[tokio::test]
async fn what_redis_has_forgotten_the_database_tells_with_the_same_numbers() {
    let redis = Redis::start(RedisMemory::Forgets).await.unwrap();
    let fleet = fleet_on(&redis).await;
    let [mut a, b] = fleet.start(["a", "b"]).await;
    let followings = fleet.followed_elsewhere(5, &story(20, 0), &a, &[&b]).await;
    let before = fleet.all_complete(followings, &[&a, &b]).await;
    redis.flush().await.unwrap();
    // Nothing is left in the memory of this one either.
    a.kill().await.unwrap();
    a.start().await.unwrap();
    for followed in &before {
        fleet.check_ended(followed, &[&a, &b]).await;
        let middle = followed.last_seq().unwrap() / 2;
        let rest = a
            .client()
            .unwrap()
            .events(&followed.run, Some(middle))
            .await
            .unwrap()
            .rest()
            .await;
        assert_eq!(rest[..], followed.events[usize::try_from(middle).unwrap() + 1..]);
    }
    fleet.finish([a, b]).await;
}
