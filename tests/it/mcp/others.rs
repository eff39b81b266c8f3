//! MCP servers of other people: npm `@modelcontextprotocol/server-everything`, in a process and over HTTP, and PyPI `mcp-server-time`.

use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Client, Server, Site, check_whole_log};
use crate::rig::Process;

/// A program that `scripts/test` installs and names in this variable.
fn program(variable: &str) -> PathBuf {
    let program = std::env::var_os(variable).map(PathBuf::from);
    program.unwrap_or_else(|| panic!("{variable} is not set: run `scripts/test mcp`"))
}

fn everything() -> PathBuf {
    program("CALLBOARD_TEST_MCP_EVERYTHING")
}

/// server-everything over streamable HTTP.
struct EverythingOverHttp {
    process: Process,
    port: u16,
}

impl EverythingOverHttp {
    async fn start() -> Self {
        // It takes no port of its own choosing, and another may take the one that was free.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(server) = Self::start_at(port).await {
                return server;
            }
        }
        panic!("others took each port that was free");
    }

    async fn start_at(port: u16) -> Option<Self> {
        let mut command = Command::new("node");
        command
            .arg(everything())
            .arg("streamableHttp")
            .env("PORT", port.to_string());
        let mut process = Process::start("server-everything", command).unwrap();
        let is_there = |printed: &str| match printed {
            printed if printed.contains("listening on port") => Some(true),
            printed if printed.contains("already in use") => Some(false),
            _ => None,
        };
        let is_there = process.until_printed("its port", is_there).await.unwrap();
        is_there.then_some(Self { process, port })
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// Makes these calls in one run, and gives their results in order, and the run's events.
async fn call(client: &Client, tool: &Value, calls: &Value) -> (Vec<Value>, Vec<Value>) {
    let request = json!({"input": "Go.", "tools": [tool], "model_options": {"simulate": {"tool_calls": calls}}});
    let run = client.start_run(&request).await;
    let log = client.events(&run, None).await.unwrap().rest().await;
    let view = client.run(&run).await;
    assert_eq!(view["state"], "completed", "{view}");
    check_whole_log(&log, &view);
    let items = client.items(&run).await;
    let calls = items.iter().filter(|item| item["type"] == "tool_call");
    let results = calls.map(|call| {
        let mut results = items.iter().filter(|item| item["type"] == "tool_result");
        results.find(|item| item["call_id"] == call["call_id"]).unwrap().clone()
    });
    (results.collect(), log.iter().map(|event| event.data.clone()).collect())
}

fn output(result: &Value) -> &str {
    assert_eq!(result["is_error"], Value::Null, "{result}");
    result["output"].as_str().unwrap()
}

/// What server-everything does must come through, whatever the way.
async fn everything_works(client: &Client, tool: &Value) {
    let calls = json!([
        {"name": "every__echo", "arguments": {"message": "hello"}},
        {"name": "every__get-sum", "arguments": {"a": 2, "b": 40}},
        {"name": "every__get-tiny-image", "arguments": {}},
        {"name": "every__get-structured-content", "arguments": {"location": "Chicago"}},
        {"name": "every__trigger-long-running-operation", "arguments": {"duration": 2, "steps": 4}},
        {"name": "every__get-resource-links", "arguments": {"count": 2}},
        {"name": "every__echo", "arguments": {"massage": "hello"}},
    ]);
    let (results, events) = call(client, tool, &calls).await;
    assert_eq!(output(&results[0]), "Echo: hello");
    assert!(output(&results[1]).contains("42"));
    assert!(output(&results[2]).contains("[an image (image/png), about "));
    assert!(output(&results[3]).contains("\"temperature\""));
    assert!(output(&results[4]).contains("Duration: 2 seconds, Steps: 4"));
    assert!(output(&results[5]).contains("[a link to the resource "));
    assert_eq!(results[6]["is_error"], true, "the arguments do not fit: {}", results[6]);
    let kinds = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert!(kinds("tool.progress") >= 1);
    assert_eq!(kinds("tools.unavailable"), 0);
}

#[tokio::test]
async fn server_everything_works_in_a_process() {
    let settings = format!(
        "[mcp.servers.every]\ncommand = \"node\"\nargs = [{:?}, \"stdio\"]\nenv = {{ GREETING = \"hello\" }}\nsetup_timeout = \"30s\"\n",
        everything().display().to_string()
    );
    let site = Site::new(&settings).with_variable("CALLBOARD_TEST_PRIVATE", "never-to-be-seen");
    let server = site.start().await;
    let client = server.client();
    let tool = json!({"type": "mcp", "server": "every"});
    everything_works(&client, &tool).await;
    let (results, _) = call(&client, &tool, &json!([{"name": "every__get-env"}])).await;
    let environment = output(&results[0]);
    assert!(environment.contains("\"GREETING\": \"hello\""), "{environment}");
    assert!(!environment.contains("never-to-be-seen"), "{environment}");
    server.finish().await;
}

#[tokio::test]
async fn server_everything_works_over_http_and_after_a_restart() {
    let everything = EverythingOverHttp::start().await;
    let settings = format!(
        "[mcp.servers.every]\nurl = {:?}\nsetup_timeout = \"30s\"\n",
        everything.url()
    );
    let server = Server::start(&settings).await;
    let client = server.client();
    let tool = json!({"type": "mcp", "server": "every"});
    everything_works(&client, &tool).await;

    let port = everything.port;
    everything.stop().await;
    let echo = json!([{"name": "every__echo", "arguments": {"message": "still there?"}}]);
    let (results, _) = call(&client, &tool, &echo).await;
    assert_eq!(results[0]["is_error"], true, "{}", results[0]);
    let everything = EverythingOverHttp::start_at(port)
        .await
        .expect("its port is free again");
    let again = crate::harness::until_some("the server to be found again", || async {
        let (results, _) = call(&client, &tool, &echo).await;
        (results[0]["is_error"] == Value::Null).then(|| results[0].clone())
    })
    .await;
    assert_eq!(again["output"], "Echo: still there?");
    server.finish().await;
    everything.stop().await;
}

#[tokio::test]
async fn server_everything_works_where_a_client_names_its_address() {
    let everything = EverythingOverHttp::start().await;
    let settings = format!(
        "[outbound]\nallow = [\"127.0.0.1/32:{}\"]\n[mcp]\nsetup_timeout = \"30s\"\n",
        everything.port
    );
    let server = Server::start(&settings).await;
    let client = server.client();
    let tool = json!({"type": "mcp", "server": "every", "url": everything.url()});
    everything_works(&client, &tool).await;
    server.finish().await;
    everything.stop().await;
}

#[tokio::test]
async fn mcp_server_time_tells_the_time() {
    let program = program("CALLBOARD_TEST_MCP_TIME");
    let settings = format!(
        "[mcp.servers.clock]\ncommand = {:?}\nargs = [\"--local-timezone\", \"Europe/Kyiv\"]\nsetup_timeout = \"60s\"\n",
        program.display().to_string()
    );
    let server = Server::start(&settings).await;
    let client = server.client();
    let tool = json!({"type": "mcp", "server": "clock"});
    let calls = json!([
        {"name": "clock__get_current_time", "arguments": {"timezone": "Asia/Tokyo"}},
        {"name": "clock__convert_time", "arguments": {"source_timezone": "Europe/Kyiv", "time": "12:00", "target_timezone": "UTC"}},
        {"name": "clock__get_current_time", "arguments": {"timezone": "Moon/Tranquility"}},
    ]);
    let (results, _) = call(&client, &tool, &calls).await;
    assert!(output(&results[0]).contains("Asia/Tokyo"), "{}", results[0]);
    assert!(output(&results[1]).contains("time_difference"), "{}", results[1]);
    assert_eq!(results[2]["is_error"], true, "{}", results[2]);
    server.finish().await;
}
