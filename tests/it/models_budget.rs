//! Budgets of accounts on a real server: what is left is shown, what is not there is not spent, and the operator can give more.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Upstream};
use crate::openapi::{Checker, document_of};

async fn budget(client: &Client) -> Value {
    let budget = client.get("/api/v1/budget").await.expect_status(200);
    Checker(&document_of(client).await).check("Budget", &budget);
    budget
}

async fn run_to_end(client: &Client) -> Value {
    let run = client.start_simulated(json!({"tokens": 3})).await;
    client.run_when_ended(&run).await
}

/// Gives the local account one call more.
async fn top_up(server: &Server) {
    let arguments = ["budgets", "top-up", "--account", "local", "--calls", "1"];
    let output = server.site.run_to_end(&arguments).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("local (tier local), for ever"), "{shown}");
}

fn of_calls(limit: u64, when_exhausted: &str) -> String {
    format!("[tiers.local.budget]\nperiod = \"forever\"\ncalls = {limit}\nwhen_exhausted = \"{when_exhausted}\"\n")
}

#[tokio::test]
async fn a_run_that_the_budget_has_nothing_left_for_fails_until_there_is_more() {
    let server = Server::start(&of_calls(1, "fail")).await;
    let client = server.client();
    assert_eq!(budget(&client).await["budget"]["left"]["calls"], 1);
    assert_eq!(run_to_end(&client).await["state"], "completed");
    let spent = budget(&client).await;
    assert_eq!(
        (&spent["budget"]["left"]["calls"], &spent["budget"]["used"]["calls"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(spent["budget"]["left"]["cost_usd"], Value::Null);
    let refused = run_to_end(&client).await;
    assert_eq!(refused["error"]["code"], "budget_exceeded", "{refused}");

    top_up(&server).await;
    assert_eq!(budget(&client).await["budget"]["topped_up"]["calls"], 1);
    assert_eq!(run_to_end(&client).await["state"], "completed");
    assert_eq!(run_to_end(&client).await["error"]["code"], "budget_exceeded");
    server.finish().await;
}

#[tokio::test]
async fn a_run_may_wait_for_more_instead() {
    let server = Server::start(&of_calls(1, "wait")).await;
    let client = server.client();
    assert_eq!(run_to_end(&client).await["state"], "completed");
    let waiting = client.start_simulated(json!({"tokens": 3})).await;
    let mut events = client.events(&waiting, None).await.expect("a stream");
    let told = events.until("run.waiting").await;
    assert_eq!(told.last().unwrap().data["reason"], "budget");
    top_up(&server).await;
    let rest = events.rest().await;
    assert_eq!(rest.last().unwrap().kind, "run.completed");
    assert_eq!(budget(&client).await["budget"]["left"]["calls"], 0);
    server.finish().await;
}

#[tokio::test]
async fn parallel_runs_do_not_spend_what_is_not_there() {
    let priced = "[models.simulated]\ninput_price = 0\noutput_price = 1000\n[tiers.local.budget]\nperiod = \"day\"\ncost_usd = 1\n";
    let server = Server::start(priced).await;
    let client = server.client();
    let request = json!({
        "input": "Go.", "limits": {"max_output_tokens": 300}, "model_options": {"simulate": {"tokens": 300}}
    });
    let starts: Vec<_> = (0..10).map(|_| client.start_run(&request)).collect();
    let mut completed = 0;
    for run in futures::future::join_all(starts).await {
        let run = client.run_when_ended(&run).await;
        match run["error"]["code"].as_str() {
            None => completed += 1,
            Some(code) => assert_eq!(code, "budget_exceeded"),
        }
    }
    let spent = budget(&client).await;
    let used = spent["budget"]["used"]["cost_usd"].as_f64().unwrap();
    // A dollar buys 1,000 tokens: three answers, and what a shorter fourth may have said.
    assert!((0.9..=1.0).contains(&used), "{spent}");
    assert!(completed >= 3, "{completed} runs were paid for");
    assert_eq!(spent["budget"]["held"]["calls"], 0);
    server.finish().await;
}

#[tokio::test]
async fn an_answer_may_be_longer_than_usual_while_there_is_enough_and_is_kept_short_when_there_is_not() {
    let server = Server::start("[tiers.local.budget]\nperiod = \"forever\"\ntokens = 5000\n").await;
    let client = server.client();
    let run = client.start_simulated(json!({"tokens": 3000})).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let run = client.start_simulated(json!({"tokens": 3000})).await;
    let ended = client.run_when_ended(&run).await;
    assert_eq!(ended["error"]["code"], "budget_exceeded", "{ended}");
    assert!(ended["usage"]["output_tokens"].as_u64().unwrap() > 1000, "{ended}");
    let items = client.items(&run).await;
    assert_eq!(items.last().unwrap()["status"], "incomplete");
    let left = budget(&client).await["budget"]["left"]["tokens"].as_u64().unwrap();
    assert!(left < 1000, "{left}");
    let metrics = client.get("/metrics").await.text;
    assert!(
        metrics.contains("callboard_budget_exhausted_total{tier=\"local\"} 1\n"),
        "{metrics}"
    );
    server.finish().await;
}

/// Two calls are under way when the server is killed, of three that there are: they are made, whatever became of them.
#[tokio::test]
async fn calls_of_a_server_that_is_killed_are_paid_for() {
    let upstream = Upstream::start().await;
    let server = Server::start(&(upstream.settings() + &of_calls(3, "fail"))).await;
    let client = server.client();
    let slow = json!({"text": "one two three four", "tokens_per_second": 2});
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = client.start_simulated(slow.clone()).await;
        client
            .events(&run, None)
            .await
            .expect("a stream")
            .until("text.delta")
            .await;
        runs.push(run);
    }
    assert_eq!(budget(&client).await["budget"]["held"]["calls"], 2);
    let server = server.kill().await.start().await;
    let client = server.client();
    let after = budget(&client).await;
    assert_eq!(after["budget"]["used"]["calls"], 2, "{after}");
    assert!(after["budget"]["used"]["tokens"].as_u64().unwrap() > 0, "{after}");

    let mut ends = Vec::new();
    for run in &runs {
        let run = client.run_when_ended(run).await;
        let code = run["error"]["code"].as_str().unwrap_or("none");
        ends.push(code.to_owned());
    }
    ends.sort();
    assert_eq!(ends, ["budget_exceeded", "none"]);
    assert_eq!(upstream.calls().await.len(), 3);
    let spent = budget(&client).await;
    assert_eq!(
        (&spent["budget"]["used"]["calls"], &spent["budget"]["held"]["calls"]),
        (&json!(3), &json!(0))
    );
    let usage = client.get("/api/v1/usage").await.expect_status(200);
    let calls: u64 = usage["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["calls"].as_u64().unwrap())
        .sum();
    assert_eq!(calls, 3, "{usage}");
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_tier_without_a_budget_has_none_to_top_up() {
    let server = Server::start("").await;
    let client = server.client();
    assert_eq!(budget(&client).await["budget"], Value::Null);
    let arguments = ["budgets", "top-up", "--account", "local", "--tokens", "5"];
    let output = server.site.run_to_end(&arguments).await;
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("local has no budget"), "{said}");
    let unknown = server
        .site
        .run_to_end(&["budgets", "show", "--account", "nobody"])
        .await;
    assert_eq!(unknown.status.code(), Some(2));
    server.finish().await;
}
