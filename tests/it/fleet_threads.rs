//! Threads whose runs are on different instances: one after the other, interrupted from elsewhere, and through the death of an instance.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, TestFleet, until_some};
use crate::rig::Instance;

async fn new_thread(client: &Client) -> String {
    let thread = client.post("/api/v1/threads", &json!({})).await.expect_status(201);
    thread["id"].as_str().unwrap().to_owned()
}

fn saying(text: &str, on_busy: &str) -> Value {
    json!({"input": text, "on_busy": on_busy, "model_options": {"simulate": {"text": text}}})
}

/// A run that says two words and then nothing.
fn endless() -> Value {
    json!({"input": "Go.", "model_options": {"simulate": {"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}}}})
}

async fn started(client: &Client, thread: &str, body: &Value) -> String {
    let path = format!("/api/v1/threads/{thread}/runs");
    // Refused for a reason that passes, a client comes again.
    let run = until_some("a run to be taken", || async {
        let reply = client.post(&path, body).await;
        (reply.status != 503).then(|| reply.expect_status(201))
    })
    .await;
    run["id"].as_str().unwrap().to_owned()
}

fn client_of(instance: &Instance) -> Client {
    instance.client().unwrap()
}

/// Each run saw all that was said before it: each read more than the one before. (Times would not do: each is that of an instance when it
/// asked, not of the database when it answered.)
async fn check_order(client: &Client, thread: &str, runs: usize) {
    let items = client.all_of(&format!("/api/v1/threads/{thread}/items")).await;
    let mut order: Vec<&str> = items.iter().map(|item| item["run_id"].as_str().unwrap()).collect();
    order.dedup();
    assert_eq!(order.len(), runs, "{items:?}");
    let mut read = 0;
    for run in order {
        let run = client.run(run).await;
        let tokens = run["usage"]["input_tokens"].as_u64().unwrap();
        assert!(
            tokens > read,
            "it read {tokens} tokens, and the one before it {read}: {run}"
        );
        read = tokens;
    }
}

#[tokio::test]
async fn runs_of_a_thread_on_many_instances_go_one_after_the_other() {
    let fleet = TestFleet::new("").await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let clients = [client_of(&a), client_of(&b), client_of(&c)];
    let mut runs = Vec::new();
    let mut threads = Vec::new();
    for _ in 0..3 {
        let thread = new_thread(&clients[0]).await;
        threads.push(thread.clone());
        let body = json!({"input": "Go.", "on_busy": "queue", "model_options": {"simulate": {"tokens": 3, "first_token_ms": 20}}});
        let starts = (0..9).map(|number| {
            let (client, thread, body) = (&clients[number % 3], thread.clone(), body.clone());
            async move { started(client, &thread, &body).await }
        });
        runs.extend(join_all(starts).await);
    }
    for run in &runs {
        let run = clients[1].run_when_ended(run).await;
        assert_eq!(run["state"], "completed", "{run}");
    }
    for thread in &threads {
        check_order(&clients[2], thread, 9).await;
    }
    fleet.finish([a, b, c]).await;
}

#[tokio::test]
async fn a_run_is_interrupted_from_another_instance() {
    let fleet = TestFleet::new("").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let (here, there) = (client_of(&a), client_of(&b));
    for on_busy in ["interrupt", "replace"] {
        let thread = new_thread(&here).await;
        let active = started(&here, &thread, &endless()).await;
        let mut following = fleet.client().follower(&active).beginning_with("b").start();
        following.until_seen("text.delta").await.unwrap();
        let waiting = started(&there, &thread, &saying("waiting", "queue")).await;
        let refused = there
            .post(&format!("/api/v1/threads/{thread}/runs"), &saying("no", "refuse"))
            .await;
        assert_eq!(refused.expect_error(409, "thread_busy")["active_run"], active.as_str());
        let last = started(&there, &thread, &saying("last", on_busy)).await;
        assert_eq!(there.run_when_ended(&last).await["state"], "completed");
        for run in [&active, &waiting] {
            assert_eq!(here.run(run).await["state"], "cancelled");
        }
        fleet.check_ended(&following.ended().await.unwrap(), &[&a, &b]).await;
        let items = here.all_of(&format!("/api/v1/threads/{thread}/items")).await;
        let of_active = items.iter().filter(|item| item["run_id"] == active.as_str()).count();
        assert_eq!(of_active > 0, on_busy == "interrupt", "{items:?}");
    }
    fleet.finish([a, b]).await;
}

#[tokio::test]
async fn an_interruption_outlives_both_instances_that_knew_of_it() {
    let fleet = TestFleet::new("").await;
    let [mut a, mut b, c] = fleet.start(["a", "b", "c"]).await;
    let client = client_of(&c);
    let mut threads = Vec::new();
    for _ in 0..4 {
        let thread = new_thread(&client).await;
        let active = started(&client_of(&a), &thread, &endless()).await;
        let waiting = started(&client_of(&b), &thread, &saying("waiting", "queue")).await;
        threads.push((thread, active, waiting));
    }
    // The owner is gone before it hears of it, and so is the instance that was asked, a moment after its answer.
    a.kill().await.unwrap();
    let mut last = Vec::new();
    for (thread, ..) in &threads {
        last.push(started(&client_of(&b), thread, &saying("last", "interrupt")).await);
    }
    b.kill().await.unwrap();
    for ((_, active, waiting), last) in threads.iter().zip(&last) {
        assert_eq!(client.run_when_ended(last).await["state"], "completed");
        for run in [active, waiting] {
            assert_eq!(client.run(run).await["state"], "cancelled");
        }
    }
    fleet.finish([c]).await;
}
