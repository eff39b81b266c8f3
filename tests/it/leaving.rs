//! Rule 10: a server that is told to stop admits nothing, lets runs end, hands the rest over, and exits with 0.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Server, check_whole_log};

#[tokio::test]
async fn sigterm_under_load_loses_nothing() {
    let settings = "[server]\nshutdown_grace = \"2s\"\n[capacity]\nmax_concurrent_runs = 60\n";
    let server = Server::start(settings).await;
    let client = server.client();
    let mut runs = Vec::new();
    for number in 0..90 {
        let simulate = match number % 3 {
            0 => json!({"tokens": 20, "tokens_per_second": 40}),
            1 => json!({"text": "never ends", "fail": {"kind": "stall", "after_tokens": 2, "attempts": 1}}),
            _ => json!({"tool_calls": [{"name": "wait", "arguments": {"milliseconds": 300}}]}),
        };
        let body = json!({"input": "Go.", "tools": ["wait"], "model_options": {"simulate": simulate}});
        runs.push(client.start_run(&body).await);
    }
    let mut readers = Vec::new();
    for run in runs.iter().take(60) {
        readers.push(client.events(run, None).await.unwrap());
    }
    for reader in &mut readers {
        reader.next().await.unwrap();
    }
    server.ask_to_leave();
    let told: Vec<Vec<_>> = join_all(readers.into_iter().map(|reader| reader.rest())).await;
    let (site, code) = server.ended().await;
    assert_eq!(code, Some(0));

    let server = site.start().await;
    let client = server.client();
    let mut handed_over = 0;
    for run in &runs {
        let before = client.run(run).await;
        if before["state"] == "running" || before["state"] == "queued" {
            handed_over += 1;
            client.cancel(run).await;
        }
        let run = client.run_when_ended(run).await;
        let log = client
            .events(run["id"].as_str().unwrap(), None)
            .await
            .unwrap()
            .rest()
            .await;
        check_whole_log(&log, &run);
        for event in told.iter().flatten().filter(|event| event.data["run_id"] == run["id"]) {
            assert_eq!(*event, log[usize::try_from(event.seq).unwrap()], "what was shown stays");
        }
    }
    assert!(handed_over > 0, "stalled runs outlast the grace period");
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_leaves_is_not_ready_and_admits_nothing() {
    let server = Server::start("[server]\nshutdown_grace = \"60s\"\n").await;
    let client = server.client();
    let run = client
        .start_simulated(json!({"tokens": 2, "fail": {"kind": "stall", "after_tokens": 1}}))
        .await;
    let mut reader = client.events(&run, None).await.unwrap();
    reader.until("text.delta").await;
    client.get("/readyz").await.expect_status(200);
    server.ask_to_leave();
    let refusal = crate::harness::until_some("new runs to be refused", || async {
        let reply = client.try_start(&json!({"input": "Go.", "on_limit": "refuse"})).await;
        (reply.status != 201).then_some(reply)
    })
    .await;
    refusal.expect_error(503, "shutting_down");
    assert!(refusal.header("retry-after").is_some());
    // At once, although it was ready a moment ago.
    let ready = client.get("/readyz").await.expect_status(503);
    assert_eq!(ready["reasons"], json!(["shutting_down"]));
    // The run is still served meanwhile, and its end is the end of the wait.
    assert_eq!(client.cancel(&run).await["state"], "cancelled");
    let (_, code) = server.ended().await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_store_that_is_gone_does_not_keep_a_server_from_leaving() {
    let server = Server::start("[server]\nshutdown_grace = \"100ms\"\n").await;
    let client = server.client();
    let run = client
        .start_simulated(json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2, "attempts": 1}}))
        .await;
    let mut reader = client.events(&run, None).await.unwrap();
    let shown = reader.until("text.delta").await;
    let database = server.site.path().join("data/callboard.db");
    let aside = server.site.path().join("aside.db");
    std::fs::rename(&database, &aside).unwrap();
    server.ask_to_leave();
    let (site, code) = server.ended().await;
    assert_eq!(code, Some(0));
    std::fs::rename(&aside, &database).unwrap();

    let server = site.start().await;
    let client = server.client();
    client.cancel(&run).await;
    let run = client.run_when_ended(&run).await;
    let log = client
        .events(run["id"].as_str().unwrap(), None)
        .await
        .unwrap()
        .rest()
        .await;
    check_whole_log(&log, &run);
    assert_eq!(log[..shown.len()], shown[..], "what was shown stays");
    server.finish().await;
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_the_run_goes_on_later() {
    let server = Server::start("[server]\nshutdown_grace = \"1h\"\n").await;
    let client = server.client();
    let simulate = json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}});
    let run = client.start_simulated(simulate).await;
    let mut reader = client.events(&run, None).await.unwrap();
    let shown = reader.until("text.delta").await;
    server.ask_to_leave();
    crate::harness::until_some("the first signal to count", || async {
        (client.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    server.ask_to_leave();
    let (site, _) = server.ended().await;
    let server = site.start().await;
    let client = server.client();
    let last = shown.last().unwrap().seq;
    let mut reader = client.events(&run, Some(last)).await.unwrap();
    let next = reader.next().await.unwrap();
    assert_eq!(next.seq, last + 1);
    assert_eq!(client.cancel(&run).await["state"], Value::from("cancelled"));
    server.finish().await;
}

#[tokio::test]
async fn a_closed_terminal_is_told_twice_and_drains_all_the_same() {
    let server = Server::start("[server]\nshutdown_grace = \"1h\"\n").await;
    let client = server.client();
    let run = client
        .start_simulated(json!({"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}}))
        .await;
    client.events(&run, None).await.unwrap().until("text.delta").await;
    server.hang_up();
    crate::harness::until_some("the hangup to count", || async {
        (client.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    // The kernel sends one, the shell another.
    server.hang_up();
    assert_eq!(client.cancel(&run).await["state"], "cancelled");
    let (_, code) = server.ended().await;
    assert_eq!(code, Some(0));
}
