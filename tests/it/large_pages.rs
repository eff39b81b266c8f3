//! Pages of lists end when they are large, and join all the same.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Client, Server};

/// All entries of a list, and how many pages they took.
async fn walk(client: &Client, path: &str) -> (Vec<Value>, usize) {
    let (mut entries, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = client.get(&format!("{path}?limit=10{cursor}")).await.expect_status(200);
        let data = page["data"].as_array().unwrap();
        assert!(!data.is_empty(), "a page has one entry at least: {path}");
        entries.extend(data.clone());
        pages += 1;
        assert_eq!(page["has_more"], json!(page["next_cursor"].is_string()));
        let Some(next) = page["next_cursor"].as_str() else {
            return (entries, pages);
        };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn lists_of_large_entries_come_in_small_pages_and_miss_nothing() {
    let server = Server::start("[server]\nmax_page = \"1KB\"\n").await;
    let client = server.client();
    let large = "x".repeat(600);
    let made = client
        .post("/api/v1/agents", &json!({"name": "first", "instructions": large}))
        .await
        .expect_status(201);
    let path = format!("/api/v1/agents/{}", made["id"].as_str().unwrap());
    for number in 0..5 {
        let other = json!({"name": format!("agent-{number}"), "instructions": large});
        client.post("/api/v1/agents", &other).await.expect_status(201);
        let patch = json!({"description": format!("change {number}")});
        let patch = client.request(Method::PATCH, &path).json(&patch);
        Client::send(patch).await.unwrap().expect_status(200);
        let run = client
            .start_run(&json!({"input": "Go.", "metadata": {"large": "x".repeat(500)}}))
            .await;
        client.run_when_ended(&run).await;
    }
    for (list, expected) in [
        ("/api/v1/agents", 6),
        (&format!("{path}/versions"), 6),
        ("/api/v1/runs", 5),
    ] {
        let (entries, pages) = walk(&client, list).await;
        let mut names: Vec<String> = entries
            .iter()
            .map(|entry| format!("{} {}", entry["id"], entry["version"]))
            .collect();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), entries.len()), (expected, expected), "{list}");
        assert!(pages >= expected / 2, "{list} came in {pages} pages");
    }
    server.finish().await;
}

/// Each of more than the half of a full page.
#[tokio::test]
async fn items_come_in_pages_that_end_when_they_are_large() {
    let server = Server::start("[runs]\nmax_input = \"16MB\"\n[server]\nmax_body = \"16MB\"\n").await;
    let client = server.client();
    let text = "x".repeat(3_000_000);
    let input: Vec<Value> = (0..4).map(|_| json!({"role": "user", "content": text})).collect();
    let thread = client.post("/api/v1/threads", &json!({"items": input})).await;
    let thread = thread.expect_status(201)["id"].as_str().unwrap().to_owned();
    let run = client.start_run(&json!({"input": input})).await;
    client.run_when_ended(&run).await;
    for (list, expected) in [
        (format!("/api/v1/threads/{thread}/items"), 4_usize),
        (format!("/api/v1/runs/{run}/items"), 5),
    ] {
        let (entries, pages) = walk(&client, &list).await;
        assert_eq!((entries.len(), pages), (expected, expected.div_ceil(2)), "{list}");
    }
    server.finish().await;
}
