//! MCP servers in processes: started once for all runs, ended with what they have started, and no run is worse off for a bad one.

use std::path::PathBuf;
use std::time::Duration;

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::harness::{Client, Server, Site, check_whole_log, until_some};
use crate::openapi::{Checker, document_of};

/// The server of the tests, which cargo builds with the examples.
fn test_server() -> PathBuf {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_callboard")).with_file_name("examples/mcp_test_server");
    assert!(
        path.exists(),
        "run `cargo build --example mcp_test_server` first: `cargo test` without a target does"
    );
    path
}

/// A site with one MCP server `bad` of this manner, and what happens to it.
struct McpSite {
    site: Site,
    log: tempfile::NamedTempFile,
}

impl McpSite {
    fn new(manner: &str, settings: &str) -> Self {
        Self::with_more(manner, settings, "")
    }

    /// `settings` are the server's, `more` are others.
    fn with_more(manner: &str, settings: &str, more: &str) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "[mcp.servers.bad]\ncommand = {:?}\nargs = [{manner:?}]\nenv = {{ MCP_TEST_LOG = {:?} }}\n\
             env_from = [\"MCP_TEST_SECRET\"]\n{settings}\n{more}",
            test_server().display().to_string(),
            log.path().display().to_string()
        );
        let site = Site::new(&text)
            .with_variable("MCP_TEST_SECRET", "never-to-be-seen")
            .with_variable("CALLBOARD_TEST_PRIVATE", "1");
        Self { site, log }
    }

    /// The details of what it wrote down under this word.
    fn seen(&self, word: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.log.path()).unwrap();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter(|(seen, _)| *seen == word)
            .map(|(_, detail)| detail.to_owned())
            .collect()
    }

    async fn until_seen(&self, word: &str, times: usize) -> Vec<String> {
        until_some(word, || async {
            let seen = self.seen(word);
            (seen.len() >= times).then_some(seen)
        })
        .await
    }
}

fn is_alive(process: &str) -> bool {
    // A process that is gone and not waited for yet is one too.
    let status = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

fn calling(calls: &Value) -> Value {
    json!({
        "input": "Go.", "tools": [{"type": "mcp", "server": "bad"}, "now"],
        "model_options": {"simulate": {"tool_calls": calls, "text": "Done."}}
    })
}

/// Runs to its end and gives the results of its calls, in the order of the calls, and its events.
async fn run_through(client: &Client, request: &Value) -> (Vec<Value>, Vec<Value>) {
    let run = client.start_run(request).await;
    let log = client.events(&run, None).await.unwrap().rest().await;
    let view = client.run(&run).await;
    assert_eq!(view["state"], "completed", "{view}");
    check_whole_log(&log, &view);
    let items = client.items(&run).await;
    let call_ids = items
        .iter()
        .filter(|item| item["type"] == "tool_call")
        .map(|item| &item["call_id"]);
    let results = call_ids.map(|id| {
        let mut results = items.iter().filter(|item| item["type"] == "tool_result");
        results.find(|item| item["call_id"] == *id).unwrap().clone()
    });
    let events = log.iter().map(|event| event.data.clone()).collect();
    (results.collect(), events)
}

fn of_kind<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

fn reasons(events: &[Value]) -> Vec<(String, String)> {
    let told = of_kind(events, "tools.unavailable").into_iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    told.map(|event| (text(&event["source"]), text(&event["reason"])))
        .collect()
}

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
async fn a_server_that_does_not_come_up_takes_away_its_tools_and_not_the_run() {
    for (manner, reason) in [
        ("silent", "did not answer within 300ms"),
        ("dies_at_start", "ended, or does not speak MCP"),
        ("wrong_ids", "did not answer within 300ms"),
    ] {
        let mcp = McpSite::new(manner, "setup_timeout = \"300ms\"");
        let server = mcp.site.start().await;
        let client = server.client();
        let (results, events) = run_through(&client, &calling(&json!([{"name": "now"}, {"name": "bad__echo"}]))).await;
        assert_eq!(
            (&results[0]["is_error"], &results[1]["is_error"]),
            (&Value::Null, &json!(true))
        );
        let told = reasons(&events);
        assert!(
            told.len() == 1 && told[0].0 == "bad" && told[0].1.contains(reason),
            "{manner}: {told:?}"
        );
        // One that failed is left alone for longer and longer: nobody waits for it then.
        let (_, events) = run_through(&client, &calling(&json!([]))).await;
        assert_eq!(reasons(&events).len(), 1, "{manner}");
        let (_, events) = run_through(&client, &calling(&json!([]))).await;
        assert!(
            reasons(&events)[0].1.contains("not tried again"),
            "{manner}: {:?}",
            reasons(&events)
        );
        let started = mcp.seen("started");
        server.finish().await;
        assert!(!started.iter().any(|process| is_alive(process)), "{manner}");
    }
    let text = "[mcp.servers.bad]\ncommand = \"/no/such/program\"\n";
    let server = Server::start(text).await;
    let (_, events) = run_through(&server.client(), &calling(&json!([]))).await;
    assert_eq!(reasons(&events)[0].1, "its program cannot be started");
    server.finish().await;
}

#[tokio::test]
async fn tools_that_are_none_are_left_out_and_told_and_the_others_stay() {
    let mcp = McpSite::new("liar", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let (results, events) = run_through(
        &client,
        &calling(&json!([{"name": "bad__echo", "arguments": {"text": "still"}}])),
    )
    .await;
    assert_eq!(results[0]["output"], "still");
    let sources: Vec<String> = reasons(&events).into_iter().map(|(source, _)| source).collect();
    assert_eq!(
        sources,
        [
            "bad: echo",
            "bad: no_schema",
            "bad: array",
            "bad: broken",
            "bad: outside",
            "bad"
        ]
    );
    server.finish().await;

    for (manner, told) in [
        ("endless_list", "has more than 20 tools"),
        ("circular_list", "has no end"),
    ] {
        let mcp = McpSite::with_more(manner, "", "[mcp]\nmax_tools = 20\n");
        let server = mcp.site.start().await;
        let (_, events) = run_through(&server.client(), &calling(&json!([]))).await;
        assert!(
            reasons(&events).iter().any(|(_, reason)| reason.contains(told)),
            "{manner}: {:?}",
            reasons(&events)
        );
        server.finish().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_an_error_and_costs_nobody_else_anything() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let huge = json!({"name": "bad__huge", "arguments": {"bytes": 50_000_000}});
    let large = json!({"name": "bad__huge", "arguments": {"bytes": 2_000_000}});
    let calls = json!([huge, large, {"name": "bad__echo", "arguments": {"text": "small"}}, {"name": "bad__slow"}]);
    let (results, _) = run_through(&client, &calling(&calls)).await;
    let refused = results[0]["output"].as_str().unwrap();
    assert!(refused.contains("its answer is too large"), "{refused}");
    assert_eq!(
        (&results[1]["is_error"], &results[1]["truncated"]),
        (&Value::Null, &json!(true))
    );
    assert_eq!(
        (&results[2]["output"], &results[3]["output"]),
        (&json!("small"), &json!("slow but done"))
    );
    assert_eq!(mcp.seen("started").len(), 1, "it is the same server for all that");
    server.finish().await;
}

#[tokio::test]
async fn a_flood_holds_up_nobody_but_its_server() {
    let mcp = McpSite::with_more("flood", "setup_timeout = \"2s\"", "[log]\nlevel = \"debug\"\n");
    let server = mcp.site.start().await;
    let client = server.client();
    let flooded = client.start_run(&calling(&json!([{"name": "bad__echo"}]))).await;
    mcp.until_seen("started", 1).await;
    let others = (0..20).map(|_| client.start_simulated(json!({"text": "Quick."})));
    for run in join_all(others).await {
        assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    }
    // Whether it comes through its own flood or not: the run ends.
    assert_eq!(client.run_when_ended(&flooded).await["state"], "completed");
    let printed = server.finish_after_panics(&client).await;
    assert!(
        printed.len() < 2_000_000,
        "what a server says unasked is not logged: {} bytes",
        printed.len()
    );
    assert!(!printed.contains("never-to-be-seen"));
}

#[tokio::test]
async fn what_a_dead_server_did_is_not_claimed_to_be_known_and_repeated_only_if_that_is_safe() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let request = calling(&json!([{"name": "bad__die"}]));
    let (results, _) = run_through(&client, &request).await;
    let told = results[0]["output"].as_str().unwrap();
    assert!(told.contains("not known whether the call was done"), "{told}");
    assert_eq!((mcp.seen("called").len(), mcp.seen("started").len()), (1, 1));
    // The next call has a new one.
    let (results, _) = run_through(&client, &calling(&json!([{"name": "bad__echo"}]))).await;
    assert_eq!(
        (&results[0]["output"], mcp.seen("started").len()),
        (&json!("nothing"), 2)
    );
    server.finish().await;

    for settings in ["retry = \"idempotent\"", "trust_annotations = true"] {
        let mcp = McpSite::new("good", settings);
        let server = mcp.site.start().await;
        let (results, _) = run_through(&server.client(), &request).await;
        assert_eq!(results[0]["is_error"], true);
        let called = mcp.seen("called");
        assert!(called.len() == 2 && called[0] == called[1], "{settings}: {called:?}");
        server.finish().await;
    }
}

#[tokio::test]
async fn a_server_that_is_killed_under_its_calls_ends_them_and_comes_back() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let hang = json!({"name": "bad__hang"});
    let runs = join_all((0..10).map(|_| {
        let request = calling(&json!([hang, hang]));
        let client = &client;
        async move { client.start_run(&request).await }
    }))
    .await;
    mcp.until_seen("called", 20).await;
    let process: i32 = mcp.seen("started")[0].parse().unwrap();
    kill(Pid::from_raw(process), Signal::SIGKILL).unwrap();
    for run in runs {
        assert_eq!(client.run_when_ended(&run).await["state"], "completed");
        let items = client.items(&run).await;
        let results: Vec<_> = items.iter().filter(|item| item["type"] == "tool_result").collect();
        assert_eq!(results.len(), 2);
        for result in results {
            let output = result["output"].as_str().unwrap();
            assert!(output.contains("not known whether the call was done"), "{output}");
        }
    }
    assert_eq!(mcp.seen("called").len(), 20, "none was made again");
    let (results, _) = run_through(&client, &calling(&json!([{"name": "bad__echo"}]))).await;
    assert_eq!(results[0]["output"], "nothing");
    let metrics = client.get("/metrics").await.text;
    let again = "callboard_mcp_starts_total{server=\"bad\",outcome=\"ok\",start=\"again\"} 1";
    assert!(metrics.contains(again), "{metrics}");
    server.finish().await;
}

#[tokio::test]
async fn news_of_the_tools_is_heard() {
    let mcp = McpSite::new("good", "");
    let server = mcp.site.start().await;
    let client = server.client();
    let new = calling(&json!([{"name": "bad__new", "arguments": {"text": "fresh"}}]));
    let (results, _) = run_through(&client, &new).await;
    assert_eq!(results[0]["is_error"], true);
    run_through(&client, &calling(&json!([{"name": "bad__change"}]))).await;
    let (results, _) = run_through(&client, &new).await;
    assert_eq!(results[0]["output"], "fresh");
    assert_eq!(mcp.seen("listed").len(), 4, "asked for once more, on two pages");
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_nobody_needs_is_closed_and_started_again() {
    let mcp = McpSite::new("good", "idle_timeout = \"100ms\"");
    let server = mcp.site.start().await;
    let client = server.client();
    let request = calling(&json!([{"name": "bad__slow", "arguments": {"pause_ms": 50}}]));
    for round in 1..=2 {
        let (results, _) = run_through(&client, &request).await;
        assert_eq!(results[0]["output"], "slow but done", "not closed under a call");
        mcp.until_seen("ended", round).await;
    }
    // A run that has been told of the tools finds them there when it calls them.
    let late = json!({
        "input": "Go.", "tools": [{"type": "mcp", "server": "bad"}],
        "model_options": {"simulate": {"first_token_ms": 600, "tool_calls": [{"name": "bad__echo"}]}}
    });
    let (results, _) = run_through(&client, &late).await;
    assert_eq!(
        (&results[0]["output"], mcp.seen("started").len()),
        (&json!("nothing"), 4)
    );
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_leaves_takes_its_mcp_servers_along_and_their_children() {
    for manner in ["with_child", "stubborn"] {
        let mcp = McpSite::new(manner, "");
        let server = mcp.site.start().await;
        let client = server.client();
        run_through(&client, &calling(&json!([{"name": "bad__echo"}]))).await;
        let mut processes = mcp.seen("started");
        processes.extend(mcp.seen("child"));
        assert!(processes.iter().all(|process| is_alive(process)), "{processes:?}");
        let begun = std::time::Instant::now();
        server.finish().await;
        assert!(begun.elapsed() < Duration::from_secs(10));
        until_some("all of them to be gone", || async {
            (!processes.iter().any(|process| is_alive(process))).then_some(())
        })
        .await;
    }
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

#[tokio::test]
async fn a_server_that_answers_no_call_is_started_anew() {
    let mcp = McpSite::new("good", "call_timeout = \"100ms\"");
    let server = mcp.site.start().await;
    let client = server.client();
    let hang = json!({"name": "bad__hang"});
    run_through(&client, &calling(&json!([hang, hang]))).await;
    assert_eq!(mcp.seen("ended").len(), 0, "two may be by chance");
    run_through(&client, &calling(&json!([hang]))).await;
    mcp.until_seen("ended", 1).await;
    let (results, _) = run_through(&client, &calling(&json!([{"name": "bad__echo"}]))).await;
    assert_eq!(
        (&results[0]["output"], mcp.seen("started").len()),
        (&json!("nothing"), 2)
    );
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
async fn a_call_that_a_crash_cut_off_is_reviewed_or_made_again_with_its_key() {
    for (retry, calls) in [("unsafe", 1), ("idempotent", 2)] {
        let mcp = McpSite::new("good", &format!("retry = \"{retry}\""));
        let server = mcp.site.start().await;
        let run = server
            .client()
            .start_run(&calling(&json!([{"name": "bad__hang"}])))
            .await;
        mcp.until_seen("called", 1).await;
        server.kill().await;
        // What it left behind sees the end of its input.
        mcp.until_seen("ended", 1).await;
        let server = mcp.site.start().await;
        let client = server.client();
        if retry == "unsafe" {
            let view = until_some("the run to wait", || async {
                let view = client.run(&run).await;
                (view["state"] == "waiting").then_some(view)
            })
            .await;
            assert_eq!(view["waiting"], "needs_review");
        } else {
            let called = mcp.until_seen("called", 2).await;
            assert_eq!(called[0], called[1], "the same key");
        }
        client.cancel(&run).await;
        assert_eq!(mcp.seen("called").len(), calls, "{retry}");
        server.finish().await;
    }
}
