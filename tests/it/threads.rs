//! Conversations: runs one after the other, each with what was said before; what happens to a second one; what is left of a deleted one.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, Site};

pub(crate) async fn new_thread(client: &Client, body: Value) -> String {
    let thread = client.post("/api/v1/threads", &body).await.expect_status(201);
    thread["id"].as_str().unwrap().to_owned()
}

pub(crate) async fn post_run(client: &Client, thread: &str, body: &Value) -> Reply {
    client.post(&format!("/api/v1/threads/{thread}/runs"), body).await
}

/// A run whose answer is this text.
pub(crate) fn saying(input: &str, text: &str) -> Value {
    json!({"input": input, "model_options": {"simulate": {"text": text}}})
}

/// A run that says two words and then nothing.
pub(crate) fn endless(input: &str) -> Value {
    json!({"input": input, "model_options": {"simulate": {"text": "never ending story", "fail": {"kind": "stall", "after_tokens": 2}}}})
}

pub(crate) fn with(mut body: Value, field: &str, value: impl Into<Value>) -> Value {
    body[field] = value.into();
    body
}

pub(crate) async fn started(client: &Client, thread: &str, body: &Value) -> String {
    let run = post_run(client, thread, body).await.expect_status(201);
    assert_eq!(run["thread_id"], thread, "{run}");
    run["id"].as_str().unwrap().to_owned()
}

async fn said(client: &Client, thread: &str) -> Vec<String> {
    let items = client.all_of(&format!("/api/v1/threads/{thread}/items")).await;
    let text = |item: &Value| item["content"][0]["text"].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

async fn until_it_speaks(client: &Client, run: &str) {
    client.events(run, None).await.unwrap().until("text.delta").await;
}

/// Input tokens that the simulated model counted: more when it saw more.
async fn read_tokens(client: &Client, run: &str) -> u64 {
    let run = client.run_when_ended(run).await;
    assert_eq!(run["state"], "completed", "{run}");
    run["usage"]["input_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_run_goes_on_with_what_was_said_before() {
    let server = Server::start("").await;
    let client = server.client();
    let items = json!([{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello Ada."}]);
    let thread = new_thread(&client, json!({"metadata": {"topic": "names"}, "items": items})).await;
    let shown = client
        .get(&format!("/api/v1/threads/{thread}"))
        .await
        .expect_status(200);
    assert_eq!(shown["metadata"], json!({"topic": "names"}));
    let alone = client.start_run(&saying("What is my name?", "I do not know.")).await;
    let first = started(&client, &thread, &saying("What is my name?", "Ada.")).await;
    let (without, with_history) = (read_tokens(&client, &alone).await, read_tokens(&client, &first).await);
    assert!(with_history > without, "{with_history} and {without}");
    // At once when the end is seen: nobody has to wait a little.
    for turn in 0..5 {
        let run = started(&client, &thread, &saying(&format!("And now {turn}?"), "Still Ada.")).await;
        client.run_when_ended(&run).await;
    }
    let said = said(&client, &thread).await;
    assert_eq!(said.len(), 2 + 6 * 2);
    assert_eq!(said[..3], ["My name is Ada.", "Hello Ada.", "What is my name?"]);
    let listed = client.all_of(&format!("/api/v1/runs?thread={thread}")).await;
    assert_eq!(listed.len(), 6);
    let whose = client.all_of(&format!("/api/v1/threads/{thread}/items")).await;
    assert_eq!(whose[0]["run_id"], Value::Null);
    assert_eq!(whose[2]["run_id"], first.as_str());
    server.finish().await;
}

#[tokio::test]
async fn a_busy_thread_refuses_and_says_who_is_in_the_way() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let active = started(&client, &thread, &endless("Go.")).await;
    let refused = post_run(&client, &thread, &saying("Me too.", "No.")).await;
    let error = refused.expect_error(409, "thread_busy");
    assert_eq!(error["active_run"], active.as_str());
    client.cancel(&active).await;
    let next = started(&client, &thread, &saying("Now?", "Now.")).await;
    client.run_when_ended(&next).await;
    server.finish().await;
}

#[tokio::test]
async fn a_queued_run_waits_for_its_thread_and_for_nobody_else() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let active = started(&client, &thread, &endless("Go.")).await;
    let mut waiting = Vec::new();
    for number in 0..3 {
        let body = with(saying(&format!("number {number}"), "done"), "on_busy", "queue");
        let run = post_run(&client, &thread, &body).await.expect_status(201);
        assert_eq!(
            (&run["state"], &run["queue_position"]),
            (&json!("queued"), &Value::Null)
        );
        waiting.push(run["id"].as_str().unwrap().to_owned());
    }
    let log = client
        .events(&waiting[1], None)
        .await
        .unwrap()
        .until("run.queued")
        .await;
    let queued = &log.last().unwrap().data;
    assert_eq!(
        (&queued["reason"], &queued["position"]),
        (&json!("thread_busy"), &json!(2))
    );
    let free = client.start_run(&saying("Hello", "Hello")).await;
    client.run_when_ended(&free).await;
    client.cancel(&waiting[1]).await;
    assert_eq!(client.run(&waiting[2]).await["state"], "queued");
    client.cancel(&active).await;
    let first = client.run_when_ended(&waiting[0]).await;
    let last = client.run_when_ended(&waiting[2]).await;
    assert!(
        first["ended_at"].as_str() <= last["started_at"].as_str(),
        "{first} {last}"
    );
    server.finish().await;
}

#[tokio::test]
async fn interrupting_keeps_what_was_said_and_replacing_hides_it() {
    let server = Server::start("").await;
    let client = server.client();
    for (on_busy, expected) in [
        (
            "interrupt",
            vec!["first", "[simulated] never ", "waiting", "last", "[simulated] done"],
        ),
        ("replace", vec!["last", "[simulated] done"]),
    ] {
        let thread = new_thread(&client, json!({})).await;
        let active = started(&client, &thread, &endless("first")).await;
        until_it_speaks(&client, &active).await;
        let waiting = started(&client, &thread, &with(saying("waiting", "no"), "on_busy", "queue")).await;
        let last = started(&client, &thread, &with(saying("last", "done"), "on_busy", on_busy)).await;
        assert_eq!(client.run_when_ended(&last).await["state"], "completed");
        for run in [&active, &waiting] {
            assert_eq!(client.run(run).await["state"], "cancelled");
        }
        assert_eq!(said(&client, &thread).await, expected, "{on_busy}");
        assert_eq!(client.items(&active).await.len(), 2, "the run itself keeps all it had");
    }
    server.finish().await;
}

#[tokio::test]
async fn the_same_request_again_interrupts_nobody() {
    let server = Server::start("").await;
    let client = server.client();
    let (thread, other) = (
        new_thread(&client, json!({})).await,
        new_thread(&client, json!({})).await,
    );
    let post = async |thread: &str, body: &Value| {
        let request = client
            .request(Method::POST, &format!("/api/v1/threads/{thread}/runs"))
            .header("idempotency-key", "once");
        Client::send(request.json(body)).await.unwrap()
    };
    let body = with(endless("Go."), "on_busy", "interrupt");
    let first = post(&thread, &body).await.expect_status(201);
    let again = post(&thread, &body).await.expect_status(200);
    assert_eq!(again["id"], first["id"]);
    let run = first["id"].as_str().unwrap();
    until_it_speaks(&client, run).await;
    assert_eq!(client.run(run).await["state"], "running");
    post(&other, &body).await.expect_error(409, "idempotency_conflict");
    client.cancel(run).await;
    server.finish().await;
}

#[tokio::test]
async fn a_long_thread_is_trimmed_and_the_log_says_so() {
    let server = Server::start(
        "[models.small]\nprovider = \"simulated\"\ncontext_window = 2000\nexpected_output_tokens = 100\n",
    )
    .await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    for _ in 0..6 {
        let run = started(&client, &thread, &saying(&"word ".repeat(400), "yes")).await;
        client.run_when_ended(&run).await;
    }
    let small = with(saying("And?", "end"), "model", "small");
    let run = started(&client, &thread, &small).await;
    let read = read_tokens(&client, &run).await;
    let trimmed = trimming_of(&client, &run).await.expect("it was trimmed");
    let turns = trimmed["turns"].as_u64().unwrap() + trimmed["kept_turns"].as_u64().unwrap();
    assert_eq!(turns, 6, "{trimmed}");
    assert!(trimmed["kept_turns"].as_u64().unwrap() >= 2, "{trimmed}");
    assert!(trimmed["kept_tokens"].as_u64().unwrap() <= 1900, "{trimmed}");
    let none = with(small, "history", json!({"policy": "none"}));
    let run = started(&client, &thread, &none).await;
    assert!(read_tokens(&client, &run).await > read);
    assert_eq!(trimming_of(&client, &run).await, None);
    let few = with(saying("And?", "end"), "history", json!({"max_tokens": 40}));
    let run = started(&client, &thread, &few).await;
    client.run_when_ended(&run).await;
    assert_eq!(trimming_of(&client, &run).await.unwrap()["kept_turns"], 2);
    server.finish().await;
}

async fn trimming_of(client: &Client, run: &str) -> Option<Value> {
    let log = client.events(run, None).await.unwrap().rest().await;
    log.into_iter()
        .find(|event| event.kind == "history.trimmed")
        .map(|event| event.data)
}

#[tokio::test]
async fn a_history_that_may_not_be_trimmed_and_is_too_long_fails_the_run() {
    let server = Server::start("[runs]\nmax_history = \"1KB\"\n").await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let run = started(&client, &thread, &saying(&"word ".repeat(400), "yes")).await;
    client.run_when_ended(&run).await;
    let none = with(saying("And?", "end"), "history", json!({"policy": "none"}));
    let run = started(&client, &thread, &none).await;
    let run = client.run_when_ended(&run).await;
    assert_eq!(
        (&run["state"], &run["error"]["code"]),
        (&json!("failed"), &json!("history_limit"))
    );
    server.finish().await;
}

#[tokio::test]
async fn a_crash_loses_neither_the_order_nor_an_interruption() {
    let site = Site::new("");
    let server = site.start().await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let active = started(&client, &thread, &endless("first")).await;
    until_it_speaks(&client, &active).await;
    let mut waiting = Vec::new();
    for number in 0..3 {
        let body = with(saying(&format!("number {number}"), "done"), "on_busy", "queue");
        waiting.push(started(&client, &thread, &body).await);
    }
    server.kill().await;
    let server = site.start().await;
    let client = server.client();
    assert_eq!(client.run(&active).await["state"], "running");
    assert_eq!(client.run(&waiting[0]).await["state"], "queued");
    let last = started(&client, &thread, &with(saying("last", "done"), "on_busy", "interrupt")).await;
    server.kill().await;
    let server = site.start().await;
    let client = server.client();
    assert_eq!(client.run_when_ended(&last).await["state"], "completed");
    assert_eq!(client.run(&active).await["state"], "cancelled");
    for run in &waiting {
        assert_eq!(client.run(run).await["state"], "cancelled");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_deleted_thread_is_gone_and_its_runs_end() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = new_thread(&client, json!({"items": [{"role": "user", "content": "secret"}]})).await;
    let active = started(&client, &thread, &endless("Go.")).await;
    let path = format!("/api/v1/threads/{thread}");
    let delete = || async { Client::send(client.request(Method::DELETE, &path)).await.unwrap() };
    assert_eq!(delete().await.status, 204);
    delete().await.expect_error(404, "thread_not_found");
    client.get(&path).await.expect_error(404, "thread_not_found");
    client
        .get(&format!("{path}/items"))
        .await
        .expect_error(404, "thread_not_found");
    let listed = client.get(&format!("/api/v1/runs?thread={thread}")).await;
    assert_eq!(listed.expect_error(404, "thread_not_found")["param"], "thread");
    let listed = client.get("/api/v1/runs?thread=thr_x").await;
    assert_eq!(listed.expect_error(404, "thread_not_found")["param"], "thread");
    let refused = post_run(&client, &thread, &saying("Hello", "no")).await;
    refused.expect_error(404, "thread_not_found");
    assert!(client.all_of("/api/v1/threads").await.is_empty());
    assert_eq!(client.run_when_ended(&active).await["state"], "cancelled");
    server.finish().await;
}

#[tokio::test]
async fn threads_of_others_do_not_exist() {
    let site = Site::new("");
    let (acme, beta) = (
        site.create_key("acme", "pro").await,
        site.create_key("beta", "pro").await,
    );
    let server = site.start().await;
    let (acme, beta) = (server.client_with(&acme), server.client_with(&beta));
    let thread = new_thread(&acme, json!({})).await;
    let path = format!("/api/v1/threads/{thread}");
    let unknown = "/api/v1/threads/thr_00000000000000000000000000000000";
    for path in [path.as_str(), unknown] {
        beta.get(path).await.expect_error(404, "thread_not_found");
        beta.get(&format!("{path}/items"))
            .await
            .expect_error(404, "thread_not_found");
        let posted = beta.post(&format!("{path}/runs"), &saying("Hello", "no")).await;
        posted.expect_error(404, "thread_not_found");
        let deleted = Client::send(beta.request(Method::DELETE, path)).await.unwrap();
        deleted.expect_error(404, "thread_not_found");
    }
    let listed = beta.get(&format!("/api/v1/runs?thread={thread}")).await;
    listed.expect_error(404, "thread_not_found");
    assert!(beta.all_of("/api/v1/threads").await.is_empty());
    acme.get(&path).await.expect_status(200);
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn a_request_that_makes_no_sense_names_its_field() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let ok = || saying("Hello", "no");
    let cases = [
        (with(ok(), "on_busy", "shout"), "invalid_value", "on_busy"),
        (
            with(with(ok(), "on_busy", "queue"), "on_limit", "refuse"),
            "invalid_value",
            "on_limit",
        ),
        (
            with(ok(), "history", json!({"policy": "forget"})),
            "invalid_value",
            "history.policy",
        ),
        (
            with(ok(), "history", json!({"max_tokens": 0})),
            "invalid_value",
            "history.max_tokens",
        ),
        (
            with(ok(), "history", json!({"policy": "none", "max_tokens": 5})),
            "invalid_value",
            "history.max_tokens",
        ),
        (
            with(
                ok(),
                "history",
                json!({"policy": "summarize_oldest_turns", "max_tokens": 511}),
            ),
            "invalid_value",
            "history.max_tokens",
        ),
        (
            with(
                ok(),
                "history",
                json!({"policy": "summarize_oldest_turns", "summary_model": "nobody"}),
            ),
            "unknown_model",
            "history.summary_model",
        ),
        (
            with(ok(), "history", json!({"summary_model": "simulated"})),
            "invalid_value",
            "history.summary_model",
        ),
        (
            with(ok(), "history", json!({"tokens": 5})),
            "unknown_field",
            "history.tokens",
        ),
    ];
    for (body, code, param) in cases {
        let error = post_run(&client, &thread, &body).await.expect_error(400, code);
        assert_eq!(error["param"], param, "{error}");
    }
    let outside = client.try_start(&with(ok(), "on_busy", "queue")).await;
    outside.expect_error(400, "unknown_field");
    let bad = json!({"items": [{"type": "tool_call", "call_id": "c", "name": "n", "arguments": "{}"}]});
    let error = client
        .post("/api/v1/threads", &bad)
        .await
        .expect_error(400, "invalid_value");
    assert_eq!(error["param"], "items[0].call_id");
    server.finish().await;
}
