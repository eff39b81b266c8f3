//! No run is worse off for a bad server.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{McpSite, calling, is_alive, reasons, run_through};
use crate::harness::{Server, until_some};

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
        // A signal may take a moment to arrive.
        until_some("all of them to be gone", || async {
            (!started.iter().any(|process| is_alive(process))).then_some(())
        })
        .await;
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
