//! Rule 2: after any mix of endings, all Permits are back.

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use crate::harness::Server;

/// Which of the fates never ends by itself.
const STALLED: usize = 4;

#[tokio::test]
async fn permits_come_back_whatever_went_wrong() {
    let server = Server::start("[capacity]\nmax_concurrent_runs = 10\n").await;
    let client = server.client();
    let fates: [Value; 6] = [
        json!({"tokens": 20, "tokens_per_second": 200}),
        json!({"fail": {"kind": "panic", "after_tokens": 3}}),
        json!({"fail": {"kind": "garbage", "after_tokens": 3}}),
        json!({"fail": {"kind": "status", "status": 400}}),
        json!({"fail": {"kind": "stall"}}),
        json!({"tool_calls": [{"name": "nothing"}, {"name": "echo", "arguments": "{"}]}),
    ];
    let runs: Vec<(usize, String)> = stream::iter(0..120_usize)
        .map(|number| {
            let (client, simulate) = (client.clone(), fates[number % fates.len()].clone());
            async move {
                let body = json!({"input": "Go.", "tools": ["echo"], "model_options": {"simulate": simulate}});
                (number, client.start_run(&body).await)
            }
        })
        .buffer_unordered(40)
        .collect()
        .await;
    let endings = stream::iter(&runs)
        .map(|(number, run)| {
            let client = client.clone();
            async move {
                if number % 6 == STALLED {
                    client.cancel(run).await;
                }
                client.run_when_ended(run).await
            }
        })
        .buffer_unordered(120)
        .collect::<Vec<_>>()
        .await;
    for state in ["completed", "failed", "cancelled"] {
        assert!(endings.iter().any(|run| run["state"] == state), "no run is {state}");
    }
    let printed = server.finish_after_panics(&client).await;
    assert!(printed.contains("told to panic"), "{printed}");
}

#[tokio::test]
async fn a_full_server_queues_or_refuses_as_asked() {
    let server = Server::start("[capacity]\nmax_concurrent_runs = 2\n[queue]\nmax_queued = 1\n").await;
    let client = server.client();
    let stall = json!({"fail": {"kind": "stall"}});
    let first = client.start_simulated(stall.clone()).await;
    let second = client.start_simulated(stall.clone()).await;
    let refusing = json!({"input": "Go.", "on_limit": "refuse"});
    let refused = client.try_start(&refusing).await;
    assert_eq!(refused.expect_error(503, "at_capacity")["limit"], 2);
    assert!(refused.header("retry-after").is_some());
    let third = client.try_start(&json!({"input": "Go."})).await.expect_status(201);
    assert_eq!(
        (&third["state"], &third["queue_position"]),
        (&json!("queued"), &json!(1))
    );
    let full = client.try_start(&json!({"input": "Go."})).await;
    full.expect_error(503, "queue_full");
    assert!(full.header("retry-after").is_some());
    assert_eq!(
        client.all_of("/api/v1/runs").await.len(),
        3,
        "a refusal leaves nothing behind"
    );
    client.cancel(&first).await;
    let third = client.run_when_ended(third["id"].as_str().unwrap()).await;
    assert_eq!(third["state"], "completed");
    client.cancel(&second).await;
    server.finish().await;
}

#[tokio::test]
async fn a_refusal_names_the_limit_that_is_in_the_way() {
    let settings = "[capacity]\nmax_concurrent_runs = 1\n[tiers.local]\nconcurrent_runs = 5\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let stall = json!({"fail": {"kind": "stall"}});
    let running = client.start_simulated(stall.clone()).await;
    let waiting = client.start_simulated(stall.clone()).await;
    let refused = client.try_start(&json!({"input": "Go.", "on_limit": "refuse"})).await;
    refused.expect_error(503, "at_capacity");
    let behind = client.start_simulated(stall).await;
    let queued = client.events(&behind, None).await.unwrap().until("run.queued").await;
    assert_eq!(queued.last().unwrap().data["reason"], "capacity");
    for run in [behind, waiting, running] {
        client.cancel(&run).await;
    }
    server.finish().await;
}
