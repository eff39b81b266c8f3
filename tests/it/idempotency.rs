//! The same key and body is the same run, for parallel requests and across restarts; the same key with another body is refused.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Reply, Server, Upstream};

async fn post_with_key(client: &Client, key: &str, body: &Value) -> Reply {
    let request = client
        .request(Method::POST, "/api/v1/runs")
        .header("idempotency-key", key);
    Client::send(request.json(body)).await.unwrap()
}

#[tokio::test]
async fn one_key_is_one_run() {
    let upstream = Upstream::start().await;
    let server = Server::start(&upstream.settings()).await;
    let client = server.client();
    let body = json!({"input": "Only once.", "metadata": {"a": "1", "b": "2"}});
    let replies: Vec<Reply> = stream::iter(0..50)
        .map(|_| post_with_key(&client, "order-4711", &body))
        .buffer_unordered(50)
        .collect()
        .await;
    let ids: HashSet<String> = replies
        .iter()
        .map(|reply| reply.json()["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(replies.iter().filter(|reply| reply.status == 201).count(), 1);
    assert_eq!(
        replies
            .iter()
            .filter(|reply| reply.header("idempotent-replayed") == Some("true"))
            .count(),
        49
    );
    let id = ids.into_iter().next().unwrap();
    client.run_when_ended(&id).await;
    assert_eq!(upstream.calls().await.len(), 1, "the model was asked once");

    let other = json!({"input": "Something else."});
    post_with_key(&client, "order-4711", &other)
        .await
        .expect_error(409, "idempotency_conflict");

    let site = server.kill().await;
    let server = site.start().await;
    let again = post_with_key(&server.client(), "order-4711", &body).await;
    assert_eq!(again.expect_status(200)["id"], id.as_str());
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_even_where_a_new_run_would_be_refused() {
    let server = Server::start("[tiers.local]\nconcurrent_runs = 1\n").await;
    let client = server.client();
    let body =
        json!({"input": "Go.", "on_limit": "refuse", "model_options": {"simulate": {"fail": {"kind": "stall"}}}});
    let first = post_with_key(&client, "k1", &body).await.expect_status(201);
    post_with_key(&client, "k2", &body)
        .await
        .expect_error(429, "quota_exceeded");
    let again = post_with_key(&client, "k1", &body).await.expect_status(200);
    assert_eq!(again["id"], first["id"]);
    client.cancel(first["id"].as_str().unwrap()).await;
    server.finish().await;
}

#[tokio::test]
async fn a_repeat_is_answered_although_what_it_named_is_gone() {
    let server = Server::start("").await;
    let client = server.client();
    let agent = client
        .post("/api/v1/agents", &json!({"name": "helper"}))
        .await
        .expect_status(201);
    let thread = client.post("/api/v1/threads", &json!({})).await.expect_status(201);
    let [agent, thread] = [agent, thread].map(|made| made["id"].as_str().unwrap().to_owned());
    let runs = format!("/api/v1/threads/{thread}/runs");
    let body = json!({"input": "Go.", "agent": agent});
    let start = |key: &'static str| {
        let request = client.request(Method::POST, &runs).header("idempotency-key", key);
        Client::send(request.json(&body))
    };
    let first = start("k1").await.unwrap().expect_status(201);
    client.run_when_ended(first["id"].as_str().unwrap()).await;

    for path in [format!("/api/v1/agents/{agent}"), format!("/api/v1/threads/{thread}")] {
        let deleted = Client::send(client.request(Method::DELETE, &path)).await.unwrap();
        assert_eq!(deleted.status, 204, "{path}");
        let again = start("k1").await.unwrap().expect_status(200);
        assert_eq!(again["id"], first["id"]);
        assert!(
            start("k2").await.unwrap().status.is_client_error(),
            "a new run is refused"
        );
    }
    server.finish().await;
}
