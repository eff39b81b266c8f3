//! Rule 5 and the restart: after `kill -9` a run goes on from its last committed item, and what is known is not produced again.

use serde_json::{Value, json};

use crate::harness::{Server, Upstream, check_whole_log};

#[tokio::test]
async fn killed_in_its_second_call_a_run_repeats_nothing_that_is_known() {
    let upstream = Upstream::start().await;
    let server = Server::start(&upstream.settings()).await;
    let client = server.client();
    let simulate = json!({
        "tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "x"}}],
        "text": "one two three four", "tokens_per_second": 2
    });
    let body = json!({"input": "Go.", "tools": ["now", "echo"], "model_options": {"simulate": simulate}});
    let id = client.start_run(&body).await;
    let mut reader = client.events(&id, None).await.unwrap();
    let shown = reader.until("text.delta").await;
    let site = server.kill().await;

    let server = site.start().await;
    let client = server.client();
    let last = shown.last().unwrap().seq;
    let after = client.events(&id, Some(last)).await.unwrap().rest().await;
    assert_eq!(after[0].seq, last + 1, "the stream goes on where it was cut");
    let run = client.run(&id).await;
    assert_eq!(
        (&run["state"], &run["steps"]),
        (&json!("completed"), &json!(2)),
        "{run}"
    );
    assert_eq!(run["output"], "[simulated] one two three four");
    let log = client.events(&id, None).await.unwrap().rest().await;
    check_whole_log(&log, &run);
    assert!(log.starts_with(&shown), "what was shown stays");
    assert!(
        log.iter()
            .any(|event| event.kind == "run.recovered" && event.data["epoch"] == 2)
    );

    let items = client.items(&id).await;
    let kinds: Vec<(&str, &str)> = items
        .iter()
        .map(|item| (item["type"].as_str().unwrap(), item["status"].as_str().unwrap()))
        .collect();
    let whole_tools = kinds.iter().filter(|kind| **kind == ("tool_call", "completed")).count();
    let results = kinds
        .iter()
        .filter(|kind| **kind == ("tool_result", "completed"))
        .count();
    let cut_off = kinds.iter().filter(|kind| **kind == ("message", "incomplete")).count();
    assert_eq!((whole_tools, results, cut_off), (2, 2, 1), "{kinds:?}");
    assert_eq!(upstream.calls().await.len(), 3, "the first call once, the second twice");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn killed_again_and_again_a_run_still_ends_once() {
    let server = Server::start("").await;
    let simulate = json!({"tokens": 30, "tokens_per_second": 20, "tool_calls": [{"name": "now"}], "tool_rounds": 2});
    let body = json!({"input": "Go.", "tools": ["now"], "model_options": {"simulate": simulate}});
    let id = server.client().start_run(&body).await;
    let mut site = server.site.clone();
    let mut server = Some(server);
    let mut after = None;
    for kill in 0..4_u64 {
        let running = match server.take() {
            Some(running) => running,
            None => site.start().await,
        };
        let mut reader = running.client().events(&id, after).await.unwrap();
        // Each life lasts a few events longer than the one before.
        for _ in 0..=kill * 2 {
            let event = reader.next().await.unwrap();
            assert_eq!(event.seq, after.map_or(0, |seq| seq + 1));
            after = Some(event.seq);
        }
        site = running.kill().await;
    }
    let server = site.start().await;
    let client = server.client();
    let run = client.run_when_ended(&id).await;
    assert_eq!(run["state"], "completed", "{run}");
    let log = client.events(&id, None).await.unwrap().rest().await;
    check_whole_log(&log, &run);
    let known: Vec<Value> = client.items(&id).await;
    let results = known.iter().filter(|item| item["type"] == "tool_result").count();
    assert_eq!(results, 2, "each tool call has one result");
    server.finish().await;
}

#[tokio::test]
async fn a_run_at_whose_step_the_server_dies_every_time_is_given_up() {
    let mut server = Server::start("[runs]\nmax_recoveries = 2\n").await;
    let simulate = json!({"tokens": 100_000, "tokens_per_second": 50, "tool_calls": [{"name": "now"}]});
    let body = json!({"input": "Go.", "tools": ["now"], "model_options": {"simulate": simulate}});
    let id = server.client().start_run(&body).await;
    let mut after = None;
    for _ in 0..3 {
        let mut reader = server.client().events(&id, after).await.unwrap();
        let shown = reader.until("text.delta").await;
        after = shown.last().map(|event| event.seq);
        server = server.kill().await.start().await;
    }
    let client = server.client();
    let run = client.run_when_ended(&id).await;
    assert_eq!(run["error"]["code"], "recovery_limit", "{run}");
    let log = client.events(&id, None).await.unwrap().rest().await;
    check_whole_log(&log, &run);
    let recovered = log.iter().filter(|event| event.kind == "run.recovered").count();
    assert_eq!(recovered, 3, "the last one only to give it up");
    server.finish().await;
}

#[tokio::test]
async fn a_server_that_has_become_smaller_takes_up_what_fits_and_a_cancel_of_the_rest_sticks() {
    let server = Server::start("[capacity]\nmax_concurrent_runs = 4\n").await;
    let client = server.client();
    let mut runs = Vec::new();
    for _ in 0..4 {
        runs.push(client.start_simulated(json!({"fail": {"kind": "stall"}})).await);
    }
    let site = server.kill().await;
    let file = site.path().join("config.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        settings.replace("max_concurrent_runs = 4", "max_concurrent_runs = 1"),
    )
    .unwrap();
    let server = site.start().await;
    let client = server.client();
    // At once: some may still be on their way back into the queue.
    for run in runs.iter().rev() {
        assert_eq!(client.cancel(run).await["state"], "cancelled");
    }
    for run in &runs {
        let log = client.events(run, None).await.unwrap().rest().await;
        check_whole_log(&log, &client.run(run).await);
    }
    server.finish().await;
}

#[tokio::test]
async fn what_was_half_said_is_kept_although_nobody_goes_on_with_it() {
    let server = Server::start("[capacity]\nmax_concurrent_runs = 2\n").await;
    let mut shown = Vec::new();
    for _ in 0..2 {
        let body = json!({"input": "Go.", "model_options": {"simulate": {"tokens": 600, "tokens_per_second": 10}}});
        let id = server.client().start_run(&body).await;
        let mut reader = server.client().events(&id, None).await.unwrap();
        shown.push((id, reader.until("text.delta").await));
    }
    let site = server.kill().await;

    let file = site.path().join("config.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    let smaller = settings.replace("max_concurrent_runs = 2", "max_concurrent_runs = 1");
    assert_ne!(smaller, settings);
    std::fs::write(&file, smaller).unwrap();
    let server = site.start().await;
    let client = server.client();
    // The younger one first: it went back into the queue, for want of a Permit, and is to stay there.
    for (id, shown) in shown.into_iter().rev() {
        let run = client.cancel(&id).await;
        assert_eq!(run["state"], "cancelled", "{run}");
        let log = client.events(&id, None).await.unwrap().rest().await;
        check_whole_log(&log, &run);
        assert!(log.starts_with(&shown), "what was shown stays");
        let cut_off: Vec<Value> = client
            .items(&id)
            .await
            .into_iter()
            .filter(|item| item["status"] == "incomplete")
            .collect();
        assert!(!cut_off.is_empty(), "the text is kept: {log:?}");
    }
    server.finish().await;
}
