//! Servers that want access tokens.

use std::sync::atomic::AtomicBool;

use super::*;

/// An authorization server whose tokens are numbered, `token-1` first. It says how long they last.
async fn authorization_server(expires_in: Value) -> WebServer {
    let given = AtomicU32::new(0);
    WebServer::start(move |_| {
        let number = given.fetch_add(1, Ordering::SeqCst) + 1;
        let mut token = json!({"access_token": format!("token-{number}"), "token_type": "Bearer"});
        token["expires_in"] = expires_in.clone();
        reply("200 OK", &[("content-type", "application/json")], token.to_string())
    })
    .await
}

fn client_of(authorization: &WebServer, authentication: ClientAuthentication) -> OauthClient {
    OauthClient {
        token_url: authorization.url("/token").parse().expect("a URL"),
        client_id: "callboard:1".to_owned(),
        client_secret: "SHOP".to_owned(),
        authentication,
        scopes: vec!["pay".to_owned(), "look".to_owned()],
        resource: "https://shop.example/mcp".to_owned(),
        audience: None,
    }
}

fn servers_of(shop: &WebServer, client: OauthClient) -> McpServers {
    let place = ServerPlace::Address {
        url: shop.url("/mcp").parse().expect("a URL"),
        headers: HeaderTemplates::default(),
        oauth: Some(Box::new(client)),
    };
    servers_with(place, RetryClass::Unsafe, &[], Duration::from_secs(10))
}

fn bearers(server: &WebServer) -> Vec<String> {
    let received = server.received().into_iter();
    let mut bearers: Vec<String> = received
        .map(|request| request.header("authorization").unwrap_or("none").to_owned())
        .collect();
    bearers.dedup();
    bearers
}

#[tokio::test]
async fn one_token_is_asked_for_as_the_configuration_says_and_used_until_it_is_old() {
    for (authentication, in_header) in [(ClientAuthentication::Basic, true), (ClientAuthentication::Post, false)] {
        let (shop, calls) = mcp_server(Manner::Json).await;
        let authorization = authorization_server(json!(3600)).await;
        let servers = servers_of(&shop, client_of(&authorization, authentication));
        let open = open(&servers, "acme", wish("shop", None, &[])).await;
        let paid = join_all((0..4).map(|_| call(&open, "shop__pay"))).await;
        assert!(paid.iter().all(Result::is_ok), "{paid:?}");
        servers.close(Duration::from_secs(5)).await;
        assert_eq!(calls.load(Ordering::SeqCst), 4);
        assert_eq!(bearers(&shop), ["Bearer token-1"]);
        let asked = authorization.received();
        assert_eq!(asked.len(), 1, "one for all requests");
        let body = asked[0].text();
        assert!(asked[0].line.starts_with("POST /token"), "{}", asked[0].line);
        assert!(body.contains("grant_type=client_credentials"), "{body}");
        assert!(
            body.contains("scope=pay+look") && body.contains("resource=https%3A%2F%2Fshop.example%2Fmcp"),
            "{body}"
        );
        assert_eq!(body.contains(TOKEN), !in_header);
        assert_eq!(
            asked[0]
                .header("authorization")
                .is_some_and(|said| said.starts_with("Basic ")),
            in_header
        );
    }
}

#[tokio::test]
async fn a_token_that_is_over_or_taken_back_is_replaced() {
    // Over at once.
    let (shop, _) = mcp_server(Manner::Json).await;
    let authorization = authorization_server(json!(0)).await;
    let servers = servers_of(&shop, client_of(&authorization, ClientAuthentication::Basic));
    open(&servers, "acme", wish("shop", None, &[])).await;
    servers.close(Duration::from_secs(5)).await;
    assert!(bearers(&shop).len() > 1, "{:?}", bearers(&shop));

    // Taken back before the call, which is made once all the same.
    let calls = Arc::new(AtomicU32::new(0));
    let (counted, is_known) = (calls.clone(), AtomicBool::new(true));
    let shop = WebServer::start(move |request: &Received| {
        let is_call = request.text().contains("tools/call");
        if is_call && is_known.swap(false, Ordering::SeqCst) || request.header("authorization").is_none() {
            return reply("401 Unauthorized", &[], "");
        }
        answer(Manner::Json, &counted, request)
    })
    .await;
    let authorization = authorization_server(Value::Null).await;
    let servers = servers_of(&shop, client_of(&authorization, ClientAuthentication::Basic));
    let open = open(&servers, "acme", wish("shop", None, &[])).await;
    assert_eq!(call(&open, "shop__pay").await, Ok("paid".to_owned()));
    servers.close(Duration::from_secs(5)).await;
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(bearers(&shop), ["Bearer token-1", "Bearer token-2"]);
}

#[tokio::test]
async fn without_a_token_the_server_is_missing_and_nothing_is_said_of_why_inside() {
    let json = [("content-type", "application/json")];
    for (status, body, reason) in [
        (
            "401 Unauthorized",
            r#"{"error": "invalid_client", "error_description": "hidden words"}"#,
            "no access token",
        ),
        ("200 OK", r#"{"hidden": "words"}"#, "no access token"),
        (
            "200 OK",
            r#"{"access_token": "hidden words\n", "token_type": "Bearer"}"#,
            "no access token",
        ),
        (
            "200 OK",
            r#"{"access_token": "x", "token_type": "mac"}"#,
            "no access token",
        ),
        ("500 Trouble", "<p>hidden words", "no access token"),
    ] {
        let (shop, _) = mcp_server(Manner::Json).await;
        let authorization = WebServer::start(move |_| reply(status, &json, body)).await;
        let servers = servers_of(&shop, client_of(&authorization, ClientAuthentication::Basic));
        let opened = open(&servers, "acme", wish("shop", None, &[])).await;
        let told = &opened.missing[0].reason;
        assert!(told.contains(reason) && !told.contains("hidden"), "{body}: {told}");
        servers.close(Duration::from_secs(5)).await;
        assert_eq!(shop.received().len(), 0, "nobody is asked without one");
    }
    let (shop, _) = mcp_server(Manner::Json).await;
    let authorization = authorization_server(Value::Null).await;
    let mut client = client_of(&authorization, ClientAuthentication::Basic);
    client.client_secret = "NONE".to_owned();
    let servers = servers_of(&shop, client);
    let opened = open(&servers, "acme", wish("shop", None, &[])).await;
    assert!(
        opened.missing[0].reason.contains("there is no secret"),
        "{:?}",
        opened.missing
    );
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_token_that_comes_back_is_not_shown() {
    let (shop, _) = mcp_server(Manner::Echo).await;
    let authorization = authorization_server(json!(3600)).await;
    let servers = servers_of(&shop, client_of(&authorization, ClientAuthentication::Basic));
    let open = open(&servers, "acme", wish("shop", None, &[])).await;
    let echoed = call(&open, "shop__pay").await.expect("it was called");
    assert!(
        echoed.contains("Bearer [secret]") && !echoed.contains("token-1"),
        "{echoed}"
    );
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_wait_and_not_asked_for_again_at_once() {
    let (shop, _) = mcp_server(Manner::Json).await;
    let authorization = WebServer::start(|_| reply("503 Trouble", &[], "")).await;
    let servers = servers_of(&shop, client_of(&authorization, ClientAuthentication::Basic));
    for _ in 0..3 {
        let opened = open(&servers, "acme", wish("shop", None, &[])).await;
        assert!(!opened.missing.is_empty());
    }
    servers.close(Duration::from_secs(5)).await;
    assert_eq!(authorization.received().len(), 1);
}

#[tokio::test]
async fn a_server_that_takes_no_token_does_not_cost_one_for_each_request() {
    let shop = WebServer::start(|_| reply("401 Unauthorized", &[], "")).await;
    let authorization = authorization_server(json!(3600)).await;
    let client = client_of(&authorization, ClientAuthentication::Basic);
    let servers = servers_of(&shop, client);
    for _ in 0..3 {
        let opened = open(&servers, "acme", wish("shop", None, &[])).await;
        assert!(!opened.missing.is_empty());
    }
    servers.close(Duration::from_secs(5)).await;
    assert_eq!(authorization.received().len(), 2, "one, and one instead of it");
}
