//! Redis that restarts, goes away for long, forgets, or loses a stream.

use callboard_actors::ports::EventLog;
use callboard_actors::ports::event_log::Reach;
use callboard_actors::testing::event_log_conformance::{
    Durability, ScriptedWriter, expect_whole_log, read_to_the_end, read_up_to,
};

use super::{PATIENCE, Pair, shared, until};
use crate::redis_client::test_server::OwnServer;

/// Written before, while and after Redis is gone; followed from elsewhere all the time.
async fn everything_arrives_once(mut server: OwnServer, durability: Durability) {
    let pair = Pair::connected(&server.address()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, durability);
    let run = writer.run;
    let mut early = second.follow(run, None);
    writer.write_deltas(20).await;
    assert_eq!(read_up_to(&mut early, 19).await, (0..20).collect::<Vec<u64>>());

    server.stop();
    for log in [&pair.first, &pair.second] {
        until(log, |health| !health.sends && !health.hears).await;
        assert_eq!(log.reach(), Some(Reach::OnlyHere));
    }
    let mut local = first.follow(run, None);
    let mut late = second.follow(run, None);
    writer.write_deltas(500).await;
    assert_eq!(read_up_to(&mut local, 519).await, (0..520).collect::<Vec<u64>>());
    assert_eq!(pair.first.health().unsent_runs, 1);
    if durability == Durability::Strict {
        // The store tells it, slowly.
        let seen = read_up_to(&mut early, 519).await;
        assert_eq!(seen, (20..520).collect::<Vec<u64>>());
        early = second.follow(run, Some(519));
    } else {
        early = second.follow(run, Some(19));
    }
    server.run().await;
    for log in [&pair.first, &pair.second] {
        until(log, |health| health.sends && health.hears).await;
        assert_eq!(log.reach(), Some(Reach::Everywhere));
    }
    pair.first.flush().await;
    writer.flush();
    writer.write_deltas(10).await;
    writer.finish().await;
    let seen_by_early = read_to_the_end(&mut early).await;
    let from = if durability == Durability::Strict { 520 } else { 20 };
    assert_eq!(seen_by_early, (from..=530).collect::<Vec<u64>>());
    assert_eq!(read_to_the_end(&mut late).await, (0..=530).collect::<Vec<u64>>());
    assert_eq!(read_to_the_end(&mut local).await, (520..=530).collect::<Vec<u64>>());
    pair.first.flush().await;
    expect_whole_log(&second, run, None, 530).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_while_redis_is_gone_is_delivered_when_it_is_back() {
    everything_arrives_once(OwnServer::lasting().await, Durability::Strict).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_only_shown_while_redis_is_gone_is_delivered_when_it_is_back() {
    everything_arrives_once(OwnServer::lasting().await, Durability::Relaxed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_comes_back_empty_loses_nothing() {
    everything_arrives_once(OwnServer::forgetful().await, Durability::Strict).await;
}

/// What Redis has forgotten and the store does not have yet is waited for, never jumped over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_comes_back_empty_loses_nothing_that_was_only_shown() {
    everything_arrives_once(OwnServer::forgetful().await, Durability::Relaxed).await;
}

/// It answers, and takes nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_redis_that_is_full_is_one_that_is_away() {
    let server = OwnServer::forgetful().await;
    let pair = Pair::connected(&server.address()).await;
    let first = shared(&pair.first);
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict);
    writer.write_deltas(1).await;
    pair.first.flush().await;
    assert_eq!(pair.first.reach(), Some(Reach::Everywhere));
    let mut connection = server.connection().await;
    let mut memory = async |bytes: &str| {
        let mut set = redis::cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(bytes);
        set.exec_async(&mut connection).await.expect("Redis takes the setting");
    };
    memory("1").await;
    writer.write_deltas(1).await;
    let reaches = async |expected| {
        while pair.first.reach() != Some(expected) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, reaches(Reach::OnlyHere))
        .await
        .expect("it is noticed");
    memory("0").await;
    pair.first.flush().await;
    assert_eq!(pair.first.reach(), Some(Reach::Everywhere));
    writer.finish().await;
}

/// Runs that are written while Redis restarts again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restarts_under_many_runs_lose_and_repeat_nothing() {
    let mut server = OwnServer::lasting().await;
    let pair = Pair::connected(&server.address()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut writers: Vec<_> = (0..20)
        .map(|_| ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict))
        .collect();
    let followers: Vec<_> = writers
        .iter()
        .map(|writer| {
            let mut stream = second.follow(writer.run, None);
            tokio::spawn(async move { read_to_the_end(&mut stream).await })
        })
        .collect();
    for round in 0..3 {
        for writer in &mut writers {
            writer.write_deltas(30).await;
        }
        server.stop();
        for writer in &mut writers {
            writer.write_deltas(30).await;
        }
        server.run().await;
        if round == 1 {
            pair.first.flush().await;
        }
    }
    for writer in &mut writers {
        writer.finish().await;
    }
    for follower in followers {
        assert_eq!(
            follower.await.expect("a reader panicked"),
            (0..=180).collect::<Vec<u64>>()
        );
    }
    pair.first.flush().await;
    until(&pair.first, |health| health.runs == 0).await;
    until(&pair.second, |health| health.runs == 0 && health.mirrored_runs == 0).await;
}

/// The stream is gone: after its time, by an eviction, by hand. The store has it all, with the same seqs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_is_gone_is_no_loss() {
    let server = OwnServer::forgetful().await;
    let pair = Pair::connected(&server.address()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut connection = server.connection().await;
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict);
    let run = writer.run;
    let key = format!("callboard:{{{run}}}:events");
    let mut early = second.follow(run, None);
    for _ in 0..3 {
        writer.write_deltas(50).await;
        pair.first.flush().await;
        let removed: u64 = redis::cmd("DEL")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .expect("answers");
        assert_eq!(removed, 1, "it was there");
    }
    let mut late = second.follow(run, None);
    writer.write_deltas(10).await;
    let alive: i64 = redis::cmd("PTTL")
        .arg(&key)
        .query_async(&mut connection)
        .await
        .expect("answers");
    writer.finish().await;
    for follower in [&mut early, &mut late] {
        assert_eq!(read_to_the_end(follower).await, (0..=160).collect::<Vec<u64>>());
    }
    pair.first.flush().await;
    let ended: i64 = redis::cmd("PTTL")
        .arg(&key)
        .query_async(&mut connection)
        .await
        .expect("answers");
    assert!(
        (500_000..=600_000).contains(&ended),
        "it is kept for 600 s after the end: {ended}"
    );
    assert!(alive == -2 || alive > 80_000_000, "and for long before: {alive}");
    redis::cmd("FLUSHALL")
        .exec_async(&mut connection)
        .await
        .expect("answers");
    expect_whole_log(&second, run, None, 160).await;
    let page = second.read(run, Some(150), 100).await.expect("reads");
    assert_eq!(page.iter().map(|batch| batch.count()).sum::<u64>(), 10);
}

/// A server without Redis works; what it wrote is delivered when Redis comes for the first time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_instance_starts_without_redis() {
    let mut server = OwnServer::forgetful().await;
    server.stop();
    let pair = Pair::open(&server.address());
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut writer = ScriptedWriter::of_new_run(&first, &pair.store, Durability::Relaxed);
    let run = writer.run;
    writer.write_deltas(50).await;
    let mut follower = second.follow(run, None);
    server.run().await;
    assert_eq!(read_up_to(&mut follower, 49).await, (0..50).collect::<Vec<u64>>());
    writer.finish().await;
    assert_eq!(read_to_the_end(&mut follower).await, [50]);
}
