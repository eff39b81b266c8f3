//! Calls that need more tokens than a key allows in a minute: they go elsewhere or fail at once, and nobody else is worse off.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Upstream};

const TOKENS: u64 = 2000;

fn settings(upstream: &Upstream, own_limit: &str) -> String {
    upstream.as_provider("east", "openai", own_limit)
        + "[models.narrow]\nprovider = \"east\"\nupstream_model = \"simulated\"\n[runs]\ndefault_model = \"narrow\"\n"
}

async fn upstream() -> Upstream {
    Upstream::start_as(&format!("[limits]\ntokens_per_minute = {TOKENS}\n")).await
}

async fn large_run(client: &Client) -> Value {
    let run = client
        .start_run(&json!({"input": "Go.", "limits": {"max_output_tokens": 5000}}))
        .await;
    client.run_when_ended(&run).await
}

async fn small_run(client: &Client) -> Value {
    let body =
        json!({"input": "Go.", "limits": {"max_output_tokens": 50}, "model_options": {"simulate": {"tokens": 2}}});
    let run = client.start_run(&body).await;
    client.run_when_ended(&run).await
}

fn expect_too_large(run: &Value) {
    assert_eq!(run["error"]["code"], "model_request_too_large", "{run}");
    let message = run["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("max_output_tokens") && message.contains("2000"),
        "{message}"
    );
}

#[tokio::test]
async fn a_call_above_the_limit_that_is_set_fails_without_being_sent() {
    let upstream = upstream().await;
    let server = Server::start(&settings(&upstream, "tokens_per_minute = 2000")).await;
    let client = server.client();
    for _ in 0..3 {
        expect_too_large(&large_run(&client).await);
        assert_eq!(small_run(&client).await["state"], "completed");
    }
    let calls = upstream.calls().await;
    assert_eq!(calls.len(), 3, "{calls:?}");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_call_above_a_limit_that_was_not_known_is_sent_once_and_the_key_stays_cool() {
    let upstream = upstream().await;
    let server = Server::start(&settings(&upstream, "")).await;
    let client = server.client();
    for _ in 0..3 {
        expect_too_large(&large_run(&client).await);
        let small = small_run(&client).await;
        assert_eq!(small["state"], "completed", "{small}");
    }
    let calls = upstream.calls().await;
    let refused = calls.iter().filter(|call| call["status"] == 429).count();
    assert_eq!((calls.len(), refused), (4, 1), "{calls:?}");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_call_that_is_too_large_for_one_target_goes_to_the_next() {
    let (narrow, wide) = (upstream().await, Upstream::start().await);
    for (own_limit, sent_in_vain) in [("tokens_per_minute = 2000", 0), ("", 1)] {
        let targets = "[models.both]\ntargets = [{ provider = \"east\", model = \"simulated\" }, { provider = \"west\", model = \"simulated\" }]\n\
                       [runs]\ndefault_model = \"both\"\n";
        let providers = narrow.as_provider("east", "openai", own_limit) + &wide.as_provider("west", "openai", "");
        let server = Server::start(&(providers + targets)).await;
        let client = server.client();
        for _ in 0..2 {
            let body = json!({"input": "Go.", "limits": {"max_output_tokens": 5000}, "model_options": {"simulate": {"tokens": 2}}});
            let run = client.start_run(&body).await;
            let run = client.run_when_ended(&run).await;
            assert_eq!(run["state"], "completed", "{run}");
        }
        assert_eq!(narrow.calls().await.len(), sent_in_vain);
        server.finish().await;
    }
    assert_eq!(wide.calls().await.len(), 4);
    narrow.stop().await;
    wide.stop().await;
}
