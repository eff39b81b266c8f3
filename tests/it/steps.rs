//! The loop: tools run in parallel, their output is bounded, and each step is durable before the next.

use serde_json::{Value, json};

use crate::harness::{Server, Upstream, check_whole_log};

#[tokio::test]
async fn tools_of_one_answer_run_in_parallel() {
    let server = Server::start("[tools]\nmax_parallel = 8\n").await;
    let client = server.client();
    // One after the other these would outlast the deadline.
    let calls: Vec<Value> = (0..8)
        .map(|_| json!({"name": "wait", "arguments": {"milliseconds": 2000}}))
        .collect();
    let body = json!({
        "input": "Go.", "tools": ["wait"], "limits": {"deadline_seconds": 15},
        "model_options": {"simulate": {"tool_calls": calls}}
    });
    let id = client.start_run(&body).await;
    let log = client.events(&id, None).await.unwrap().rest().await;
    let run = client.run(&id).await;
    assert_eq!(
        (&run["state"], &run["steps"]),
        (&json!("completed"), &json!(2)),
        "{run}"
    );
    check_whole_log(&log, &run);
    let results = client.items(&id).await;
    assert_eq!(results.iter().filter(|item| item["type"] == "tool_result").count(), 8);
    server.finish().await;
}

#[tokio::test]
async fn what_tools_do_wrong_is_told_to_the_model() {
    let settings = "[tools]\ntimeout = \"50ms\"\nmax_output = \"1KB\"\nmax_calls_per_answer = 4\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let calls = json!([
        {"name": "wait", "arguments": {"milliseconds": 60000}},
        {"name": "echo", "arguments": {"text": "abcdefgh", "repeat": 1000}},
        {"name": "echo", "arguments": {"txt": "a"}},
        {"name": "fly"},
        {"name": "now"},
    ]);
    let body = json!({"input": "Go.", "tools": ["wait", "echo"], "model_options": {"simulate": {"tool_calls": calls}}});
    let id = client.start_run(&body).await;
    let run = client.run_when_ended(&id).await;
    assert_eq!(run["state"], "completed", "{run}");
    let items = client.items(&id).await;
    let result = |index: usize| {
        let call_id = format!("call_1_{index}");
        let is_it = |item: &&Value| item["type"] == "tool_result" && item["call_id"] == call_id.as_str();
        items.iter().find(is_it).unwrap().clone()
    };
    let says = |index: usize, text: &str| {
        let result = result(index);
        assert_eq!(result["is_error"], true, "{result}");
        assert!(result["output"].as_str().unwrap().contains(text), "{result}");
    };
    says(0, "did not answer within");
    assert_eq!(result(1)["truncated"], true);
    let cut = result(1)["output"].as_str().unwrap().to_owned();
    assert!(
        cut.len() < 1200 && cut.ends_with("1000 of 8000 bytes are shown]"),
        "{cut}"
    );
    says(2, "txt");
    says(3, "fly");
    says(4, "too many tool calls");
    server.finish().await;
}

#[tokio::test]
async fn an_upstream_over_http_is_streamed_and_told_who_asks() {
    let upstream = Upstream::start().await;
    let server = Server::start(&upstream.settings()).await;
    let client = server.client();
    let simulate = json!({
        "tool_calls": [{"name": "now"}], "text": "It is late.", "reasoning_tokens": 3,
        "fail": {"kind": "status", "status": 503, "attempts": 1, "retry_after_ms": 1}
    });
    let body = json!({"input": "What time?", "tools": ["now"], "model_options": {"simulate": simulate}});
    let id = client.start_run(&body).await;
    let log = client.events(&id, None).await.unwrap().rest().await;
    let run = client.run(&id).await;
    assert_eq!(run["output"], "[simulated] It is late.", "{run}");
    assert!(run["usage"]["output_tokens"].as_u64() > Some(0), "{run}");
    check_whole_log(&log, &run);
    let calls: Vec<(Value, Value)> = upstream
        .calls()
        .await
        .into_iter()
        .map(|call| (call["run"].clone(), call["attempt"].clone()))
        .collect();
    let of_run = |attempt: u32| (json!(id), json!(attempt));
    assert_eq!(
        calls,
        [of_run(1), of_run(2), of_run(1), of_run(2)],
        "two steps, two tries each"
    );
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn an_upstream_that_is_gone_ends_the_run_without_its_address() {
    let upstream = Upstream::start().await;
    let settings = upstream.settings();
    upstream.stop().await;
    let server = Server::start(&settings.replace("backoff_initial", "max_attempts = 2\nbackoff_initial")).await;
    let client = server.client();
    let id = client.start_run(&json!({"input": "Hello?"})).await;
    let run = client.run_when_ended(&id).await;
    assert_eq!(run["error"]["code"], "model_unavailable", "{run}");
    assert!(
        !run["error"]["message"].as_str().unwrap().contains("127.0.0.1"),
        "{run}"
    );
    server.finish().await;
}
