//! Rule 3: every run gets exactly one terminal event, it is the last, and it agrees with the stored state, on every path.

use serde_json::{Value, json};

use crate::harness::{Server, check_whole_log};

/// How a run is made to end, and what it then says.
const PATHS: &[(&str, &str, &str, Option<&str>)] = &[
    ("plain", r#"{"tokens": 8}"#, "completed", None),
    (
        "reasoning",
        r#"{"reasoning_tokens": 4, "tokens": 4}"#,
        "completed",
        None,
    ),
    ("silent", r#"{"tokens": 0}"#, "completed", None),
    (
        "tools",
        r#"{"tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "a"}}]}"#,
        "completed",
        None,
    ),
    (
        "unknown tool",
        r#"{"tool_calls": [{"name": "fly"}]}"#,
        "completed",
        None,
    ),
    (
        "bad arguments",
        r#"{"tool_calls": [{"name": "echo", "arguments": "{"}]}"#,
        "completed",
        None,
    ),
    (
        "too many rounds",
        r#"{"tool_rounds": 99, "tool_calls": [{"name": "now"}]}"#,
        "failed",
        Some("step_limit"),
    ),
    (
        "rejected",
        r#"{"fail": {"kind": "status", "status": 400}}"#,
        "failed",
        Some("model_rejected"),
    ),
    (
        "overloaded",
        r#"{"fail": {"kind": "status", "status": 529}}"#,
        "failed",
        Some("model_unavailable"),
    ),
    (
        "rate limited for long",
        r#"{"fail": {"kind": "status", "status": 429, "retry_after_ms": 3600000}}"#,
        "failed",
        Some("model_unavailable"),
    ),
    (
        "not there",
        r#"{"fail": {"kind": "connect"}}"#,
        "failed",
        Some("model_unavailable"),
    ),
    (
        "breaks",
        r#"{"tokens": 9, "fail": {"kind": "break", "after_tokens": 3}}"#,
        "failed",
        Some("model_unavailable"),
    ),
    (
        "garbage",
        r#"{"tokens": 9, "fail": {"kind": "garbage", "after_tokens": 3}}"#,
        "failed",
        Some("model_protocol"),
    ),
    (
        "silence",
        r#"{"tokens": 9, "fail": {"kind": "stall", "after_tokens": 3}}"#,
        "failed",
        Some("model_timeout"),
    ),
    (
        "panics",
        r#"{"tokens": 9, "fail": {"kind": "panic", "after_tokens": 3}}"#,
        "failed",
        Some("internal"),
    ),
    (
        "recovers",
        r#"{"tokens": 9, "fail": {"kind": "break", "after_tokens": 3, "attempts": 1}}"#,
        "completed",
        None,
    ),
];

const SETTINGS: &str = "[capacity]\nmax_concurrent_runs = 100\n[model_defaults]\nidle_timeout = \"1s\"\nmax_attempts = 3\n\
     backoff_initial = \"5ms\"\nbackoff_maximum = \"20ms\"\n";

#[tokio::test]
async fn every_path_has_one_ending() {
    let server = Server::start(SETTINGS).await;
    let client = server.client();
    for (name, simulate, state, code) in PATHS {
        let simulate: Value = serde_json::from_str(simulate).unwrap();
        let body = json!({
            "input": "Go.", "tools": ["now", "echo"], "limits": {"max_steps": 3}, "model_options": {"simulate": simulate}
        });
        let id = client.start_run(&body).await;
        let log = client.events(&id, None).await.unwrap().rest().await;
        let run = client.run(&id).await;
        assert_eq!(
            (run["state"].as_str(), run["error"]["code"].as_str()),
            (Some(*state), *code),
            "{name}: {run}"
        );
        check_whole_log(&log, &run);
        let again = client.events(&id, None).await.unwrap().rest().await;
        assert_eq!(again, log, "{name}: a log read twice is the same");
        let last = log.last().unwrap().seq;
        assert!(
            client.events(&id, Some(last)).await.is_none(),
            "{name}: nothing follows the end"
        );
    }
    server.finish_after_panics(&client).await;
}

#[tokio::test]
async fn limits_of_time_and_tokens_end_a_run() {
    let server = Server::start("").await;
    let client = server.client();
    let cases = [
        (
            json!({"deadline_seconds": 1}),
            json!({"fail": {"kind": "stall", "after_tokens": 2}}),
            "deadline_exceeded",
        ),
        (json!({"max_output_tokens": 5}), json!({"tokens": 50}), "output_limit"),
    ];
    for (limits, simulate, code) in cases {
        let body = json!({"input": "Go.", "limits": limits, "model_options": {"simulate": simulate}});
        let id = client.start_run(&body).await;
        let log = client.events(&id, None).await.unwrap().rest().await;
        let run = client.run(&id).await;
        assert_eq!(run["error"]["code"], code, "{run}");
        assert_eq!(run["output"], Value::Null);
        check_whole_log(&log, &run);
        let incomplete: Vec<_> = log.iter().filter(|event| event.kind == "item.incomplete").collect();
        assert_eq!(incomplete.len(), 1, "what was shown is kept: {log:#?}");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_broken_stream_is_cut_off_and_begun_anew() {
    let server = Server::start(SETTINGS).await;
    let client = server.client();
    let simulate = json!({"text": "one two three", "fail": {"kind": "break", "after_tokens": 2, "attempts": 2}});
    let id = client.start_simulated(simulate).await;
    let log = client.events(&id, None).await.unwrap().rest().await;
    let count = |kind: &str| log.iter().filter(|event| event.kind == kind).count();
    assert_eq!(
        (
            count("item.incomplete"),
            count("model.retrying"),
            count("item.completed")
        ),
        (2, 2, 1),
        "{log:#?}"
    );
    let run = client.run(&id).await;
    assert_eq!(run["output"], "[simulated] one two three");
    let statuses: Vec<Value> = client
        .items(&id)
        .await
        .iter()
        .map(|item| item["status"].clone())
        .collect();
    assert_eq!(
        statuses,
        ["completed", "incomplete", "incomplete", "completed"],
        "input first"
    );
    server.finish().await;
}
