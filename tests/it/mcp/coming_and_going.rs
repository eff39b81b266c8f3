//! A server is started when it is needed, closed when it is not, and ended with what it has started.

use std::time::Duration;

use serde_json::json;

use super::{McpSite, calling, is_alive, run_through};
use crate::harness::until_some;

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
