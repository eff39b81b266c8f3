//! A search endpoint of a few lines, asked.

use super::*;
use std::sync::Arc;

use callboard_actors::ids::{AccountId, ItemId, RunId};
use tokio::runtime::Handle;

use crate::blocking::BlockingPool;
use crate::outbound::testing::{WebServer, outbound_to, reply};
use crate::secrets::{Secret, Secrets};

fn options(server: &WebServer) -> SearchOptions {
    SearchOptions {
        url: server.url("/search?q={{query}}&n={{count}}"),
        method: HttpMethod::Get,
        headers: [("X-Token".to_owned(), "{{secret:SEARCH}}".to_owned())].into(),
        body: None,
        results: "/web/results".to_owned(),
        title: "/title".to_owned(),
        link: "/url".to_owned(),
        snippet: "/meta/description".to_owned(),
        max_results: 2,
    }
}

fn reach(server: &WebServer) -> ToolReach {
    let secret = Secret {
        value: "hidden".into(),
        destinations: vec![format!("http://{}", server.address).parse().expect("a destination")],
        accounts: Some(std::collections::BTreeSet::new()),
    };
    ToolReach {
        outbound: outbound_to(&[server]),
        secrets: Arc::new(Secrets::new([("SEARCH".to_owned(), secret)])),
        blocking_pool: BlockingPool::new(Handle::current(), 1),
    }
}

async fn asked(search: &Search, queries: &[&str]) -> Result<Value, String> {
    let call = ToolCall {
        account: AccountId::local(),
        run_id: RunId::new(),
        item_id: ItemId::new(),
        arguments: json!({"queries": queries}),
    };
    let answer = search.call(call).await.map_err(|error| error.message)?;
    Ok(serde_json::from_str(&answer).expect("JSON"))
}

#[tokio::test]
async fn several_questions_are_asked_and_one_that_fails_takes_none_away() {
    let server = WebServer::start(|request| {
        if request.line.contains("broken") {
            return reply("400 Bad Request", &[], "what?");
        }
        let results = ["A", "B", "C"]
            .map(|title| json!({"title": title, "url": "https://x.example/", "meta": {"description": " d "}}));
        reply("200 OK", &[], json!({"web": {"results": results}}).to_string())
    })
    .await;
    let search = Search::new(options(&server), reach(&server)).expect("it can be asked");
    let found = asked(&search, &["rust & actix", "broken"]).await.expect("an answer");
    assert_eq!(found[0]["query"], "rust & actix");
    assert_eq!(found[0]["results"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        found[0]["results"][1],
        json!({"title": "B", "url": "https://x.example/", "snippet": "d"})
    );
    assert_eq!(found[1]["error"], "the server answered 400 Bad Request: what?");
    let received = server.received();
    assert!(
        received
            .iter()
            .any(|request| request.line == "GET /search?q=rust%20%26%20actix&n=2")
    );
    // Not even an account that may not use the secret itself keeps the server from using it, and one key for two questions would be wrong.
    assert!(
        received
            .iter()
            .all(|request| request.header("x-token") == Some("hidden") && request.header("idempotency-key").is_none())
    );
    assert!(asked(&search, &["broken"]).await.is_err());
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_told_by_key() {
    let server = WebServer::start(|_| reply("200 OK", &[], "<html>")).await;
    let good = options(&server);
    for (wrong, key) in [
        (
            SearchOptions {
                results: "web".into(),
                ..good.clone()
            },
            "results",
        ),
        (
            SearchOptions {
                url: "https://{{query}}/".into(),
                ..good.clone()
            },
            "url",
        ),
        (
            SearchOptions {
                url: server.url("/{{q}}"),
                ..good.clone()
            },
            "url",
        ),
        (
            SearchOptions {
                body: Some(json!({})),
                ..good.clone()
            },
            "body",
        ),
        (
            SearchOptions {
                headers: [("X".to_owned(), "{{secret:NONE}}".to_owned())].into(),
                ..good.clone()
            },
            "headers.X",
        ),
    ] {
        let told = Search::new(wrong, reach(&server)).map(drop).expect_err(key);
        assert_eq!(told.key, key, "{told}");
    }
    let search = Search::new(good, reach(&server)).expect("it can be asked");
    let error = asked(&search, &["x"]).await.expect_err("no JSON");
    assert_eq!(error, "the search endpoint did not answer with JSON");
}
