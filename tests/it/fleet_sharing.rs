//! Which instance a client talks to makes no difference.

use std::time::Instant;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, TestFleet, Upstream, until_some};
use crate::rig::Instance;

/// A run that says two words and then nothing.
fn endless() -> Value {
    json!({"input": "Go.", "model_options": {"simulate": {"text": "a b c", "fail": {"kind": "stall", "after_tokens": 2}}}})
}

async fn permits_in_use(instance: &Instance) -> u64 {
    let capacity = instance
        .client()
        .unwrap()
        .get("/api/v1/capacity")
        .await
        .expect_status(200);
    capacity["permits"]["in_use"].as_u64().unwrap()
}

#[tokio::test]
async fn started_on_one_streamed_from_another_cancelled_on_a_third() {
    let fleet = TestFleet::new("").await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let mut followings = fleet.followed_elsewhere(5, &endless(), &a, &[&b]).await;
    assert_eq!(permits_in_use(&a).await, 5, "where it is started it runs");
    let mut longest = std::time::Duration::ZERO;
    for following in &mut followings {
        let run = following.so_far().run;
        let asked = Instant::now();
        let cancelled = c.client().unwrap().cancel(&run).await;
        assert_eq!(cancelled["state"], "cancelled", "{cancelled}");
        following.until_seen("run.cancelled").await.unwrap();
        longest = longest.max(asked.elapsed());
    }
    println!("from the cancel on one instance to its event on another: {longest:?} at most");
    for following in followings {
        let followed = following.ended().await.unwrap();
        let run = fleet.check_ended(&followed, &[&a, &b, &c]).await;
        let items = fleet.client().items(&followed.run).await.unwrap();
        let cut_off = items.last().unwrap();
        assert_eq!(cut_off["status"], "incomplete", "what was shown is kept: {items:?}");
        assert_eq!(
            a.client().unwrap().cancel(&followed.run).await,
            run,
            "the second changes nothing"
        );
    }
    fleet.finish([a, b, c]).await;
}

#[tokio::test]
async fn a_run_waits_on_full_instances_and_starts_where_a_permit_is_free() {
    let fleet = TestFleet::new("[capacity]\nmax_concurrent_runs = 1\n").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let client = a.client().unwrap();
    let first = client.start_run(&endless()).await;
    // a is full now, and b is not.
    let second = client.start_run(&endless()).await;
    let mut following = fleet.client().follower(&second).beginning_with("a").start();
    following.until_seen("run.started").await.unwrap();
    assert!(following.so_far().has("run.queued"), "{:?}", following.so_far());
    until_some("it to be b's", || async {
        (permits_in_use(&b).await == 1).then_some(())
    })
    .await;
    // Both are full. What comes now starts where a Permit comes back.
    let third = client.start_run(&endless()).await;
    assert_eq!(client.run(&third).await["state"], "queued");
    let mut waiting = fleet.client().follower(&third).beginning_with("a").start();
    waiting.until_seen("run.queued").await.unwrap();
    b.client().unwrap().cancel(&second).await;
    waiting.until_seen("text.delta").await.unwrap();
    assert_eq!((permits_in_use(&a).await, permits_in_use(&b).await), (1, 1));
    for run in [&first, &third] {
        client.cancel(run).await;
    }
    for following in [following, waiting] {
        fleet.check_ended(&following.ended().await.unwrap(), &[&a, &b]).await;
    }
    fleet.finish([a, b]).await;
}

#[tokio::test]
async fn who_follows_where_a_call_was_answered_sees_what_another_instance_makes_of_the_answer() {
    let fleet = TestFleet::new("[capacity]\nmax_concurrent_runs = 1\n").await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let (here, there) = (a.client().unwrap(), b.client().unwrap());
    // The answer is taken where there is no Permit, so that the other one goes on with the run.
    let busy = there.start_run(&endless()).await;
    let asking = json!({
        "input": "Go.",
        "tools": [{"type": "client", "name": "ask_user", "description": "Asks the user.", "parameters": {"type": "object"}}],
        "model_options": {"simulate": {"tool_calls": [{"name": "ask_user"}], "text": "Done."}}
    });
    let run = here.start_run(&asking).await;
    let mut following = fleet.client().follower(&run).beginning_with("b").start();
    following.until_seen("run.waiting").await.unwrap();
    let call = here.run(&run).await["waiting_calls"][0]["call_id"].clone();
    let said = json!({"outputs": [{"call_id": call, "output": "yes"}]});
    let answered = there.post(&format!("/api/v1/runs/{run}/tool_outputs"), &said).await;
    answered.expect_status(200);
    following.until_seen("run.completed").await.unwrap();
    there.cancel(&busy).await;
    fleet.check_ended(&following.ended().await.unwrap(), &[&a, &b]).await;
    fleet.finish([a, b]).await;
}

async fn post_with_key(client: &Client, key: &str, body: &Value) -> Reply {
    let request = client
        .request(Method::POST, "/api/v1/runs")
        .header("idempotency-key", key);
    Client::send(request.json(body)).await.unwrap()
}

#[tokio::test]
async fn one_idempotency_key_on_two_instances_at_once_is_one_run() {
    let upstream = Upstream::start().await;
    let fleet = TestFleet::new(&upstream.settings()).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let clients = [a.client().unwrap(), b.client().unwrap()];
    let body = json!({"input": "Only once."});
    for key in ["order-1", "order-2", "order-3"] {
        let posts = (0..40).map(|number| post_with_key(&clients[number % 2], key, &body));
        let replies = join_all(posts).await;
        let first = replies.iter().filter(|reply| reply.status == 201).count();
        assert_eq!(first, 1, "{replies:#?}");
        for reply in &replies {
            assert_eq!(reply.json()["id"], replies[0].json()["id"]);
        }
        let run = replies[0].json()["id"].as_str().unwrap().to_owned();
        fleet.client().run_when_ended(&run).await.unwrap();
        let other = json!({"input": "Something else."});
        for client in &clients {
            post_with_key(client, key, &other)
                .await
                .expect_error(409, "idempotency_conflict");
        }
    }
    assert_eq!(upstream.calls().await.len(), 3, "the model was asked once for each key");
    fleet.finish([a, b]).await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_key_that_is_revoked_is_refused_everywhere() {
    let fleet = TestFleet::new("").await;
    let [a, b, c] = fleet.start(["a", "b", "c"]).await;
    let kept = a.create_key("acme", "pro").await.unwrap();
    let revoked = a.create_key("acme", "pro").await.unwrap();
    let instances = [&a, &b, &c];
    for instance in instances {
        let client = instance.client_with(&revoked).unwrap();
        until_some("the key to be known", || async {
            (client.get("/api/v1/runs").await.status == 200).then_some(())
        })
        .await;
    }
    let listed = a.command(&["keys", "list", "--json"]).await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let id = listed["data"][1]["id"].as_str().unwrap();
    let output = b.command(&["keys", "revoke", id]).await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let at = Instant::now();
    for instance in instances {
        let client = instance.client_with(&revoked).unwrap();
        let refusal = until_some("the key to be refused", || async {
            let reply = client.get("/api/v1/runs").await;
            (reply.status != 200).then_some(reply)
        })
        .await;
        refusal.expect_error(401, "revoked_api_key");
    }
    println!("from the revocation to the last instance's refusal: {:?}", at.elapsed());
    for instance in instances {
        instance
            .client_with(&kept)
            .unwrap()
            .get("/api/v1/runs")
            .await
            .expect_status(200);
    }
    fleet.finish_as(&kept, [a, b, c]).await;
}
