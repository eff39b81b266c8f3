//! Runs call the tools of a server: results, progress, cancelling, approval, and who may name it.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{McpSite, calling, of_kind, reasons, run_through};
use crate::harness::until_some;
use crate::openapi::{Checker, document_of};

#[tokio::test]
async fn a_servers_tools_are_called_and_it_is_told_only_what_it_is_to_know() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    assert_eq!(mcp.seen("started").len(), 0, "no run has needed it yet");
    let calls = json!([
        {"name": "bad__echo", "arguments": {"text": "hello"}},
        {"name": "bad__fail"},
        {"name": "bad__image"},
        {"name": "bad__ask"},
        {"name": "bad__refuse"},
        {"name": "now"},
    ]);
    let mut request = calling(&calls);
    request["tools"][0]["allowed_tools"] = json!(["echo", "fail", "image", "ask", "no_such_tool"]);
    let (results, events) = run_through(&client, &request).await;
    let said: Vec<_> = results
        .iter()
        .map(|result| (&result["output"], &result["is_error"]))
        .collect();
    assert_eq!(said[0], (&json!("hello"), &Value::Null));
    assert_eq!(said[1], (&json!("it went wrong"), &json!(true)));
    assert!(said[2].0.as_str().unwrap().contains("image/png"));
    assert_eq!(said[3], (&json!("asked"), &Value::Null));
    assert!(said[4].0.as_str().unwrap().contains("no tool named"), "{:?}", said[4]);
    assert_eq!(said[5].1, &Value::Null);
    let missing = (
        "bad: no_such_tool".to_owned(),
        "the server has no tool of this name".to_owned(),
    );
    assert_eq!(reasons(&events), [missing]);
    assert_eq!(mcp.seen("secret"), ["never-to-be-seen"]);
    assert_eq!(mcp.seen("inherited"), ["no"]);
    // The item's name goes along: a call that is made again has the same.
    let items = of_kind(&events, "item.completed");
    let call = items.iter().find(|event| event["item"]["name"] == "bad__echo").unwrap();
    let called = mcp.seen("called");
    let echo = called.iter().find(|call| call.starts_with("echo ")).unwrap();
    assert_eq!(echo.split_once(' ').unwrap().1, call["item"]["id"].as_str().unwrap());
    let metrics = client.get("/metrics").await.text;
    assert!(
        metrics.contains("callboard_mcp_calls_total{server=\"bad\",outcome=\"ok\"} 3"),
        "{metrics}"
    );
    server.finish().await;
    mcp.until_seen("ended", 1).await;
}

#[tokio::test]
async fn a_hundred_runs_share_one_server() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let request = calling(&json!([{"name": "bad__echo", "arguments": {"text": "a"}}, {"name": "bad__slow"}]));
    let runs = join_all((0..100).map(|_| client.start_run(&request))).await;
    for run in runs {
        let view = client.run_when_ended(&run).await;
        assert_eq!(view["state"], "completed", "{view}");
        let items = client.items(&run).await;
        let results = items.iter().filter(|item| item["type"] == "tool_result");
        let outputs: Vec<_> = results.map(|item| item["output"].as_str().unwrap()).collect();
        assert!(
            outputs.contains(&"a") && outputs.contains(&"slow but done"),
            "{outputs:?}"
        );
    }
    assert_eq!(
        (mcp.seen("started").len(), mcp.seen("listed").len()),
        (1, 2),
        "one start, one list of two pages"
    );
    server.finish().await;
}

#[tokio::test]
async fn progress_is_told_and_gives_a_call_more_time_up_to_the_bound() {
    let mcp = McpSite::with_more("good", "call_timeout = \"1s\"", "[tools]\ntimeout = \"3s\"\n");
    let server = mcp.site.start().await;
    let client = server.client();
    let slow = |pause: u64| json!({"name": "bad__slow", "arguments": {"pause_ms": pause}});
    let (results, events) = run_through(&client, &calling(&json!([slow(200), slow(800), {"name": "bad__hang"}]))).await;
    assert_eq!(
        results[0]["output"], "slow but done",
        "2 s, but never 1 s without a sign"
    );
    for (index, after) in [(1, "2.7s"), (2, "1s")] {
        let output = results[index]["output"].as_str().unwrap();
        let honest = output.contains(after) && output.contains("not known whether the call was done");
        assert!(honest && results[index]["is_error"] == true, "{output}");
    }
    let told = of_kind(&events, "tool.progress");
    assert!((2..=8).contains(&told.len()), "{told:?}");
    assert!(
        told[0]["call_id"].is_string() && told[0]["total"] == 10.0,
        "{:?}",
        told[0]
    );
    assert!(told[0]["message"].as_str().unwrap().starts_with("step "));
    let document = document_of(&client).await;
    Checker(&document).check("Event", told[0]);
    // The calls that were given up are known to be.
    mcp.until_seen("cancelled", 2).await;
    server.finish().await;
}

#[tokio::test]
async fn a_cancelled_run_cancels_its_calls() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let run = client
        .start_run(&calling(&json!([{"name": "bad__hang"}, {"name": "bad__hang"}])))
        .await;
    mcp.until_seen("called", 2).await;
    assert_eq!(client.cancel(&run).await["state"], "cancelled");
    mcp.until_seen("cancelled", 2).await;
    // And the server is as good as before.
    let (results, _) = run_through(&client, &calling(&json!([{"name": "bad__echo"}]))).await;
    assert_eq!(results[0]["output"], "nothing");
    assert_eq!(mcp.seen("started").len(), 1);
    server.finish().await;
}

#[tokio::test]
async fn a_person_may_have_to_say_yes_to_a_servers_tool() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let mut request = calling(&json!([{"name": "bad__echo", "arguments": {"text": "as asked"}}]));
    request["tools"][0]["requires_approval"] = json!(true);
    let run = client.start_run(&request).await;
    let view = until_some("the run to wait", || async {
        let view = client.run(&run).await;
        (view["state"] == "waiting").then_some(view)
    })
    .await;
    assert_eq!(mcp.seen("called").len(), 0);
    let call = &view["waiting_calls"][0]["call_id"];
    let yes = json!({"approvals": [{"call_id": call, "approve": true, "arguments": {"text": "as changed"}}]});
    let posted = client.post(&format!("/api/v1/runs/{run}/approvals"), &yes).await;
    posted.expect_status(200);
    client.run_when_ended(&run).await;
    let items = client.items(&run).await;
    let result = items.iter().find(|item| item["type"] == "tool_result").unwrap();
    assert_eq!(result["output"], "as changed");
    server.finish().await;
}

#[tokio::test]
async fn who_may_name_a_server_and_how_is_checked_when_the_run_is_posted() {
    let mcp = McpSite::new("good", "accounts = [\"acme\"]\nin_every_run = true");
    let acme_key = mcp.site.create_key("acme", "pro").await;
    let other_key = mcp.site.create_key("other", "pro").await;
    let server = mcp.site.start().await;
    let (acme, other) = (server.client_with(&acme_key), server.client_with(&other_key));
    let plain = |name: &str| json!({"input": "Go.", "tools": ["now"], "model_options": {"simulate": {"tool_calls": [{"name": name}]}}});
    let (results, _) = run_through(&acme, &plain("bad__echo")).await;
    assert_eq!(
        results[0]["output"], "nothing",
        "it is in every run of those who may use it"
    );
    let (results, events) = run_through(&other, &plain("bad__echo")).await;
    assert_eq!((&results[0]["is_error"], reasons(&events).len()), (&json!(true), 0));
    let elsewhere = |more: Value| {
        let mut tool = json!({"type": "mcp", "server": "x", "url": "https://example.com/"});
        tool.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        tool
    };
    for (tool, param) in [
        (json!({"type": "mcp", "server": "bad"}), "server"),
        (json!({"type": "mcp", "server": "none"}), "server"),
        (json!({"type": "mcp", "server": "a b"}), "server"),
        (json!({"type": "mcp", "server": "x", "headers": {"A": "b"}}), "headers"),
        (elsewhere(json!({"url": "nowhere"})), "url"),
        (elsewhere(json!({"url": "http://127.0.0.1:8080/"})), "url"),
        (elsewhere(json!({"url": "http://169.254.169.254/"})), "url"),
        (elsewhere(json!({"headers": {"A": "{{secret:NONE}}"}})), "headers.A"),
        (elsewhere(json!({"headers": {"A": "{{city}}"}})), "headers.A"),
        (elsewhere(json!({"headers": {"Host": "b"}})), "headers.Host"),
    ] {
        let refused = other.try_start(&json!({"input": "Go.", "tools": [tool]})).await;
        let error = refused.expect_error(400, "invalid_value");
        assert_eq!(error["param"], format!("tools[0].{param}"), "{tool}");
    }
    server.finish_as(&acme).await;
}
