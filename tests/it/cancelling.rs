//! Rule 7: a cancel at any moment sticks.

use futures::StreamExt;
use futures::stream;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Upstream, check_whole_log};

#[tokio::test]
async fn cancelled_at_every_step() {
    let server = Server::start("[capacity]\nmax_concurrent_runs = 100\n").await;
    let client = server.client();
    let moments = 0..40;
    let endings: Vec<Value> = stream::iter(moments)
        .map(|events_before| cancel_after(client.clone(), events_before))
        .buffer_unordered(10)
        .collect()
        .await;
    let cancelled = endings.iter().filter(|run| run["state"] == "cancelled").count();
    assert!(cancelled >= 20, "most came in time, not only {cancelled}");
    server.finish().await;
}

/// Starts a run that thinks, calls tools and speaks; cancels it when so many events have been seen.
async fn cancel_after(client: Client, events_before: usize) -> Value {
    let simulate = json!({
        "tokens": 30, "reasoning_tokens": 3, "first_token_ms": 20, "tokens_per_second": 100,
        "tool_calls": [{"name": "wait", "arguments": {"milliseconds": 50}}, {"name": "now"}]
    });
    let body = json!({"input": "Go.", "tools": ["wait", "now"], "model_options": {"simulate": simulate}});
    let id = client.start_run(&body).await;
    let mut reader = client.events(&id, None).await.unwrap();
    let mut log = Vec::new();
    while log.len() < events_before {
        match reader.next().await {
            Some(event) => log.push(event),
            None => break,
        }
    }
    let answered = client.cancel(&id).await;
    assert!(
        matches!(answered["state"].as_str(), Some("cancelled" | "completed")),
        "{answered}"
    );
    while let Some(event) = reader.next().await {
        log.push(event);
    }
    let run = client.run(&id).await;
    assert_eq!(run, answered, "the answer to a cancel is the end");
    check_whole_log(&log, &run);
    assert_eq!(client.cancel(&id).await, run, "cancelling again changes nothing");
    for item in client.items(&id).await {
        let shown = log.iter().any(|event| event.data["item"]["id"] == item["id"]);
        assert!(shown || item["role"] == "user", "an item that nobody was shown: {item}");
    }
    run
}

#[tokio::test]
async fn a_cancel_aborts_the_call_and_keeps_what_was_shown() {
    let upstream = Upstream::start().await;
    let server = Server::start(&upstream.settings()).await;
    let client = server.client();
    let simulate = json!({"text": "one two three", "fail": {"kind": "stall", "after_tokens": 3}});
    let id = client.start_simulated(simulate).await;
    let mut reader = client.events(&id, None).await.unwrap();
    let mut shown = String::new();
    while shown != "[simulated] one two " {
        let event = reader.next().await.unwrap();
        shown.push_str(event.data["delta"].as_str().unwrap_or_default());
    }
    upstream.until_open(1).await;
    let run = client.cancel(&id).await;
    assert_eq!((&run["state"], &run["output"]), (&json!("cancelled"), &Value::Null));
    upstream.until_open(0).await;
    let rest = reader.rest().await;
    let kinds: Vec<&str> = rest.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["item.incomplete", "run.cancelled"]);
    assert_eq!(rest[0].data["item"]["content"][0]["text"], shown.as_str());
    assert_eq!(upstream.calls().await.len(), 1, "it is not made again");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_queued_run_can_be_cancelled_and_its_place_is_taken() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\n").await;
    let client = server.client();
    let first = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    let second = client.start_simulated(json!({})).await;
    let third = client.start_simulated(json!({})).await;
    assert_eq!(client.run(&third).await["queue_position"], 2);
    assert_eq!(client.cancel(&second).await["state"], "cancelled");
    assert_eq!(client.run(&third).await["queue_position"], 1);
    let log = client.events(&second, None).await.unwrap().rest().await;
    let kinds: Vec<&str> = log.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["run.created", "run.queued", "run.cancelled"]);
    client.cancel(&first).await;
    assert_eq!(client.run_when_ended(&third).await["state"], "completed");
    assert_eq!(client.run(&second).await["state"], "cancelled", "it stays as it is");
    server.finish().await;
}
