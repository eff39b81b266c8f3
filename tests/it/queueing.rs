//! The queue: fair between accounts, in order within one, bounded, with a deadline, and it survives.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Site};

async fn started_at(client: &Client, run: &str) -> String {
    client.run_when_ended(run).await["started_at"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn an_account_with_many_waiting_runs_does_not_delay_anothers_first() {
    let site = Site::new("[capacity]\nmax_concurrent_runs = 1\n");
    let (busy_key, quiet_key) = (
        site.create_key("busy", "ultra").await,
        site.create_key("quiet", "ultra").await,
    );
    let server = site.start().await;
    let (busy, quiet) = (server.client_with(&busy_key), server.client_with(&quiet_key));
    let blocker = busy.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(busy.start_simulated(json!({"tokens": 1})).await);
    }
    let late = quiet.start_simulated(json!({"tokens": 1})).await;
    assert_eq!(
        quiet.run(&late).await["queue_position"],
        1,
        "positions count within the own line"
    );
    busy.cancel(&blocker).await;
    let late_started = started_at(&quiet, &late).await;
    let mut times = Vec::new();
    for run in &waiting {
        times.push(started_at(&busy, run).await);
    }
    assert!(times.is_sorted(), "first in, first out within an account");
    let before = times.iter().filter(|time| **time < late_started).count();
    assert!(before <= 1, "{before} of the busy account's runs went first");
    server.finish_as(&busy).await;
}

#[tokio::test]
async fn the_line_of_an_account_is_bounded() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\nqueued_runs = 2\n").await;
    let client = server.client();
    let stall = json!({"fail": {"kind": "stall"}});
    let mut runs = Vec::new();
    for _ in 0..3 {
        runs.push(client.start_simulated(stall.clone()).await);
    }
    let refused = client.try_start(&json!({"input": "Go."})).await;
    let error = refused.expect_error(429, "quota_exceeded");
    assert_eq!(
        (&error["limit"], &error["running"], &error["queued"]),
        (&json!(2), &json!(1), &json!(2)),
        "{error}"
    );
    for run in runs {
        client.cancel(&run).await;
    }
    server.finish().await;
}

#[tokio::test]
async fn a_refusal_counts_the_runs_that_came_at_the_same_moment() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\nqueued_runs = 10\n").await;
    let client = server.client();
    let blocker = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let body = json!({"input": "Go."});
    let replies = join_all((0..100).map(|_| client.try_start(&body))).await;
    let (queued, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    assert_eq!(queued.len(), 10);
    for reply in refused {
        let error = reply.expect_error(429, "quota_exceeded");
        assert_eq!(
            (&error["limit"], &error["queued"], &error["queue_full"]),
            (&json!(10), &json!(10), &json!(true)),
            "{error}"
        );
    }
    client.cancel(&blocker).await;
    server.finish().await;
}

#[tokio::test]
async fn a_run_that_does_not_start_in_time_fails() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\n[queue]\ndeadline = \"1s\"\n").await;
    let client = server.client();
    let blocker = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let late = client.start_simulated(json!({})).await;
    let run = client.run_when_ended(&late).await;
    assert_eq!(
        (&run["state"], &run["error"]["code"]),
        (&json!("failed"), &json!("queue_deadline")),
        "{run}"
    );
    assert_eq!(run["started_at"], Value::Null);
    client.cancel(&blocker).await;
    server.finish().await;
}

#[tokio::test]
async fn queued_runs_survive_a_kill_in_their_order() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\n").await;
    let client = server.client();
    let blocker = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(client.start_simulated(json!({"tokens": 2})).await);
    }
    let site = server.kill().await;
    let server = site.start().await;
    let client = server.client();
    for (index, run) in waiting.iter().enumerate() {
        assert_eq!(client.run(run).await["queue_position"], index + 1);
    }
    client.cancel(&blocker).await;
    let mut times = Vec::new();
    for run in &waiting {
        times.push(started_at(&client, run).await);
    }
    assert!(times.is_sorted(), "{times:?}");
    server.finish().await;
}
