//! Calls of which nobody knows what became of them: never claimed to be known, repeated only if that is safe.

use futures::future::join_all;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{McpSite, calling, run_through};
use crate::harness::until_some;

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
