//! `HEAD` where there is `GET`.

use reqwest::Method;
use serde_json::json;

use crate::harness::{Client, Reply, Server};

#[tokio::test]
async fn what_answers_get_answers_head_with_the_same_head_and_nothing_behind_it() {
    let server = Server::start("").await;
    let client = server.client();
    let file = client.upload("a.txt", b"some text").await;
    let run = client.start_simulated(json!({"tokens": 2})).await;
    client.run_when_ended(&run).await;
    for path in [
        "/healthz",
        "/readyz",
        "/openapi.json",
        "/docs/",
        "/docs/swagger-initializer.js",
        "/api/v1/models",
        "/api/v1/runs?limit=1",
        &format!("/api/v1/runs/{run}"),
        &format!("/api/v1/runs/{run}/items"),
        &format!("/api/v1/runs/{run}/events"),
        &format!("/api/v1/files/{file}"),
        &format!("/api/v1/files/{file}/content"),
        "/api/v1/runs/nothing",
        "/nothing",
    ] {
        let with_content = client.get(path).await;
        let head = Client::send(client.request(Method::HEAD, path)).await.unwrap();
        assert_eq!(head.status, with_content.status, "{path}");
        for field in ["content-type", "transfer-encoding"] {
            assert_eq!(head.header(field), with_content.header(field), "{path}");
        }
        let length = |reply: &Reply| reply.header("content-length").map(str::to_owned);
        assert_eq!(length(&head), length(&with_content), "{path}");
        assert_eq!(head.text, "", "{path}");
    }
    let metrics = Client::send(client.request(Method::HEAD, "/metrics")).await.unwrap();
    assert_eq!((metrics.status.as_u16(), metrics.text.as_str()), (200, ""));
    // An event stream has no end that somebody would wait for.
    let endless = client.start_simulated(json!({"first_token_ms": 600_000})).await;
    let path = format!("/api/v1/runs/{endless}/events");
    let head = Client::send(client.request(Method::HEAD, &path)).await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    client.cancel(&endless).await;
    let path = format!("/api/v1/runs/{run}/cancel");
    let refused = Client::send(client.request(Method::HEAD, &path)).await.unwrap();
    assert_eq!(refused.status, 405);
    server.finish().await;
}
