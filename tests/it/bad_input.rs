//! What bad input gets: a stable code, a sentence, the field, the request id, the right status; and nothing has changed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server};

/// A body of `POST /runs`, and what it gets: status, code, field.
const BODIES: &[(&str, u16, &str, Option<&str>)] = &[
    ("", 400, "empty_body", None),
    ("{", 400, "invalid_json", None),
    ("[1]", 400, "invalid_type", None),
    ("{\"input\": 7}", 400, "invalid_type", Some("input")),
    ("{}", 400, "missing_field", Some("input")),
    ("{\"input\": \"\"}", 400, "empty_input", Some("input")),
    ("{\"input\": []}", 400, "empty_input", Some("input")),
    ("{\"input\": \"a\", \"inptu\": 1}", 400, "unknown_field", Some("inptu")),
    (
        "{\"input\": \"a\", \"input\": \"b\"}",
        400,
        "duplicate_field",
        Some("input"),
    ),
    (
        "{\"input\": \"a\", \"model\": \"gpt-99\"}",
        400,
        "unknown_model",
        Some("model"),
    ),
    (
        "{\"input\": \"a\", \"tools\": [\"now\", \"fly\"]}",
        400,
        "unknown_tool",
        Some("tools[1]"),
    ),
    (
        "{\"input\": \"a\", \"limits\": {\"max_steps\": 0}}",
        400,
        "invalid_value",
        Some("limits.max_steps"),
    ),
    (
        "{\"input\": \"a\", \"on_limit\": \"wait\"}",
        400,
        "invalid_value",
        Some("on_limit"),
    ),
    (
        "{\"input\": \"a\", \"stream\": \"yes\"}",
        400,
        "invalid_type",
        Some("stream"),
    ),
    (
        "{\"input\": \"a\", \"agent\": \"x\"}",
        400,
        "unknown_agent",
        Some("agent"),
    ),
    (
        "{\"input\": \"a\", \"model_options\": {\"simulate\": {\"tokens\": \"many\"}}}",
        400,
        "invalid_model_option",
        Some("model_options.simulate.tokens"),
    ),
    (
        "{\"input\": [{\"role\": \"king\", \"content\": \"a\"}]}",
        400,
        "invalid_value",
        Some("input[0].role"),
    ),
    ("{\"input\": \"a\"} x", 400, "invalid_json", None),
    ("nul", 400, "invalid_json", None),
    ("\u{feff}{\"input\": \"a\"}", 400, "invalid_json", None),
    ("{\"input\": null}", 400, "missing_field", Some("input")),
    ("{\"input\": \" \\n\"}", 400, "empty_input", Some("input")),
    (
        "{\"input\": \"a\", \"tools\": \"now\"}",
        400,
        "invalid_type",
        Some("tools"),
    ),
    (
        "{\"input\": \"a\", \"tools\": [7]}",
        400,
        "invalid_type",
        Some("tools[0]"),
    ),
    (
        "{\"input\": \"a\", \"tools\": [\"now\", \"now\"]}",
        400,
        "invalid_value",
        Some("tools[1]"),
    ),
    (
        "{\"input\": \"a\", \"limits\": {\"max_stepz\": 1}}",
        400,
        "unknown_field",
        Some("limits.max_stepz"),
    ),
    (
        "{\"input\": \"a\", \"limits\": {\"max_steps\": 1.5}}",
        400,
        "invalid_value",
        Some("limits.max_steps"),
    ),
    (
        "{\"input\": \"a\", \"limits\": {\"max_steps\": 1, \"max_steps\": 2}}",
        400,
        "duplicate_field",
        Some("limits.max_steps"),
    ),
    (
        "{\"input\": \"a\", \"metadata\": {\"k\": 1}}",
        400,
        "invalid_type",
        Some("metadata.k"),
    ),
    ("{\"input\": \"a\\u0000b\"}", 400, "invalid_value", Some("input")),
    (
        "{\"input\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"txet\": \"a\"}]}]}",
        400,
        "unknown_field",
        Some("input[0].content[0].txet"),
    ),
    (
        "{\"input\": [{\"type\": \"tool_call\", \"call_id\": \"c\", \"name\": \"now\", \"arguments\": \"{}\"}]}",
        400,
        "invalid_value",
        Some("input[0].call_id"),
    ),
    (
        "{\"input\": [{\"type\": \"tool_result\", \"call_id\": \"c\", \"output\": \"a\"}]}",
        400,
        "invalid_value",
        Some("input[0].call_id"),
    ),
];

fn post(client: &Client, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    client
        .request(Method::POST, "/api/v1/runs")
        .header("content-type", "application/json")
        .body(body)
}

#[tokio::test]
async fn bad_bodies_are_refused_and_change_nothing() {
    let server =
        Server::start("[server]\nmax_body = \"64KB\"\n[runs]\nmax_input = \"32KB\"\nmax_instructions = \"32KB\"\nmax_input_parts = 20\n")
            .await;
    let client = server.client();
    for (body, status, code, param) in BODIES {
        let reply = Client::send(post(&client, *body)).await.unwrap();
        let error = reply.expect_error(*status, code);
        assert_eq!(error["param"].as_str(), *param, "{body}: {error}");
    }
    let message = |parts| json!({"role": "user", "content": vec![json!({"type": "text", "text": "a"}); parts]});
    let fitting = json!([message(9), {"role": "user", "content": "a"}, message(10)]);
    let too_many = json!([message(9), {"role": "user", "content": "a"}, message(11)]);
    let thread = client.post("/api/v1/threads", &json!({"items": fitting})).await;
    thread.expect_status(201);
    for (path, field) in [("/api/v1/runs", "input"), ("/api/v1/threads", "items")] {
        let refused = client.post(path, &json!({field: too_many})).await;
        let error = refused.expect_error(400, "invalid_value");
        assert_eq!(error["param"], format!("{field}[2].content"), "{error}");
    }
    let invalid_utf8 = Client::send(post(&client, b"{\"input\": \"\xff\"}".to_vec()))
        .await
        .unwrap();
    invalid_utf8.expect_error(400, "invalid_utf8");
    let deep = format!("{{\"input\": {}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
    Client::send(post(&client, deep))
        .await
        .unwrap()
        .expect_error(400, "invalid_json");
    let compressed = post(&client, "{\"input\": \"a\"}").header("content-encoding", "gzip");
    Client::send(compressed)
        .await
        .unwrap()
        .expect_error(415, "unsupported_media_type");
    let huge = json!({"input": "a".repeat(100_000)}).to_string();
    Client::send(post(&client, huge))
        .await
        .unwrap()
        .expect_error(413, "body_too_large");
    let plain = client.request(Method::POST, "/api/v1/runs").body("{\"input\": \"a\"}");
    Client::send(plain)
        .await
        .unwrap()
        .expect_error(415, "unsupported_media_type");
    assert!(client.all_of("/api/v1/runs").await.is_empty(), "nothing was started");
    server.finish().await;
}

#[tokio::test]
async fn bad_parameters_headers_and_paths_are_refused() {
    let server = Server::start("").await;
    let client = server.client();
    let run = client.start_simulated(json!({"tokens": 2})).await;
    let last = client.run_when_ended(&run).await["next_seq"].as_u64().unwrap() - 1;
    let beyond = format!("/api/v1/runs/{run}/events?after={}", last + 1);
    let cases: Vec<(String, u16, &str)> = vec![
        ("/api/v1/runs?cursor=nonsense".into(), 400, "invalid_cursor"),
        ("/api/v1/runs?limit=0".into(), 400, "invalid_parameter"),
        ("/api/v1/runs?limit=many".into(), 400, "invalid_parameter"),
        ("/api/v1/runs?state=stopped".into(), 400, "invalid_parameter"),
        ("/api/v1/runs?stat=queued".into(), 400, "unknown_parameter"),
        (format!("/api/v1/runs/{run}?wait=forever"), 400, "invalid_parameter"),
        (
            format!("/api/v1/runs/{run}/events?after=-1"),
            400,
            "invalid_last_event_id",
        ),
        (
            format!("/api/v1/runs/{run}/events?after=x"),
            400,
            "invalid_last_event_id",
        ),
        (beyond, 400, "last_event_id_beyond_end"),
        ("/api/v1/runs?limit=1&limit=2".into(), 400, "invalid_parameter"),
        ("/api/v1/runs?limit=1000000".into(), 400, "invalid_parameter"),
        ("/api/v1/capacity?a=1".into(), 400, "unknown_parameter"),
        (format!("/api/v1/runs/{run}?wiat=3"), 400, "unknown_parameter"),
        (format!("/api/v1/runs/{run}/items?cursor=cur_"), 400, "invalid_cursor"),
        (format!("/api/v1/runs/{run}/events?limit=3"), 400, "unknown_parameter"),
        (
            format!("/api/v1/runs/{run}/events?after="),
            400,
            "invalid_last_event_id",
        ),
        (
            format!("/api/v1/runs/{run}/events?after=1.0"),
            400,
            "invalid_last_event_id",
        ),
        (format!("/api/v1/runs/{run}/nothing"), 404, "not_found"),
        ("/api/v1/runs/".into(), 404, "not_found"),
        ("/api/v1/runs/nonsense".into(), 404, "run_not_found"),
        ("/api/v1/nothing".into(), 404, "not_found"),
    ];
    for (path, status, code) in cases {
        client.get(&path).await.expect_error(status, code);
    }
    for (value, code) in [
        ("x", "invalid_last_event_id"),
        ("99999999999999999999", "last_event_id_beyond_end"),
    ] {
        let request = client.request(Method::GET, &format!("/api/v1/runs/{run}/events"));
        let reply = Client::send(request.header("last-event-id", value)).await.unwrap();
        reply.expect_error(400, code);
    }
    let long_key = "k".repeat(256);
    for key in ["", "a b", &long_key] {
        let request = post(&client, "{\"input\": \"a\"}").header("idempotency-key", key);
        Client::send(request)
            .await
            .unwrap()
            .expect_error(400, "invalid_idempotency_key");
    }
    let twice = post(&client, "{\"input\": \"a\"}")
        .header("idempotency-key", "a")
        .header("idempotency-key", "b");
    Client::send(twice)
        .await
        .unwrap()
        .expect_error(400, "invalid_idempotency_key");
    for (path, allowed) in [
        ("/api/v1/runs".to_owned(), "GET, HEAD, POST"),
        (format!("/api/v1/runs/{run}"), "GET, HEAD"),
        (format!("/api/v1/runs/{run}/events"), "GET, HEAD"),
        (format!("/api/v1/runs/{run}/items"), "GET, HEAD"),
        (format!("/api/v1/runs/{run}/cancel"), "POST"),
        ("/api/v1/capacity".to_owned(), "GET, HEAD"),
        ("/openapi.json".to_owned(), "GET, HEAD"),
        ("/healthz".to_owned(), "GET, HEAD"),
        ("/metrics".to_owned(), "GET, HEAD"),
    ] {
        let reply = Client::send(client.request(Method::PUT, &path)).await.unwrap();
        reply.expect_error(405, "method_not_allowed");
        assert_eq!(reply.header("allow"), Some(allowed), "{path}");
    }
    let wrong_method = Client::send(client.request(Method::DELETE, "/api/v1/runs"))
        .await
        .unwrap();
    wrong_method.expect_error(405, "method_not_allowed");
    assert!(wrong_method.header("allow").unwrap().contains("POST"));
    let foreign = post(&client, "{\"input\": \"a\"}").header("origin", "https://evil.example");
    Client::send(foreign)
        .await
        .unwrap()
        .expect_error(403, "origin_not_allowed");
    for path in ["/api/v1/runs", "/metrics"] {
        // A page whose name was made to point here (DNS rebinding) comes with the name of its own.
        let rebound = client.request(Method::GET, path).header("host", "evil.example:8700");
        Client::send(rebound)
            .await
            .unwrap()
            .expect_error(403, "host_not_allowed");
    }
    assert_eq!(client.all_of("/api/v1/runs").await.len(), 1, "nothing was started");
    server.finish().await;
}

#[tokio::test]
async fn events_are_also_a_json_page() {
    let server = Server::start("").await;
    let client = server.client();
    let run = client.start_simulated(json!({"tokens": 4})).await;
    let log = client.events(&run, None).await.unwrap().rest().await;
    let (mut pages, mut after) = (Vec::<Value>::new(), String::new());
    loop {
        let path = format!("/api/v1/runs/{run}/events?limit=2{after}");
        let request = client.request(Method::GET, &path).header("accept", "application/json");
        let page = Client::send(request).await.unwrap().expect_status(200);
        pages.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break assert_eq!(page["ended"], true, "{page}"),
        }
    }
    let path = format!("/api/v1/runs/{run}/events?after={}", pages.len() - 1);
    let request = client.request(Method::GET, &path).header("accept", "application/json");
    let nothing_more = Client::send(request).await.unwrap().expect_status(200);
    assert_eq!(
        (&nothing_more["data"], &nothing_more["ended"]),
        (&json!([]), &json!(true)),
        "who asks again at the end is told that it is one"
    );
    let streamed: Vec<Value> = log.into_iter().map(|event| event.data).collect();
    assert_eq!(pages, streamed);
    server.finish().await;
}
