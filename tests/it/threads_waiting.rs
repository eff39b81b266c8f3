//! A run that waits for an answer to its calls is still the one its thread is busy with: the same on SQLite and, from another instance, on
//! PostgreSQL.

use serde_json::{Value, json};

use crate::harness::{Client, Server, TestFleet, until_some};

/// A run that asks the client one thing, and goes on when it is answered.
fn asking(on_deadline: &Value) -> Value {
    let mut tool = json!({"type": "client", "name": "ask_user", "description": "Asks the user.", "parameters": {"type": "object"}});
    tool.as_object_mut()
        .unwrap()
        .extend(on_deadline.as_object().unwrap().clone());
    json!({"input": "first", "tools": [tool], "model_options": {"simulate": {"tool_calls": [{"name": "ask_user"}], "text": "answered"}}})
}

/// A run that needs a person's yes.
fn needing_a_yes() -> Value {
    let tool = json!({"type": "server", "name": "echo", "requires_approval": true});
    let call = json!({"name": "echo", "arguments": {"text": "x"}});
    json!({"input": "first", "tools": [tool], "model_options": {"simulate": {"tool_calls": [call], "text": "allowed"}}})
}

fn saying(text: &str, on_busy: &str) -> Value {
    json!({"input": text, "on_busy": on_busy, "model_options": {"simulate": {"text": text}}})
}

async fn new_thread(client: &Client) -> String {
    let thread = client.post("/api/v1/threads", &json!({})).await.expect_status(201);
    thread["id"].as_str().unwrap().to_owned()
}

async fn started(client: &Client, thread: &str, body: &Value) -> String {
    let run = client.post(&format!("/api/v1/threads/{thread}/runs"), body).await;
    run.expect_status(201)["id"].as_str().unwrap().to_owned()
}

/// The ids of the calls that the run waits for.
async fn waiting(client: &Client, run: &str) -> Vec<String> {
    let view = until_some("the run to wait", || async {
        let view = client.run(run).await;
        (view["state"] == "waiting").then_some(view)
    })
    .await;
    let calls = view["waiting_calls"].as_array().unwrap();
    calls
        .iter()
        .map(|call| call["call_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn answer(client: &Client, run: &str, call: &str) {
    let said = json!({"outputs": [{"call_id": call, "output": "yes"}]});
    let answered = client.post(&format!("/api/v1/runs/{run}/tool_outputs"), &said).await;
    answered.expect_status(200);
}

/// Whose the items of the thread are, each run once and in order.
async fn told_in(client: &Client, thread: &str) -> Vec<String> {
    let items = client.all_of(&format!("/api/v1/threads/{thread}/items")).await;
    let mut runs: Vec<String> = items
        .iter()
        .map(|item| item["run_id"].as_str().unwrap().to_owned())
        .collect();
    runs.dedup();
    runs
}

async fn is_refused_for(client: &Client, thread: &str, active: &str) {
    let body = saying("no", "refuse");
    let refused = client.post(&format!("/api/v1/threads/{thread}/runs"), &body).await;
    let error = refused.expect_error(409, "thread_busy");
    assert_eq!(error["active_run"], active, "{error}");
}

/// Those behind it wait until it was answered and has ended.
async fn the_next_ones_wait_for_it(here: &Client, there: &Client) {
    let thread = new_thread(here).await;
    let active = started(here, &thread, &asking(&json!({}))).await;
    let calls = waiting(here, &active).await;
    is_refused_for(there, &thread, &active).await;
    let next = started(there, &thread, &saying("next", "queue")).await;
    let last = started(here, &thread, &saying("last", "queue")).await;
    // One that waits for nobody comes and goes meanwhile.
    let free = there
        .start_run(&json!({"input": "Hello", "model_options": {"simulate": {"text": "Hello"}}}))
        .await;
    there.run_when_ended(&free).await;
    assert_eq!(here.run(&active).await["state"], "waiting");
    for run in [&next, &last] {
        assert_eq!(there.run(run).await["state"], "queued");
    }
    answer(there, &active, &calls[0]).await;
    for run in [&active, &next, &last] {
        assert_eq!(there.run_when_ended(run).await["state"], "completed");
    }
    assert_eq!(here.run(&active).await["output"], "[simulated] answered");
    // It read what was said in the run that waited.
    let read = |run: Value| run["usage"]["input_tokens"].as_u64().unwrap();
    assert!(read(here.run(&last).await) > read(here.run(&next).await));
    assert_eq!(told_in(here, &thread).await, [active, next, last]);
}

async fn a_verdict_lets_it_go_on(here: &Client, there: &Client) {
    let thread = new_thread(here).await;
    let active = started(here, &thread, &needing_a_yes()).await;
    let calls = waiting(here, &active).await;
    is_refused_for(there, &thread, &active).await;
    let next = started(there, &thread, &saying("next", "queue")).await;
    let said = json!({"approvals": [{"call_id": calls[0], "approve": true}]});
    let approved = there.post(&format!("/api/v1/runs/{active}/approvals"), &said).await;
    approved.expect_status(200);
    for run in [&active, &next] {
        assert_eq!(here.run_when_ended(run).await["state"], "completed");
    }
    assert_eq!(told_in(there, &thread).await, [active, next]);
}

async fn whoever_displaces_it_ends_it(here: &Client, there: &Client) {
    for on_busy in ["interrupt", "replace"] {
        let thread = new_thread(here).await;
        let active = started(here, &thread, &asking(&json!({}))).await;
        let calls = waiting(here, &active).await;
        let behind = started(here, &thread, &saying("behind", "queue")).await;
        let last = started(there, &thread, &saying("last", on_busy)).await;
        assert_eq!(there.run_when_ended(&last).await["state"], "completed", "{on_busy}");
        for run in [&active, &behind] {
            assert_eq!(there.run(run).await["state"], "cancelled", "{on_busy}");
        }
        let late = json!({"outputs": [{"call_id": calls[0], "output": "late"}]});
        let refused = here.post(&format!("/api/v1/runs/{active}/tool_outputs"), &late).await;
        refused.expect_error(409, "run_not_waiting");
        let expected = match on_busy {
            "interrupt" => vec![active, behind, last],
            _ => vec![last],
        };
        assert_eq!(told_in(here, &thread).await, expected, "{on_busy}");
    }
}

/// Nobody answers in time: the run ends by that, or goes on with that and ends; either way the next one goes.
async fn a_deadline_of_its_calls_lets_the_next_one_go(here: &Client, there: &Client) {
    for (on_deadline, state) in [("fail_run", "failed"), ("tell_model", "completed")] {
        let thread = new_thread(here).await;
        let body = asking(&json!({"deadline_seconds": 2, "on_deadline": on_deadline}));
        let active = started(here, &thread, &body).await;
        let next = started(there, &thread, &saying("next", "queue")).await;
        assert_eq!(there.run_when_ended(&next).await["state"], "completed");
        let ended = here.run(&active).await;
        assert_eq!(ended["state"], state, "{ended}");
        assert_eq!(told_in(here, &thread).await, [active, next], "{on_deadline}");
    }
    // The run's own deadline passes while it waits.
    let thread = new_thread(here).await;
    let mut body = asking(&json!({}));
    body["limits"] = json!({"deadline_seconds": 2});
    let active = started(here, &thread, &body).await;
    let next = started(there, &thread, &saying("next", "queue")).await;
    assert_eq!(there.run_when_ended(&next).await["state"], "completed");
    assert_eq!(here.run(&active).await["error"]["code"], "deadline_exceeded");
}

#[tokio::test]
async fn on_one_server_a_run_that_waits_keeps_its_thread_busy() {
    let server = Server::start("").await;
    let client = server.client();
    the_next_ones_wait_for_it(&client, &client).await;
    a_verdict_lets_it_go_on(&client, &client).await;
    whoever_displaces_it_ends_it(&client, &client).await;
    a_deadline_of_its_calls_lets_the_next_one_go(&client, &client).await;
    server.finish().await;
}

#[tokio::test]
async fn in_a_fleet_a_run_that_waits_keeps_its_thread_busy_everywhere() {
    let fleet = TestFleet::new("").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let (here, there) = (a.client().unwrap(), b.client().unwrap());
    the_next_ones_wait_for_it(&here, &there).await;
    a_verdict_lets_it_go_on(&here, &there).await;
    whoever_displaces_it_ends_it(&here, &there).await;
    a_deadline_of_its_calls_lets_the_next_one_go(&here, &there).await;
    fleet.finish([a, b]).await;
}

#[tokio::test]
async fn a_run_that_waits_keeps_its_place_in_its_thread_through_a_kill() {
    let server = Server::start("").await;
    let client = server.client();
    let (answered, interrupted) = (new_thread(&client).await, new_thread(&client).await);
    let mut calls = Vec::new();
    let mut runs = Vec::new();
    for thread in [&answered, &interrupted] {
        let active = started(&client, thread, &asking(&json!({}))).await;
        calls.push(waiting(&client, &active).await);
        let next = started(&client, thread, &saying("next", "queue")).await;
        runs.push((active, next));
    }
    let site = server.kill().await;
    let server = site.start().await;
    let client = server.client();
    for (thread, (active, next)) in [&answered, &interrupted].into_iter().zip(&runs) {
        is_refused_for(&client, thread, active).await;
        assert_eq!(client.run(next).await["state"], "queued");
    }
    let (active, next) = &runs[0];
    answer(&client, active, &calls[0][0]).await;
    for run in [active, next] {
        assert_eq!(client.run_when_ended(run).await["state"], "completed");
    }
    let (active, next) = &runs[1];
    let last = started(&client, &interrupted, &saying("last", "interrupt")).await;
    assert_eq!(client.run_when_ended(&last).await["state"], "completed");
    for run in [active, next] {
        assert_eq!(client.run(run).await["state"], "cancelled");
    }
    server.finish().await;
}
