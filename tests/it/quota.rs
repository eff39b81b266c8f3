//! Rule 1: however many parallel starts, an account never has more runs in `running` than its tier allows.

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use crate::harness::{SeenEvent, Server, check_whole_log};

const LIMIT: usize = 7;

fn settings() -> String {
    format!("[capacity]\nmax_concurrent_runs = 500\n[tiers.local]\nconcurrent_runs = {LIMIT}\n")
}

fn stalled(on_limit: &str) -> Value {
    json!({"input": "Go.", "on_limit": on_limit, "model_options": {"simulate": {"fail": {"kind": "stall"}}}})
}

#[tokio::test]
async fn a_thousand_parallel_starts_at_limit_seven_start_seven() {
    let server = Server::start(&settings()).await;
    let client = server.client();
    let body = stalled("refuse");
    let replies: Vec<_> = stream::iter(0..1000)
        .map(|_| client.try_start(&body))
        .buffer_unordered(200)
        .collect()
        .await;
    let (started, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    assert_eq!(started.len(), LIMIT);
    for reply in refused {
        let error = reply.expect_error(429, "quota_exceeded");
        assert_eq!(
            (&error["limit"], &error["queued"]),
            (&json!(LIMIT), &json!(0)),
            "{error}"
        );
        assert!(error["running"].as_u64() <= Some(LIMIT as u64), "{error}");
        assert!(
            reply
                .header("retry-after")
                .is_some_and(|after| after.parse::<u64>().is_ok())
        );
        assert_eq!(reply.header("x-should-retry"), Some("false"));
    }
    let running = client.all_of("/api/v1/runs?state=running").await;
    assert_eq!(running.len(), LIMIT);
    for run in &running {
        client.cancel(run["id"].as_str().unwrap()).await;
    }
    client.try_start(&stalled("refuse")).await.expect_status(201);
    let run = client.all_of("/api/v1/runs?state=running").await;
    client.cancel(run[0]["id"].as_str().unwrap()).await;
    server.finish().await;
}

#[tokio::test]
async fn queued_runs_start_as_others_end_never_too_many_at_once_and_their_readers_miss_nothing() {
    let server = Server::start(&settings()).await;
    let client = server.client();
    let body = json!({"input": "Go.", "model_options": {"simulate": {"tokens": 20, "tokens_per_second": 80}}});
    let followed: Vec<(String, Vec<SeenEvent>)> = stream::iter(0..300)
        .map(|_| async {
            let id = client.start_run(&body).await;
            let log = client.events(&id, None).await.unwrap().rest().await;
            (id, log)
        })
        .buffer_unordered(300)
        .collect()
        .await;
    let mut spans = Vec::new();
    for (id, log) in &followed {
        let run = client.run(id).await;
        assert_eq!(run["state"], "completed", "{run}");
        check_whole_log(log, &run);
        let time = |name: &str| run[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        spans.push((time("started_at"), 1));
        spans.push((time("ended_at"), -1));
    }
    // At the same moment, what ends goes first.
    spans.sort();
    let (mut now, mut most) = (0_i64, 0);
    for (_, change) in spans {
        now += change;
        most = most.max(now);
    }
    assert!(most <= LIMIT as i64, "{most} runs ran at once");
    server.finish().await;
}

#[tokio::test]
async fn the_count_is_exact_after_kill_nine() {
    let server = Server::start(&settings()).await;
    let body = stalled("queue");
    let mut runs = Vec::new();
    for _ in 0..LIMIT + 3 {
        runs.push(server.client().start_run(&body).await);
    }
    let site = server.kill().await;
    let server = site.start().await;
    let client = server.client();
    assert_eq!(client.all_of("/api/v1/runs?state=running").await.len(), LIMIT);
    assert_eq!(client.all_of("/api/v1/runs?state=queued").await.len(), 3);
    client
        .try_start(&stalled("refuse"))
        .await
        .expect_error(429, "quota_exceeded");
    client.cancel(&runs[0]).await;
    let mut next = client.events(&runs[LIMIT], None).await.unwrap();
    next.until("run.started").await;
    for run in &runs {
        client.cancel(run).await;
    }
    server.finish().await;
}
