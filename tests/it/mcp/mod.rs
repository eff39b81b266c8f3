//! MCP servers: one of ours that can be as bad as one can be (`tests/mcp/server.rs`), and those of other people.

mod bad_servers;
mod calls;
mod coming_and_going;
mod lost_calls;
mod others;

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::harness::{Client, Site, check_whole_log, until_some};

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
