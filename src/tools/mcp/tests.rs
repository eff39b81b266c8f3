//! Servers over HTTP that misbehave, and who may reach them with which secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use callboard_actors::ids::{AccountId, ItemId, RunId};
use callboard_actors::ports::toolbox::{AnsweredBy, OpenTools};
use callboard_actors::ports::{RetryClass, ToolCall, ToolError};
use callboard_actors::tool_use::McpToolUse;
use serde_json::{Value, json};
use tokio::runtime::Handle;

mod changed_tools;
mod oauth;

use super::*;
use crate::blocking::BlockingPool;
use crate::outbound::testing::{Received, Reply, WebServer, options, outbound_to, reply};
use crate::secrets::{Secret, Secrets};

const TOKEN: &str = "never-to-be-seen";

/// What a server does when a tool is called.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    Json,
    Events,
    LargeJson,
    LargeEvent,
    Status(u16),
    HangUp,
    Silence,
    /// The session of the first call has expired.
    ForgetsOnce,
    Html,
    /// Says again what it was sent, in a result or in an error.
    Echo,
    EchoInError,
}

/// A server whose calls are counted.
async fn mcp_server(manner: Manner) -> (WebServer, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let server = WebServer::start(move |request: &Received| answer(manner, &counted, request)).await;
    (server, calls)
}

fn answer(manner: Manner, calls: &AtomicU32, request: &Received) -> Reply {
    if !request.line.starts_with("POST") {
        return reply("405 Method Not Allowed", &[], "");
    }
    let message: Value = serde_json::from_slice(&request.body).expect("JSON");
    let json = [("content-type", "application/json"), ("mcp-session-id", "session-1")];
    let says = |result: Value| {
        let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": result}).to_string();
        reply("200 OK", &json, body)
    };
    match message["method"].as_str().expect("a method") {
        "initialize" => says(json!({
            "protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "test", "version": "1"}
        })),
        "tools/list" => says(json!({"tools": [{"name": "pay", "inputSchema": {"type": "object"}}]})),
        "tools/call" => {
            let number = calls.fetch_add(1, Ordering::SeqCst);
            let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
            let event = |text: &str| {
                let body = json!({"jsonrpc": "2.0", "id": message["id"], "result": {"content": [{"type": "text", "text": text}]}});
                let stream = format!(": hello\n\ndata: \n\nevent: message\ndata: {body}\n\n");
                reply("200 OK", &[("content-type", "text/event-stream")], stream)
            };
            match manner {
                Manner::ForgetsOnce if number == 0 => reply("404 Not Found", &[], ""),
                Manner::Json | Manner::ForgetsOnce => says(text("paid")),
                Manner::Events => event("paid"),
                Manner::LargeJson => says(text(&"x".repeat(50_000))),
                Manner::LargeEvent => event(&"x".repeat(50_000)),
                Manner::Status(status) => reply(&format!("{status} Trouble"), &[], "secret words of the server"),
                Manner::HangUp => Reply::HangUp,
                Manner::Silence => Reply::Silence,
                Manner::Echo => says(text(&format!("you sent {:?}", request.headers))),
                Manner::EchoInError => {
                    // What is quoted ends within the secret.
                    let said = format!("{}{TOKEN}", "x".repeat(1995));
                    let error = json!({"code": -32000, "message": said});
                    let body = json!({"jsonrpc": "2.0", "id": message["id"], "error": error});
                    reply("200 OK", &json, body.to_string())
                }
                Manner::Html => reply("200 OK", &[("content-type", "text/html")], "<p>"),
            }
        }
        _ => reply("202 Accepted", &[], ""),
    }
}

fn settings(retry: RetryClass) -> McpServerSettings {
    McpServerSettings {
        setup_timeout: Duration::from_secs(5),
        call_timeout: Duration::from_millis(300),
        idle_timeout: None,
        max_concurrent: 4,
        retry,
        trust_annotations: false,
    }
}

/// One server of the configuration, `shop`, and what clients may reach.
fn servers(shop: &WebServer, retry: RetryClass, reachable: &[&WebServer]) -> McpServers {
    servers_for(shop, retry, reachable, Duration::from_secs(10))
}

/// The same, where a call may take no longer than this.
fn servers_for(shop: &WebServer, retry: RetryClass, reachable: &[&WebServer], longest_call: Duration) -> McpServers {
    let headers = [("Authorization".to_owned(), "Bearer {{secret:SHOP}}".to_owned())];
    let place = ServerPlace::Address {
        url: shop.url("/mcp").parse().expect("a URL"),
        headers: HeaderTemplates::parse(&headers.into()).expect("headers"),
        oauth: None,
    };
    servers_with(place, retry, reachable, longest_call)
}

/// The same, with `shop` there.
fn servers_with(place: ServerPlace, retry: RetryClass, reachable: &[&WebServer], longest_call: Duration) -> McpServers {
    let secret = |accounts: Option<&str>| Secret {
        value: TOKEN.into(),
        destinations: vec!["http://127.0.0.1:*".parse().expect("a destination")],
        accounts: accounts.map(|account| [account.parse().expect("an account")].into()),
    };
    let secrets = [
        ("SHOP".to_owned(), secret(None)),
        ("ACME".to_owned(), secret(Some("acme"))),
    ];
    let reach = ToolReach {
        outbound: outbound_to(reachable),
        secrets: Arc::new(Secrets::new(secrets)),
        blocking_pool: BlockingPool::new(Handle::current(), 2),
    };
    let options = McpOptions {
        servers: vec![McpServerOptions {
            name: "shop".to_owned(),
            place,
            settings: settings(retry),
            in_every_run: false,
            accounts: None,
        }],
        usual: settings(RetryClass::Unsafe),
        bounds: McpBounds {
            max_message: 10_000,
            max_tools: 10,
            max_description: 100,
            max_schema: 1000,
            longest_call,
        },
        max_client_servers: 3,
        outbound: options(&["127.0.0.0/8".to_owned()]),
    };
    McpServers::new(options, reach, Handle::current()).expect("servers")
}

fn account(name: &str) -> AccountId {
    name.parse().expect("an account")
}

fn wish(server: &str, url: Option<String>, headers: &[(&str, &str)]) -> McpToolUse {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    McpToolUse {
        server: server.to_owned(),
        url,
        headers: headers.iter().map(owned).collect(),
        allowed_tools: None,
        requires_approval: false,
    }
}

async fn open(servers: &McpServers, whose: &str, wish: McpToolUse) -> OpenTools {
    let mut open = OpenTools::default();
    servers.open(&account(whose), &[wish], &mut open).await;
    open
}

async fn call(open: &OpenTools, tool: &str) -> Result<String, ToolError> {
    let AnsweredBy::Server(tool) = &open.tools[tool].answered_by else {
        panic!("a server's tool")
    };
    let call = ToolCall {
        account: account("acme"),
        run_id: RunId::new(),
        item_id: ItemId::new(),
        arguments: json!({}),
    };
    tool.call(call).await
}

async fn pay(manner: Manner, retry: RetryClass) -> (Result<String, String>, u32) {
    let (shop, calls) = mcp_server(manner).await;
    let servers = servers(&shop, retry, &[]);
    let open = open(&servers, "acme", wish("shop", None, &[])).await;
    let result = call(&open, "shop__pay").await.map_err(|error| error.message);
    servers.close(Duration::from_secs(5)).await;
    (result, calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn nobody_takes_the_name_of_a_server_of_the_configuration() {
    let (shop, _) = mcp_server(Manner::Json).await;
    let servers = servers(&shop, RetryClass::Unsafe, &[&shop]);
    let check = |name: &str| servers.check(&account("acme"), &wish(name, Some(shop.url("/mcp")), &[]), 0);
    assert_eq!(check("other"), Ok(()));
    let refused = check("shop").expect_err("it is the configuration's");
    assert_eq!(refused.field.as_deref(), Some("server"));
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_answer_comes_as_json_or_as_events() {
    for manner in [Manner::Json, Manner::Events] {
        assert_eq!(
            pay(manner, RetryClass::Unsafe).await,
            (Ok("paid".to_owned()), 1),
            "{manner:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_known_is_said_so_and_not_repeated_unless_it_is_safe() {
    for manner in [Manner::Status(500), Manner::HangUp, Manner::Html] {
        let (result, calls) = pay(manner, RetryClass::Unsafe).await;
        let said = result.expect_err("no result");
        assert!(
            said.contains("not known whether the call was done"),
            "{manner:?}: {said}"
        );
        assert!(!said.contains("secret words") && !said.contains("127.0.0.1"), "{said}");
        assert_eq!(calls, 1, "{manner:?}");
        let (result, calls) = pay(manner, RetryClass::Safe).await;
        assert_eq!((result.is_err(), calls), (true, 2), "{manner:?}");
    }
    let (result, calls) = pay(Manner::Silence, RetryClass::Safe).await;
    let said = result.expect_err("no result");
    assert!(said.contains("did not answer within 300ms"), "{said}");
    assert_eq!(calls, 1, "what is slow is not asked twice");
}

#[tokio::test]
async fn what_was_certainly_not_done_is_tried_once_more_or_told() {
    assert_eq!(
        pay(Manner::ForgetsOnce, RetryClass::Unsafe).await,
        (Ok("paid".to_owned()), 2)
    );
    let (result, calls) = pay(Manner::Status(403), RetryClass::Safe).await;
    let said = result.expect_err("no result");
    assert!(said.contains("HTTP status 403") && calls == 1, "{said}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_read() {
    for manner in [Manner::LargeJson, Manner::LargeEvent] {
        let (result, calls) = pay(manner, RetryClass::Safe).await;
        let said = result.expect_err("no result");
        assert!(
            said.contains("its answer is too large") && calls == 1,
            "{manner:?}: {said}"
        );
    }
}

#[tokio::test]
async fn secrets_go_along_and_sessions_and_nothing_shows_them() {
    let (shop, _) = mcp_server(Manner::Json).await;
    let servers = servers(&shop, RetryClass::Unsafe, &[]);
    let open = open(&servers, "acme", wish("shop", None, &[])).await;
    call(&open, "shop__pay").await.expect("a result");
    servers.close(Duration::from_secs(5)).await;
    let received = shop.received();
    let bearer = format!("Bearer {TOKEN}");
    for request in &received {
        assert_eq!(
            request.header("authorization"),
            Some(bearer.as_str()),
            "{}",
            request.line
        );
    }
    let calls = received.iter().filter(|request| request.text().contains("tools/call"));
    let sessions: Vec<_> = calls.map(|request| request.header("mcp-session-id")).collect();
    assert_eq!(sessions, [Some("session-1")]);
    let ended = received.iter().any(|request| request.line.starts_with("DELETE"));
    assert!(ended, "the session is given back");
}

#[tokio::test]
async fn a_client_reaches_what_is_allowed_with_the_secrets_of_its_account() {
    let (shop, _) = mcp_server(Manner::Json).await;
    let (allowed, _) = mcp_server(Manner::Json).await;
    let servers = servers(&shop, RetryClass::Unsafe, &[&allowed]);
    let own = |headers: &[(&str, &str)]| wish("own", Some(allowed.url("/mcp")), headers);
    let with_acme = own(&[("x-key", "{{secret:ACME}}")]);
    assert_eq!(servers.check(&account("acme"), &with_acme, 0), Ok(()));
    let refused = servers.check(&account("other"), &with_acme, 3).expect_err("not theirs");
    assert_eq!((refused.index, refused.field.as_deref()), (3, Some("headers.x-key")));
    assert!(
        servers
            .check(&account("acme"), &wish("own", Some(shop.url("/mcp")), &[]), 0)
            .is_err()
    );

    let opened = open(&servers, "acme", with_acme.clone()).await;
    assert_eq!(call(&opened, "own__pay").await, Ok("paid".to_owned()));
    let received = allowed.received();
    assert!(received.iter().all(|request| request.header("x-key") == Some(TOKEN)));
    let initialized = |server: &WebServer| {
        let received = server.received();
        received
            .iter()
            .filter(|request| request.text().contains("\"initialize\""))
            .count()
    };
    // Another run of the account shares the server, another account does not, whatever it says.
    open(&servers, "acme", with_acme).await;
    assert_eq!(initialized(&allowed), 1);
    let stolen = open(&servers, "other", own(&[("x-key", "{{secret:ACME}}")])).await;
    assert!(
        stolen.missing[0].reason.contains("there is no secret `ACME` here"),
        "{:?}",
        stolen.missing
    );
    assert_eq!(initialized(&allowed), 1);
    // A name is looked up only now, and leads inside.
    let inside = format!("http://localhost:{}/mcp", shop.address.port());
    let (of_own, of_inside) = (own(&[]), wish("inside", Some(inside), &[]));
    let crowded = open(&servers, "acme", of_inside).await;
    assert_eq!(crowded.missing[0].reason, "this address cannot be reached from here");
    assert_eq!(initialized(&shop), 0);
    // There is room for three: those that nothing runs of make place.
    assert_eq!(open(&servers, "third", of_own.clone()).await.missing, []);
    assert_eq!(open(&servers, "fourth", of_own.clone()).await.missing, []);
    let full = open(&servers, "fifth", of_own).await;
    assert_eq!(full.missing[0].reason, "too many MCP servers are in use");
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_account_does_not_take_the_places_of_all() {
    let (shop, _) = mcp_server(Manner::Json).await;
    let (allowed, _) = mcp_server(Manner::Json).await;
    let servers = servers(&shop, RetryClass::Unsafe, &[&allowed]);
    let numbered = |number: &str| wish("own", Some(allowed.url("/mcp")), &[("x-number", number)]);
    for number in ["1", "2"] {
        assert_eq!(open(&servers, "greedy", numbered(number)).await.missing, []);
    }
    // A place is left, and it is for somebody else.
    let third = open(&servers, "greedy", numbered("3")).await;
    assert_eq!(third.missing[0].reason, "too many MCP servers are in use");
    assert_eq!(open(&servers, "modest", numbered("1")).await.missing, []);
    assert_eq!(
        open(&servers, "greedy", numbered("2")).await.missing,
        [],
        "what it has it keeps"
    );
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_server_that_says_a_secret_again_does_not_give_it_away() {
    let (echoed, _) = pay(Manner::Echo, RetryClass::Unsafe).await;
    let echoed = echoed.expect("a result");
    assert!(
        echoed.contains("Bearer [secret]") && !echoed.contains(TOKEN),
        "{echoed}"
    );
    let (refused, _) = pay(Manner::EchoInError, RetryClass::Unsafe).await;
    let refused = refused.expect_err("refused");
    assert!(refused.ends_with("xx[secr"), "{refused}");
}

#[tokio::test]
async fn a_call_whose_time_is_over_before_it_is_sent_is_not_sent() {
    let (shop, calls) = mcp_server(Manner::Json).await;
    let servers = servers_for(&shop, RetryClass::Unsafe, &[], Duration::ZERO);
    let open = open(&servers, "acme", wish("shop", None, &[])).await;
    let said = call(&open, "shop__pay").await.expect_err("no time is left").message;
    assert!(said.ends_with("; the call was not made"), "{said}");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    servers.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_server_that_turns_us_away_is_missing() {
    let server = WebServer::start(|_| reply("401 Unauthorized", &[("www-authenticate", "Bearer")], "go away")).await;
    let servers = servers(&server, RetryClass::Unsafe, &[]);
    let opened = open(&servers, "acme", wish("shop", None, &[])).await;
    assert_eq!(opened.missing[0].reason, "it answered with the HTTP status 401");
    servers.close(Duration::from_secs(5)).await;
    let closed = open(&servers, "acme", wish("shop", None, &[])).await;
    assert_eq!(closed.missing[0].reason, "this server is being stopped");
}
