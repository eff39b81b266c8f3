//! Declared tools on real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use callboard_actors::ids::{ItemId, RunId};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::runtime::Handle;

use super::*;
use crate::blocking::BlockingPool;
use crate::outbound::testing::{Received, Reply, WebServer, outbound_to, reply};
use crate::secrets::{Secret, Secrets};

const TIMEOUT: Duration = Duration::from_secs(30);

fn acme() -> AccountId {
    "acme".parse().expect("an account")
}

/// Reaches these servers; secrets may go to the first of them.
fn reach(servers: &[&WebServer]) -> ToolReach {
    let secret = |value: &str| Secret {
        value: value.into(),
        destinations: vec![format!("http://{}", servers[0].address).parse().expect("a destination")],
        accounts: Some([acme()].into()),
    };
    ToolReach {
        outbound: outbound_to(servers),
        secrets: Arc::new(Secrets::new([
            ("TOKEN".to_owned(), secret("hidden-token")),
            ("SIGNING".to_owned(), secret("whsec_c2lnbmluZyBrZXk=")),
        ])),
        blocking_pool: BlockingPool::new(Handle::current(), 2),
    }
}

fn declaration(tool: Value) -> HttpDeclaration {
    let mut whole = json!({"name": "tool", "parameters": {"type": "object"}});
    whole
        .as_object_mut()
        .expect("an object")
        .extend(tool.as_object().expect("an object").clone());
    let tool = serde_json::from_value(whole).expect("a tool");
    HttpDeclaration::parse(&tool, TIMEOUT).expect("a good tool")
}

fn tool(tool: Value, reach: &ToolReach) -> DeclaredHttpTool {
    let declaration = declaration(tool);
    declaration.check_for(&acme(), reach).expect("acme may");
    DeclaredHttpTool::new(Arc::new(declaration), &acme(), &Places::default(), reach)
}

fn call(arguments: Value) -> ToolCall {
    ToolCall {
        account: acme(),
        run_id: RunId::new(),
        item_id: ItemId::new(),
        arguments,
    }
}

async fn called(declared: Value, reach: &ToolReach, arguments: Value) -> Result<String, String> {
    let answer = tool(declared, reach).call(call(arguments)).await;
    answer.map_err(|error| error.message)
}

#[tokio::test]
async fn arguments_and_secrets_stand_where_the_declaration_says() {
    let server =
        WebServer::start(|_| reply("200 OK", &[("content-type", "application/json")], r#"{"ok": [1, 2]}"#)).await;
    let declared = json!({
        "parameters": {"type": "object", "properties": {"id": {}, "q": {}, "note": {}, "tags": {}, "lang": {}}},
        "url": server.url("/users/{{id}}?q={{q}}"), "method": "PUT",
        "headers": {"Authorization": "Bearer {{secret:TOKEN}}", "Accept-Language": "{{lang}}", "X-Note": "n: {{note}}"},
        "body": {"tags": "{{tags}}", "text": "about {{id}}"}, "response_pointer": "/ok/1",
    });
    let arguments = json!({"id": "a/b", "q": "x y", "note": "{{secret:TOKEN}}", "tags": ["t"]});
    let wanted = call(arguments);
    let reach = reach(&[&server]);
    let answer = tool(declared, &reach).call(wanted.clone()).await;
    assert_eq!(answer.as_deref(), Ok("2"));
    let received = &server.received()[0];
    assert_eq!(received.line, "PUT /users/a%2Fb?q=x%20y");
    assert_eq!(received.header("authorization"), Some("Bearer hidden-token"));
    assert_eq!(received.header("accept-language"), None);
    // What an argument says is text, whatever it looks like.
    assert_eq!(received.header("x-note"), Some("n: {{secret:TOKEN}}"));
    assert_eq!(received.header("content-type"), Some("application/json"));
    let key = format!("{}/{}", wanted.run_id, wanted.item_id);
    assert_eq!(received.header("idempotency-key"), Some(key.as_str()));
    let body: Value = serde_json::from_slice(&received.body).expect("JSON");
    assert_eq!(body, json!({"tags": ["t"], "text": "about a/b"}));
}

#[tokio::test]
async fn arguments_without_a_place_go_into_the_query_or_the_body() {
    let server = WebServer::start(|_| reply("200 OK", &[], "")).await;
    let reach = reach(&[&server]);
    let parameters = json!({"type": "object", "properties": {"id": {}}});
    for method in ["GET", "POST"] {
        let declared = json!({"parameters": parameters, "url": server.url("/{{id}}?fixed=1"), "method": method});
        let arguments = json!({"id": 7, "a": "x&y", "b": [1, 2], "c": {"d": null}, "e": null});
        let answer = called(declared, &reach, arguments).await;
        assert_eq!(answer.as_deref(), Ok("the server answered 200 OK and nothing else"));
    }
    let form = json!({"url": server.url("/form"), "headers": {"Content-Type": "application/x-www-form-urlencoded"}});
    assert!(called(form, &reach, json!({"a": "1 2"})).await.is_ok());
    let received = server.received();
    let lines: Vec<&str> = received.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "GET /7?fixed=1&a=x%26y&b=1&b=2&c=%7B%22d%22%3Anull%7D",
            "POST /7?fixed=1",
            "POST /form"
        ]
    );
    assert_eq!(received[0].body.len(), 0);
    let body: Value = serde_json::from_slice(&received[1].body).expect("JSON");
    assert_eq!(body, json!({"a": "x&y", "b": [1, 2], "c": {"d": null}, "e": null}));
    assert_eq!(received[2].text(), "a=1+2");
    assert_eq!(
        received[2].header("content-type"),
        Some("application/x-www-form-urlencoded")
    );
}

#[tokio::test]
async fn no_header_can_be_smuggled_in() {
    let server = WebServer::start(|_| reply("200 OK", &[], "x")).await;
    let declared = json!({
        "parameters": {"type": "object", "properties": {"v": {}}},
        "url": server.url("/"), "headers": {"X-Value": "{{v}}"},
    });
    let reach = reach(&[&server]);
    for value in ["a\r\nX-Evil: 1", "a\nb", "a\0b", &"x".repeat(9000)] {
        let error = called(declared.clone(), &reach, json!({"v": value}))
            .await
            .expect_err("not sent");
        assert!(error.starts_with("the header X-Value: the value has"), "{error}");
    }
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn the_receiver_can_verify_the_signature() {
    let server = WebServer::start(|_| reply("200 OK", &[], "x")).await;
    let declared = json!({"url": server.url("/hook"), "signing_secret": "SIGNING", "retry": "idempotent"});
    called(declared, &reach(&[&server]), json!({"a": "ä"}))
        .await
        .expect("an answer");
    let received = &server.received()[0];
    let field = |name: &str| received.header(name).expect(name);
    assert_eq!(field("webhook-id"), field("idempotency-key"));
    let sent_at: i64 = field("webhook-timestamp").parse().expect("a number");
    assert!((Timestamp::now().as_micros() / 1_000_000 - sent_at).abs() <= 60);
    let mut mac = Hmac::<Sha256>::new_from_slice(b"signing key").expect("a key");
    mac.update(format!("{}.{sent_at}.{}", field("webhook-id"), received.text()).as_bytes());
    let signature = field("webhook-signature").strip_prefix("v1,").expect("version 1");
    let signature = base64::engine::general_purpose::STANDARD
        .decode(signature)
        .expect("base64");
    assert!(mac.verify_slice(&signature).is_ok());
}

#[tokio::test]
async fn a_secret_goes_nowhere_else_and_does_not_come_back() {
    let other = WebServer::start(|request| reply("200 OK", &[], format!("{:?}", request.headers))).await;
    let elsewhere = other.url("/");
    let server = WebServer::start(move |request| match request.line.as_str() {
        "POST /moved" => reply("303 See Other", &[("location", &elsewhere)], ""),
        "POST /echo" => reply("200 OK", &[], format!("{:?}", request.headers)),
        _ => reply("401 Unauthorized", &[], format!("no: {:?}", request.headers)),
    })
    .await;
    let reach = reach(&[&server, &other]);
    let headers = json!({"Authorization": "Bearer {{secret:TOKEN}}", "X-Api-Key": "{{secret:TOKEN}}", "X-Own": "1", "Accept-Language": "uk"});
    let declared = |url: String| json!({"url": url, "headers": headers, "signing_secret": "SIGNING"});

    let echoed = called(declared(server.url("/echo")), &reach, json!({}))
        .await
        .expect("an answer");
    assert!(
        echoed.contains("Bearer [secret]") && !echoed.contains("hidden-token"),
        "{echoed}"
    );
    let refused = called(declared(server.url("/refused")), &reach, json!({}))
        .await
        .expect_err("refused");
    assert!(
        refused.contains("[secret]") && !refused.contains("hidden-token"),
        "{refused}"
    );

    called(declared(server.url("/moved")), &reach, json!({}))
        .await
        .expect("an answer");
    assert_eq!(
        server.received().last().expect("a request").header("x-api-key"),
        Some("hidden-token")
    );
    let arrived = &other.received()[0];
    for name in ["authorization", "x-api-key", "x-own", "webhook-signature"] {
        assert_eq!(arrived.header(name), None);
    }
    assert_eq!(arrived.header("accept-language"), Some("uk"));
    // Declared for the other server, it is refused before anything is sent.
    for (tool, field) in [
        (
            json!({"url": other.url("/"), "headers": {"X-Key": "{{secret:TOKEN}}"}}),
            "headers.X-Key",
        ),
        (
            json!({"url": other.url("/"), "signing_secret": "SIGNING"}),
            "signing_secret",
        ),
        (
            json!({"url": server.url("/"), "signing_secret": "NONE"}),
            "signing_secret",
        ),
    ] {
        let wrong = declaration(tool).check_for(&acme(), &reach).expect_err("refused");
        assert_eq!(wrong.field, field);
    }
    let tool = declaration(json!({"url": server.url("/"), "headers": {"X-Key": "{{secret:TOKEN}}"}}));
    let wrong = tool
        .check_for(&"other".parse().expect("an account"), &reach)
        .expect_err("not theirs");
    assert_eq!(wrong.problem, "there is no secret `TOKEN` here");
    // And again at the call, should the configuration have changed meanwhile.
    let late = DeclaredHttpTool::new(
        Arc::new(declaration(
            json!({"url": other.url("/"), "headers": {"X-Key": "{{secret:TOKEN}}"}}),
        )),
        &acme(),
        &Places::default(),
        &reach,
    );
    let error = late.call(call(json!({}))).await.expect_err("refused");
    assert!(error.message.contains("may not be sent to this address"), "{error}");
    assert_eq!(other.received().len(), 1);
}

/// A server that fails so often before it answers.
async fn failing(times: usize, failure: fn() -> Reply) -> WebServer {
    let asked = AtomicUsize::new(0);
    WebServer::start(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < times {
            failure()
        } else {
            reply("200 OK", &[], "done")
        }
    })
    .await
}

#[tokio::test]
async fn what_may_be_repeated_is_repeated_with_the_same_key() {
    let failures: [fn() -> Reply; 4] = [
        || reply("503 Service Unavailable", &[], "busy"),
        || reply("429 Too Many Requests", &[("retry-after", "0")], "slow down"),
        || Reply::HangUp,
        || Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nha".to_vec()),
    ];
    for failure in failures {
        let server = failing(2, failure).await;
        let declared = json!({"url": server.url("/"), "retry": "idempotent"});
        assert_eq!(
            called(declared, &reach(&[&server]), json!({})).await.as_deref(),
            Ok("done")
        );
        let received = server.received();
        let keys: Vec<_> = received
            .iter()
            .map(|request| request.header("idempotency-key"))
            .collect();
        assert!(
            keys.len() == 3 && keys[0].is_some() && keys.iter().all(|key| *key == keys[0]),
            "{keys:?}"
        );

        let server = failing(1, failure).await;
        let declared = json!({"url": server.url("/"), "retry": "unsafe"});
        assert!(called(declared, &reach(&[&server]), json!({})).await.is_err());
        assert_eq!(
            server.received().len(),
            1,
            "what may have been received is not sent again"
        );
    }
    // A server that says no means it, and one that wants a long rest gets it.
    for failure in [
        || reply("500 Internal Server Error", &[], "broken"),
        || reply("503 Service Unavailable", &[("retry-after", "3600")], "busy"),
    ] {
        let server = failing(1, failure).await;
        let declared = json!({"url": server.url("/"), "retry": "safe"});
        assert!(called(declared, &reach(&[&server]), json!({})).await.is_err());
        assert_eq!(server.received().len(), 1);
    }
}

#[tokio::test]
async fn a_call_that_may_have_been_done_is_told_as_such() {
    let half = || Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nha".to_vec());
    let unknown = "; it is not known whether the call was done";
    let told = async |server: &WebServer, retry: &str, timeout: Option<u64>| {
        let declared = json!({"url": server.url("/"), "retry": retry, "timeout_seconds": timeout});
        called(declared, &reach(&[server]), json!({}))
            .await
            .expect_err("no answer")
    };
    let broken = "the answer of the server at this address did not arrive whole";
    for failure in [half, || Reply::HangUp] {
        let server = failing(usize::MAX, failure).await;
        assert_eq!(told(&server, "unsafe", None).await, format!("{broken}{unknown}"));
    }
    let server = failing(usize::MAX, half).await;
    assert_eq!(told(&server, "idempotent", None).await, format!("{broken}{unknown}"));
    assert_eq!(told(&server, "safe", None).await, broken);
    let silent = WebServer::start(|_| Reply::Silence).await;
    let late = "the server at this address did not answer within 1s";
    assert_eq!(told(&silent, "unsafe", Some(1)).await, format!("{late}{unknown}"));
    assert_eq!(told(&silent, "safe", Some(1)).await, late);
    let gone = {
        let server = failing(0, half).await;
        (server.url("/"), reach(&[&server]))
    };
    let error = called(json!({"url": gone.0, "retry": "unsafe"}), &gone.1, json!({})).await;
    assert_eq!(
        error,
        Err("the server at this address does not accept connections".to_owned())
    );
    let elsewhere =
        WebServer::start(|_| reply("307 Temporary Redirect", &[("location", "http://127.0.0.1:1/")], "")).await;
    let error = called(json!({"url": elsewhere.url("/")}), &reach(&[&elsewhere]), json!({})).await;
    let error = error.expect_err("it was not sent on");
    assert!(!error.contains("not known"), "{error}");
}

#[tokio::test]
async fn an_address_has_an_end() {
    let server = WebServer::start(|_| reply("200 OK", &[], "x")).await;
    let declared = json!({"url": server.url("/"), "method": "GET"});
    let error = called(declared, &reach(&[&server]), json!({"a": "x".repeat(20_000)})).await;
    assert!(
        error
            .expect_err("too long")
            .starts_with("the address would have more than")
    );
    assert_eq!(server.received().len(), 0);
}

#[tokio::test]
async fn failures_and_large_answers_are_told_in_bounds() {
    let server = WebServer::start(|request: &Received| match request.line.as_str() {
        "GET /missing" => reply("404 Not Found", &[], "no such user"),
        "GET /huge" => reply("200 OK", &[], vec![b'x'; 200_000]),
        _ => reply("200 OK", &[], format!("[{}]", vec!["1"; 45_000].join(","))),
    })
    .await;
    let reach = reach(&[&server]);
    let get = |path: &str| json!({"url": server.url(path), "method": "GET"});
    let missing = called(get("/missing"), &reach, json!({})).await;
    assert_eq!(
        missing,
        Err("the server answered 404 Not Found: no such user".to_owned())
    );
    let huge = called(get("/huge"), &reach, json!({})).await.expect("a part of it");
    assert!(huge.len() < 101_000 && huge.ends_with("[cut: no more was read]"));
    let mut part = get("/huge");
    part["response_pointer"] = json!("/0");
    let cut = called(part, &reach, json!({})).await.expect_err("no JSON");
    assert!(cut.contains("more than 100000 bytes"), "{cut}");
    let mut large = get("/large");
    large["response_pointer"] = json!("/44999");
    assert_eq!(called(large, &reach, json!({})).await.as_deref(), Ok("1"));
}

#[test]
fn what_is_wrong_with_a_declaration_is_told_by_field() {
    let properties = json!({"type": "object", "properties": {"a": {"type": "string"}}});
    for (tool, field) in [
        (json!({"parameters": {"type": "objekt"}}), "parameters"),
        (json!({"parameters": {"type": "string"}}), "parameters"),
        (json!({"parameters": {"type": ["array", "null"]}}), "parameters"),
        (json!({"url": "https://{{a}}/"}), "url"),
        (json!({"url": "https://x.example/{{b}}"}), "url"),
        (json!({"url": "https://x.example/?k={{secret:K}}"}), "url"),
        (json!({"headers": {"Host": "evil.example"}}), "headers.Host"),
        (json!({"headers": {"Content-Length": "1"}}), "headers.Content-Length"),
        (
            json!({"headers": {"Transfer-Encoding": "chunked"}}),
            "headers.Transfer-Encoding",
        ),
        (json!({"headers": {"bad name": "1"}}), "headers.bad name"),
        (json!({"headers": {"X-A": "1\r\nX-B: 2"}}), "headers.X-A"),
        (json!({"headers": {"X-A": "1", "x-a": "2"}}), "headers.x-a"),
        (json!({"headers": {"X-A": "{{b}}"}}), "headers.X-A"),
        (json!({"headers": {"X-A": "{{"}}), "headers.X-A"),
        (json!({"method": "GET", "body": {}}), "body"),
        (json!({"body": {"x": "{{b}}"}}), "body"),
        (json!({"body": ["{{secret:K}}"]}), "body"),
        (
            json!({"headers": {"Content-Type": "application/xml"}, "body": {}}),
            "body",
        ),
        (json!({"headers": {"Content-Type": "application/xml"}}), "body"),
        (
            json!({"headers": {"Content-Type": "application/x-www-form-urlencoded"}, "body": "x"}),
            "body",
        ),
        (json!({"response_pointer": "a"}), "response_pointer"),
        (json!({"response_template": "{{a}}"}), "response_template"),
        (json!({"timeout_seconds": 0}), "timeout_seconds"),
        (json!({"timeout_seconds": 31}), "timeout_seconds"),
        (json!({"max_concurrent": 0}), "max_concurrent"),
    ] {
        let mut whole = json!({"name": "tool", "parameters": properties, "url": "https://x.example/"});
        whole
            .as_object_mut()
            .expect("an object")
            .extend(tool.as_object().expect("an object").clone());
        let parsed = serde_json::from_value(whole).expect("a tool");
        let wrong = HttpDeclaration::parse(&parsed, TIMEOUT)
            .map(drop)
            .expect_err(&tool.to_string());
        assert_eq!(wrong.field, field, "{tool}: {}", wrong.problem);
    }
}

#[tokio::test]
async fn an_address_inside_is_refused_when_it_is_declared() {
    let server = WebServer::start(|_| reply("200 OK", &[], "x")).await;
    let reach = reach(&[&server]);
    for url in [
        "http://169.254.169.254/latest",
        "http://0x7f.1:9999/",
        "https://example.com:22/",
        "http://me:pw@example.com/",
    ] {
        let wrong = declaration(json!({"url": url}))
            .check_for(&acme(), &reach)
            .expect_err(url);
        assert_eq!(wrong.field, "url");
        assert!(!wrong.problem.contains("127"), "{}", wrong.problem);
    }
}
