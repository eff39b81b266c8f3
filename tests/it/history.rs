//! Events of runs that have ended: archived without anyone noticing, and after their retention said to be gone.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, SeenEvent, Server, check_whole_log, until_some};

/// How many runs the server has archived since its start.
async fn archived(client: &Client) -> u64 {
    let metrics = client.get("/metrics").await.text;
    let count = metrics
        .lines()
        .find_map(|line| line.strip_prefix("callboard_event_histories_archived_total "));
    count.expect("it is counted").parse().unwrap()
}

async fn whole_log(client: &Client, run: &str) -> Vec<SeenEvent> {
    client.events(run, None).await.unwrap().rest().await
}

async fn page(client: &Client, run: &str, query: &str) -> Reply {
    let request = client.request(Method::GET, &format!("/api/v1/runs/{run}/events?{query}"));
    Client::send(request.header("accept", "application/json"))
        .await
        .unwrap()
}

#[tokio::test]
async fn an_archived_run_reads_the_same() {
    // Nothing is kept in memory: what is read comes from the database.
    let server = Server::start("[events]\narchive_after = \"1s\"\nlinger_after_end = \"0\"").await;
    let client = server.client();
    let going_on = client.start_simulated(json!({"first_token_ms": 600_000})).await;
    let mut logs = Vec::new();
    for simulate in [
        json!({"tokens": 3000, "reasoning_tokens": 100}),
        json!({"tool_rounds": 3, "tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "ü\n\n"}}]}),
        json!({"fail": {"kind": "status", "status": 400}}),
    ] {
        let run = client.start_simulated(simulate).await;
        let log = whole_log(&client, &run).await;
        check_whole_log(&log, &client.run(&run).await);
        let first_page = page(&client, &run, "limit=50").await.expect_status(200);
        logs.push((run, log, first_page));
    }
    until_some("the runs to be archived", || async {
        (archived(&client).await == 3).then_some(())
    })
    .await;
    for (run, log, first_page) in &logs {
        assert_eq!(whole_log(&client, run).await, *log);
        assert_eq!(page(&client, run, "limit=50").await.expect_status(200), *first_page);
        for after in (0..log.len() - 1).step_by(log.len() / 10 + 1) {
            let rest = client.events(run, Some(after as u64)).await.unwrap().rest().await;
            assert_eq!(rest, log[after + 1..], "after {after}");
        }
        let last = log.len() as u64 - 1;
        assert!(client.events(run, Some(last)).await.is_none());
    }
    client.cancel(&going_on).await;
    check_whole_log(&whole_log(&client, &going_on).await, &client.run(&going_on).await);

    let server = server.kill().await.start().await;
    for (run, log, _) in &logs {
        assert_eq!(whole_log(&server.client(), run).await, *log);
    }
    server.finish().await;
}

#[tokio::test]
async fn events_expire_and_the_run_stays() {
    let server = Server::start("[events]\nhistory_retention = \"1s\"\nlinger_after_end = \"0\"").await;
    let client = server.client_with(&server.site.create_key("acme", "pro").await);
    let stranger = server.client_with(&server.site.create_key("other", "pro").await);
    let going_on = client.start_simulated(json!({"first_token_ms": 600_000})).await;
    let body = json!({"input": "Go.", "model_options": {"simulate": {"tokens": 40}}});
    let start = |stream: bool| {
        let mut body = body.clone();
        body["stream"] = stream.into();
        let request = client.request(Method::POST, "/api/v1/runs");
        Client::send(request.header("idempotency-key", "once").json(&body))
    };
    let run = start(false).await.unwrap().expect_status(201)["id"].clone();
    let run = run.as_str().unwrap();
    let ended = client.run_when_ended(run).await;
    let items = client.items(run).await;
    let expired = until_some("the events to expire", || async {
        let reply = page(&client, run, "limit=5").await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    assert_eq!(expired.expect_error(410, "events_expired")["run_id"], run);
    let path = format!("/api/v1/runs/{run}/events");
    client.get(&path).await.expect_error(410, "events_expired");
    let last = ended["next_seq"].as_u64().unwrap() - 1;
    let before_last = format!("{path}?after={}", last - 1);
    client.get(&before_last).await.expect_error(410, "events_expired");
    start(true).await.unwrap().expect_error(410, "events_expired");

    assert_eq!(client.run(run).await, ended);
    assert_eq!(client.items(run).await, items);
    assert_eq!(start(false).await.unwrap().expect_status(200), ended);
    assert!(client.events(run, Some(last)).await.is_none(), "seen to the end");
    let rest = page(&client, run, &format!("after={last}")).await.expect_status(200);
    assert_eq!((&rest["data"], &rest["ended"]), (&json!([]), &Value::Bool(true)));
    let beyond = page(&client, run, &format!("after={}", last + 1)).await;
    beyond.expect_error(400, "last_event_id_beyond_end");
    stranger.get(&path).await.expect_error(404, "run_not_found");

    client.events(&going_on, None).await.unwrap().until("run.started").await;
    client.cancel(&going_on).await;
    server.finish_as(&client).await;
}
