//! Rule 1 in a fleet: however many instances and parallel starts, an account never has more runs in `running` than its tier allows.

use std::collections::BTreeSet;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream;
use serde_json::{Value, json};

use crate::harness::{Client, TestFleet};
use crate::rig::Instance;

const LIMIT: usize = 7;
const STARTS: usize = 1000;
/// Requests under way at the same moment.
const AT_ONCE: usize = 200;

/// Counts, at each commit that moves a run, what is `running` then; the account's row is locked until the commit is done. What is over
/// the limit is written down.
const WATCH: [&str; 4] = [
    "CREATE TABLE watched (most bigint NOT NULL)",
    "INSERT INTO watched VALUES (0)",
    "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         UPDATE watched SET most = counted.running \
             FROM (SELECT count(*) AS running FROM runs WHERE state = 'running' AND account = NEW.account) AS counted \
             WHERE counted.running > watched.most; \
         RETURN NULL; END $$",
    "CREATE CONSTRAINT TRIGGER watch AFTER INSERT OR UPDATE ON runs DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch()",
];

fn settings() -> String {
    format!("[tiers.pro]\nconcurrent_runs = {LIMIT}\nqueued_runs = 0\nrequests_per_second = 0\n")
}

fn run(on_limit: &str, simulate: &Value) -> Value {
    json!({"input": "Go.", "on_limit": on_limit, "model_options": {"simulate": simulate}})
}

/// Their clients, each when its instance knows the key.
async fn clients(instances: &[&Instance], key: &str) -> Vec<Client> {
    let mut clients = Vec::new();
    for instance in instances {
        let client = instance.client_with(key).unwrap();
        crate::harness::until_some("the key to be known", || async {
            (client.get("/api/v1/runs").await.status == 200).then_some(())
        })
        .await;
        clients.push(client);
    }
    clients
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_parallel_starts_on_three_instances_seven_start() {
    let fleet = TestFleet::new(&settings()).await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let key = a.create_key("acme", "pro").await.unwrap();
    let clients = clients(&[&a, &b, &c], &key).await;
    let body = run("refuse", &json!({"fail": {"kind": "stall"}}));
    let replies: Vec<_> = stream::iter(0..STARTS)
        .map(|number| clients[number % clients.len()].try_start(&body))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (started, refused): (Vec<_>, Vec<_>) = replies.iter().partition(|reply| reply.status == 201);
    for reply in refused {
        let error = reply.expect_error(429, "quota_exceeded");
        assert_eq!(
            (&error["limit"], &error["queued"]),
            (&json!(LIMIT), &json!(0)),
            "{error}"
        );
    }
    let started: BTreeSet<String> = started
        .iter()
        .map(|reply| reply.json()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(started.len(), LIMIT);
    for client in &clients {
        let running = client.all_of("/api/v1/runs?state=running").await;
        let running: BTreeSet<String> = running
            .iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(running, started, "each instance says the same");
    }
    for (number, run) in started.iter().enumerate() {
        assert_eq!(clients[number % clients.len()].cancel(run).await["state"], "cancelled");
    }
    fleet.finish_as(&key, [a, b, c]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_queued_starts_on_two_instances_run_never_more_than_seven_at_once() {
    let fleet = TestFleet::new(&settings()).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let mut database = fleet.database().await;
    for statement in WATCH {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
    let key = a.create_key("acme", "pro").await.unwrap();
    let clients = clients(&[&a, &b], &key).await;
    let body = run("queue", &json!({"tokens": 2}));
    let runs: Vec<String> = stream::iter(0..STARTS)
        .map(|number| clients[number % clients.len()].start_run(&body))
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let ended = join_all(
        runs.iter()
            .enumerate()
            .map(|(number, run)| clients[number % clients.len()].run_when_ended(run)),
    )
    .await;
    for run in &ended {
        assert_eq!(run["state"], "completed", "{run}");
    }
    let most: i64 = sqlx::query_scalar("SELECT most FROM watched")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(most, LIMIT as i64, "the most runs that ran at the same moment");
    fleet.finish_as(&key, [a, b]).await;
}
