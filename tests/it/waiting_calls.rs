//! Tool calls that somebody outside answers or decides about: the client, or a person.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, Server, until_some};
use crate::openapi::{Checker, document_of};

fn client_tool(more: Value) -> Value {
    let mut tool = json!({
        "type": "client", "name": "ask_user", "description": "Asks the user.",
        "parameters": {"type": "object", "properties": {"question": {"type": "string"}}, "required": ["question"]}
    });
    tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tool
}

fn calling(tools: &Value, calls: &Value) -> Value {
    json!({"input": "Go.", "tools": tools, "model_options": {"simulate": {"tool_calls": calls, "text": "Done."}}})
}

fn asks(question: &str) -> Value {
    json!({"name": "ask_user", "arguments": {"question": question}})
}

/// A run that asks the client one thing.
fn asking() -> Value {
    calling(&json!([client_tool(json!({}))]), &json!([asks("?")]))
}

/// The run as it waits, and the call ids it waits for.
async fn waiting(client: &Client, run: &str) -> (Value, Vec<String>) {
    let view = until_some("the run to wait", || async {
        let view = client.run(run).await;
        (view["state"] == "waiting").then_some(view)
    })
    .await;
    Checker(&document_of(client).await).check("Run", &view);
    let calls = view["waiting_calls"].as_array().unwrap();
    let ids = calls.iter().map(|call| call["call_id"].as_str().unwrap().to_owned());
    (view.clone(), ids.collect())
}

async fn post(client: &Client, run: &str, what: &str, body: &Value) -> crate::rig::Reply {
    client.post(&format!("/api/v1/runs/{run}/{what}"), body).await
}

#[tokio::test]
async fn the_clients_own_tools_are_answered_by_the_client_call_by_call_and_the_run_goes_on() {
    let server = Server::start("").await;
    let client = server.client();
    let request = calling(
        &json!([client_tool(json!({})), "now"]),
        &json!([asks("Which one?"), {"name": "now"}, asks("How many?"), {"name": "ask_user", "arguments": {"q": 1}}]),
    );
    let run = client.start_run(&request).await;
    let (view, ids) = waiting(&client, &run).await;
    assert_eq!((&view["waiting"], ids.len()), (&json!("tool_outputs"), 2));
    assert_eq!(view["waiting_calls"][0]["needs"], "output");
    assert_eq!(view["waiting_calls"][0]["arguments"], "{\"question\":\"Which one?\"}");
    // What needs nobody is done: `now`, and the call whose arguments do not fit.
    let results = |items: &[Value]| items.iter().filter(|item| item["type"] == "tool_result").count();
    assert_eq!(results(&client.items(&run).await), 2);

    let first = json!({"outputs": [{"call_id": ids[1], "output": "three"}]});
    let still = post(&client, &run, "tool_outputs", &first).await.expect_status(200);
    assert_eq!(
        (&still["state"], still["waiting_calls"].as_array().unwrap().len()),
        (&json!("waiting"), 1)
    );
    let again = post(&client, &run, "tool_outputs", &first).await;
    assert_eq!(
        again.expect_error(409, "call_not_waiting")["param"],
        "outputs[0].call_id"
    );

    let second = json!({"outputs": [{"call_id": ids[0], "output": "no idea", "is_error": true}]});
    post(&client, &run, "tool_outputs", &second).await.expect_status(200);
    let ended = client.run_when_ended(&run).await;
    assert_eq!(
        (&ended["state"], &ended["output"]),
        (&json!("completed"), &json!("[simulated] Done."))
    );
    assert_eq!(results(&client.items(&run).await), 4);
    post(&client, &run, "tool_outputs", &second)
        .await
        .expect_error(409, "run_not_waiting");

    let events = client.events(&run, None).await.expect("a stream");
    let events = events.rest().await;
    let indexes: Vec<u64> = events
        .iter()
        .filter(|event| event.kind == "item.completed")
        .map(|event| event.data["index"].as_u64().unwrap())
        .collect();
    assert_eq!(
        indexes,
        (0..indexes.len() as u64).collect::<Vec<_>>(),
        "places are given once, in order"
    );
    server.finish().await;
}

#[tokio::test]
async fn of_many_answers_to_one_call_at_the_same_moment_one_counts() {
    let server = Server::start("").await;
    let client = server.client();
    let run = client.start_run(&asking()).await;
    let (_, ids) = waiting(&client, &run).await;
    let bodies: Vec<Value> = (0..10)
        .map(|number| json!({"outputs": [{"call_id": ids[0], "output": number.to_string()}]}))
        .collect();
    let replies = join_all(bodies.iter().map(|body| post(&client, &run, "tool_outputs", body))).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 200 | 409)),
        "{statuses:?}"
    );
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let items = client.items(&run).await;
    assert_eq!(items.iter().filter(|item| item["type"] == "tool_result").count(), 1);
    server.finish().await;
}

#[tokio::test]
async fn any_tool_can_ask_for_a_persons_yes() {
    let server = Server::start("").await;
    let client = server.client();
    let careful = json!({"type": "server", "name": "echo", "requires_approval": true});
    let echo = |text: &str| json!({"name": "echo", "arguments": {"text": text}});
    let request = calling(&json!([careful]), &json!([echo("one"), echo("two"), echo("three")]));
    let run = client.start_run(&request).await;
    let (view, ids) = waiting(&client, &run).await;
    assert_eq!((&view["waiting"], ids.len()), (&json!("approval"), 3));

    let wrong = json!({"approvals": [{"call_id": ids[0], "approve": true, "arguments": {"text": 1}}]});
    let refused = post(&client, &run, "approvals", &wrong).await;
    assert_eq!(
        refused.expect_error(400, "invalid_value")["param"],
        "approvals[0].arguments"
    );
    let not_yet = json!({"outputs": [{"call_id": ids[0], "output": "x"}]});
    let refused = post(&client, &run, "tool_outputs", &not_yet).await;
    assert_eq!(refused.expect_error(409, "call_needs_other")["needs"], "approval");

    let said = json!({"approvals": [
        {"call_id": ids[0], "approve": true},
        {"call_id": ids[1], "approve": true, "arguments": {"text": "2"}},
        {"call_id": ids[2], "approve": false, "reason": "too loud"},
    ]});
    post(&client, &run, "approvals", &said).await.expect_status(200);
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let items = client.items(&run).await;
    let mut outputs: Vec<&str> = items.iter().filter_map(|item| item["output"].as_str()).collect();
    outputs.sort_unstable();
    assert_eq!(outputs, ["2", "a person refused this call: too loud", "one"]);
    let changed: Vec<&Value> = items
        .iter()
        .filter(|item| item.get("approved_arguments").is_some())
        .collect();
    assert_eq!(changed.len(), 1, "{items:?}");
    assert_eq!(
        (&changed[0]["call_id"], &changed[0]["approved_arguments"]),
        (&json!(ids[1]), &json!("{\"text\":\"2\"}"))
    );
    server.finish().await;
}

#[tokio::test]
async fn a_waiting_run_survives_a_kill_and_holds_neither_a_permit_nor_a_slot() {
    let settings = "[capacity]\nmax_concurrent_runs = 1\n[tiers.local]\nconcurrent_runs = 1\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let request = asking();
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = client.start_run(&request).await;
        waiting(&client, &run).await;
        runs.push(run);
    }
    let other = client.start_simulated(json!({"tokens": 2})).await;
    assert_eq!(client.run_when_ended(&other).await["state"], "completed");

    let site = server.kill().await;
    let server = site.start().await;
    let client = server.client();
    for run in &runs {
        let (_, ids) = waiting(&client, run).await;
        let said = json!({"outputs": [{"call_id": ids[0], "output": "yes"}]});
        post(&client, run, "tool_outputs", &said).await.expect_status(200);
        assert_eq!(client.run_when_ended(run).await["state"], "completed");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_call_that_nobody_answers_in_time_tells_the_model_or_ends_the_run() {
    let server = Server::start("").await;
    let client = server.client();
    for (on_deadline, state, code) in [
        ("tell_model", "completed", Value::Null),
        ("fail_run", "failed", json!("tool_deadline")),
    ] {
        let tool = client_tool(json!({"deadline_seconds": 1, "on_deadline": on_deadline}));
        let run = client.start_run(&calling(&json!([tool]), &json!([asks("?")]))).await;
        let ended = client.run_when_ended(&run).await;
        assert_eq!(
            (&ended["state"], &ended["error"]["code"]),
            (&json!(state), &code),
            "{ended}"
        );
    }
    let mut patient = asking();
    patient["limits"] = json!({"deadline_seconds": 1});
    let run = client.start_run(&patient).await;
    assert_eq!(client.run_when_ended(&run).await["error"]["code"], "deadline_exceeded");
    server.finish().await;
}

#[tokio::test]
async fn a_client_whose_call_was_approved_has_its_own_time_from_then_on() {
    let server = Server::start("").await;
    let client = server.client();
    let tool = client_tool(json!({"requires_approval": true, "deadline_seconds": 1, "on_deadline": "fail_run"}));
    let run = client.start_run(&calling(&json!([tool]), &json!([asks("?")]))).await;
    let (view, ids) = waiting(&client, &run).await;
    // An approval may take as long as the run, as this server is configured.
    let call = &view["waiting_calls"][0];
    assert_eq!((&call["needs"], &call["deadline"]), (&json!("approval"), &Value::Null));
    let said = json!({"approvals": [{"call_id": ids[0], "approve": true}]});
    let view = post(&client, &run, "approvals", &said).await.expect_status(200);
    let call = &view["waiting_calls"][0];
    assert_eq!(call["needs"], "output");
    assert!(call["deadline"].is_string(), "{call}");
    assert_eq!(client.run_when_ended(&run).await["error"]["code"], "tool_deadline");
    // Whoever only listens has heard that it is its turn now.
    let events = client.events(&run, None).await.expect("a stream").rest().await;
    let told = events.iter().filter(|event| event.kind == "run.waiting");
    let told: Vec<(&Value, &Value)> = told
        .map(|event| (&event.data["reason"], &event.data["calls"]))
        .collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        (told[0].0, &told[0].1[0]["needs"]),
        (&json!("approval"), &json!("approval"))
    );
    assert_eq!(told[1], (&json!("tool_outputs"), &view["waiting_calls"]));
    server.finish().await;
}

#[tokio::test]
async fn a_run_that_waits_can_be_cancelled_and_is_nobody_elses() {
    let server = Server::start("").await;
    let client = server.client();
    let run = client.start_run(&asking()).await;
    let (_, ids) = waiting(&client, &run).await;
    assert_eq!(client.cancel(&run).await["state"], "cancelled");
    let late = json!({"outputs": [{"call_id": ids[0], "output": "yes"}]});
    post(&client, &run, "tool_outputs", &late)
        .await
        .expect_error(409, "run_not_waiting");
    post(
        &client,
        "run_01890000-0000-7000-8000-000000000000",
        "tool_outputs",
        &late,
    )
    .await
    .expect_error(404, "run_not_found");
    server.finish().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_declared_tool_or_an_answer_is_told_by_field() {
    let server = Server::start("").await;
    let client = server.client();
    for (tool, code, param) in [
        (json!(1), "invalid_type", "tools[0]"),
        (json!("nothing"), "unknown_tool", "tools[0]"),
        (json!({"name": "x"}), "missing_field", "tools[0].type"),
        (json!({"type": "magic"}), "invalid_value", "tools[0].type"),
        (client_tool(json!({"name": "a b"})), "invalid_value", "tools[0].name"),
        (
            client_tool(json!({"colour": "red"})),
            "unknown_field",
            "tools[0].colour",
        ),
        (
            client_tool(json!({"parameters": {"type": "objekt"}})),
            "invalid_value",
            "tools[0].parameters",
        ),
        (
            client_tool(json!({"parameters": {"type": "string"}})),
            "invalid_value",
            "tools[0].parameters",
        ),
        (
            client_tool(json!({"deadline_seconds": -1})),
            "invalid_value",
            "tools[0].deadline_seconds",
        ),
        (
            client_tool(json!({"deadline_seconds": 0})),
            "invalid_value",
            "tools[0].deadline_seconds",
        ),
        (
            client_tool(json!({"deadline_seconds": 252_000_000_000_u64})),
            "invalid_value",
            "tools[0].deadline_seconds",
        ),
    ] {
        let reply = client.try_start(&json!({"input": "Go.", "tools": [tool]})).await;
        assert_eq!(reply.expect_error(400, code)["param"], param, "{tool}");
    }
    let sparing = client_tool(json!({
        "description": null, "deadline_seconds": null, "on_deadline": null, "requires_approval": null
    }));
    let run = client.start_run(&json!({"input": "Go.", "tools": [sparing]})).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let twice = json!({"input": "Go.", "tools": ["now", "now"]});
    assert_eq!(
        client.try_start(&twice).await.expect_error(400, "invalid_value")["param"],
        "tools[1]"
    );

    let run = client.start_run(&asking()).await;
    waiting(&client, &run).await;
    for (body, code, param) in [
        (json!({}), "missing_field", "outputs"),
        (json!({"outputs": []}), "invalid_value", "outputs"),
        (
            json!({"outputs": [{"call_id": "x"}]}),
            "missing_field",
            "outputs[0].output",
        ),
        (
            json!({"outputs": [{"output": "x"}]}),
            "missing_field",
            "outputs[0].call_id",
        ),
        (
            json!({"outputs": [{"call_id": "x", "output": 5}]}),
            "invalid_type",
            "outputs[0].output",
        ),
        (
            json!({"outputs": [{"call_id": "call_1_0", "output": "a"}, {"call_id": "call_1_0", "output": "b"}]}),
            "invalid_value",
            "outputs[1].call_id",
        ),
        (
            json!({"outputs": [{"call_id": "x", "output": "", "why": ""}]}),
            "unknown_field",
            "outputs[0].why",
        ),
    ] {
        let reply = post(&client, &run, "tool_outputs", &body).await;
        assert_eq!(reply.expect_error(400, code)["param"], param, "{body}");
    }
    client.cancel(&run).await;
    server.finish().await;
}
