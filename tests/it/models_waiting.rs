//! Calls for which the keys of a real provider leave no room: they wait, say so, and give up when that is no use.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Upstream, until_some};

fn settings(upstream: &Upstream, provider: &str, model: &str) -> String {
    let models = format!(
        "[models.narrow]\nprovider = \"east\"\nupstream_model = \"simulated\"\n{model}\n[runs]\ndefault_model = \"narrow\"\n"
    );
    upstream.as_provider("east", "openai", provider) + &models
}

async fn waiting_in_line(client: &Client) -> Value {
    let keys = client.get("/api/v1/models/keys").await.expect_status(200);
    let providers = keys["data"].as_array().unwrap();
    let east = providers.iter().find(|listed| listed["provider"] == "east").unwrap();
    east["pools"][0]["waiting"].clone()
}

#[tokio::test]
async fn a_call_that_waits_tells_its_run_and_goes_on_when_there_is_room() {
    let upstream = Upstream::start().await;
    let server = Server::start(&settings(&upstream, "concurrent_calls = 1", "")).await;
    let client = server.client();
    let stalled = client.start_simulated(json!({"fail": {"kind": "stall"}})).await;
    upstream.until_open(1).await;
    let waiting = client.start_simulated(json!({"tokens": 2})).await;
    let mut events = client.events(&waiting, None).await.expect("a stream");
    let told = events.until("model.waiting").await;
    let told = &told.last().unwrap().data;
    assert_eq!(told["reason"], "concurrent_calls");
    assert!(told["estimate_ms"].is_u64(), "{told}");
    assert_eq!(upstream.calls().await.len(), 1);
    client.cancel(&stalled).await;
    let rest = events.rest().await;
    assert_eq!(rest.last().unwrap().kind, "run.completed");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_line_that_is_full_and_a_wait_that_is_too_long_fail_the_run_with_model_capacity() {
    let upstream = Upstream::start().await;
    let narrow = settings(
        &upstream,
        "requests_per_minute = 1\nmax_waiting = 2",
        "longest_wait = \"30s\"",
    );
    let impatient = "[models.impatient]\nprovider = \"east\"\nupstream_model = \"simulated\"\nlongest_wait = \"0\"\n";
    let server = Server::start(&(narrow + impatient)).await;
    let client = server.client();
    let first = client.start_simulated(json!({"tokens": 2})).await;
    assert_eq!(client.run_when_ended(&first).await["state"], "completed");

    let too_late = client.start_run(&json!({"input": "Go.", "model": "impatient"})).await;
    let too_late = client.run_when_ended(&too_late).await;
    assert_eq!(too_late["error"]["code"], "model_capacity", "{too_late}");

    // One whose turn it is, and one behind it.
    let mut waiting = Vec::new();
    for place in 1..=2 {
        let run = client.start_simulated(json!({"tokens": 2})).await;
        let mut events = client.events(&run, None).await.expect("a stream");
        let told = events.until("model.waiting").await;
        assert_eq!(told.last().unwrap().data["reason"], "requests_per_minute");
        assert_eq!(waiting_in_line(&client).await, place);
        waiting.push(run);
    }

    let beyond = client.start_simulated(json!({"tokens": 2})).await;
    let beyond = client.run_when_ended(&beyond).await;
    assert_eq!(beyond["error"]["code"], "model_capacity", "{beyond}");
    assert_eq!(upstream.calls().await.len(), 1, "who waits asks nobody");
    for run in waiting {
        assert_eq!(client.cancel(&run).await["state"], "cancelled");
    }
    until_some("the line to be empty", || async {
        (waiting_in_line(&client).await == 0).then_some(())
    })
    .await;
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_limit_that_the_provider_tells_of_is_kept_to_without_being_configured() {
    let limits = "window_ms = 2000\n[limits]\nrequests_per_minute = 5\n";
    let upstream = Upstream::start_as(limits).await;
    let server = Server::start(&settings(&upstream, "", "")).await;
    let client = server.client();
    let first = client.start_simulated(json!({"tokens": 2})).await;
    assert_eq!(client.run_when_ended(&first).await["state"], "completed");
    let keys = client.get("/api/v1/models/keys").await.expect_status(200);
    let east = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|listed| listed["provider"] == "east")
        .unwrap();
    assert_eq!(
        east["pools"][0]["keys"][0]["limits"]["requests_per_minute"], 5,
        "{east}"
    );
    assert_eq!(east["pools"][0]["keys"][0]["last_four"], Value::Null);
    server.finish().await;
    upstream.stop().await;
}
