//! What it costs: connections do not grow with runs or followers, and who leaves leaves nothing.

use callboard_actors::ids::RunId;
use callboard_actors::ports::EventLog;
use callboard_actors::testing::event_log_conformance::{Durability, ScriptedWriter, read_to_the_end};

use super::{Pair, shared, until};
use crate::redis_client::test_server::OwnServer;

async fn clients(connection: &mut redis::aio::MultiplexedConnection) -> usize {
    let list: String = redis::cmd("CLIENT")
        .arg("LIST")
        .query_async(connection)
        .await
        .expect("answers");
    list.lines().count()
}

/// Channels that somebody listens to.
async fn channels(connection: &mut redis::aio::MultiplexedConnection) -> usize {
    let list: Vec<String> = redis::cmd("PUBSUB")
        .arg("CHANNELS")
        .query_async(connection)
        .await
        .expect("answers");
    list.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_thousand_idle_followers_share_two_connections() {
    let server = OwnServer::forgetful().await;
    let pair = Pair::connected(&server.address()).await;
    let (first, second) = (shared(&pair.first), shared(&pair.second));
    let mut connection = server.connection().await;
    let before = clients(&mut connection).await;
    assert_eq!(before, 5, "two of each instance, and this one");
    let mut writers: Vec<_> = (0..2000)
        .map(|_| ScriptedWriter::of_new_run(&first, &pair.store, Durability::Strict))
        .collect();
    for writer in &mut writers {
        writer.write_deltas(1).await;
    }
    let mut followers: Vec<_> = writers
        .iter()
        .map(|writer| second.follow(writer.run, Some(0)))
        .collect();
    until(&pair.second, |health| health.mirrored_runs == 2000).await;
    while channels(&mut connection).await < 2000 {}
    assert_eq!(clients(&mut connection).await, before);

    writers[7].finish().await;
    assert_eq!(read_to_the_end(&mut followers[7]).await, [1]);
    drop(followers);
    while channels(&mut connection).await > 0 {}
    until(&pair.second, |health| health.runs == 0 && health.mirrored_runs == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn followers_that_come_and_go_leave_nothing() {
    let server = OwnServer::forgetful().await;
    let pair = Pair::connected(&server.address()).await;
    let log = &pair.second;
    let mut connection = server.connection().await;
    let run = RunId::new();
    let stays = log.follow(run, None);
    for _ in 0..200 {
        drop(log.follow(run, None));
        drop(log.follow(RunId::new(), Some(5)));
    }
    until(log, |health| health.runs == 1 && health.mirrored_runs == 1).await;
    while channels(&mut connection).await != 1 {}
    drop(stays);
    until(log, |health| health.runs == 0 && health.mirrored_runs == 0).await;
    while channels(&mut connection).await > 0 {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_log_that_is_dropped_closes_its_connections() {
    let server = OwnServer::forgetful().await;
    let pair = Pair::connected(&server.address()).await;
    let mut connection = server.connection().await;
    let run = RunId::new();
    let stream = pair.second.follow(run, None);
    assert_eq!(clients(&mut connection).await, 5);
    drop((pair, stream));
    while clients(&mut connection).await > 1 {}
}
