//! What may be reached and what not, on real connections.

use std::io;
use std::io::Write;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};

use super::testing::{Reply, WebServer, options, outbound_to, reply};
use super::*;

/// Answers with the next entry of a list each time it is asked; the last one stays.
struct ScriptedLookup {
    answers: Mutex<Vec<Vec<IpAddr>>>,
    asked: Mutex<Vec<String>>,
}

impl ScriptedLookup {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| {
            answer
                .iter()
                .map(|address| address.parse().expect("an address"))
                .collect()
        });
        Arc::new(Self {
            answers: Mutex::new(answers.rev().collect()),
            asked: Mutex::default(),
        })
    }

    fn asked(&self) -> usize {
        self.asked.lock().expect("not poisoned").len()
    }
}

impl Lookup for ScriptedLookup {
    fn addresses(&self, name: String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        self.asked.lock().expect("not poisoned").push(name);
        let mut answers = self.answers.lock().expect("not poisoned");
        let answer = if answers.len() > 1 {
            answers.pop()
        } else {
            answers.last().cloned()
        };
        Box::pin(async move {
            let none = || io::Error::other("no such name");
            answer.filter(|addresses| !addresses.is_empty()).ok_or_else(none)
        })
    }
}

fn get(url: &str) -> OutboundRequest {
    OutboundRequest::new(Method::GET, url.parse().expect(url))
}

fn port_of(server: &WebServer) -> String {
    format!("127.0.0.1/32:{}", server.address.port())
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_reaches_it() {
    let inside = WebServer::start(|_| reply("200 OK", &[], "secret")).await;
    let outbound = Outbound::new(options(&[])).expect("a client");
    let port = inside.address.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.0.0.1.",
        "１２７.0.0.1",
        "127。0。0。1",
        "0",
        "0.0.0.0",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:7f00:0001]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "%31%32%37.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
    ] {
        let url: Url = format!("http://{host}:{port}/").parse().expect(host);
        let error = outbound.fetch(OutboundRequest::new(Method::GET, url), None).await;
        assert_eq!(error.expect_err(host), OutboundError::NotReachable, "{host}");
    }
    assert_eq!(inside.received().len(), 0);
    // The same server is reached as soon as the configuration says so.
    let answer = outbound_to(&[&inside])
        .fetch(get(&inside.url("/")), None)
        .await
        .expect("an answer");
    assert_eq!(&answer.body[..], b"secret");
}

#[tokio::test]
async fn a_name_is_judged_by_what_it_stands_for() {
    let server = WebServer::start(|_| reply("200 OK", &[], "hello")).await;
    let fetched = async |answers: &[&[&str]]| {
        let lookup = ScriptedLookup::new(answers);
        let outbound = Outbound::with_lookup(options(&[port_of(&server)]), lookup).expect("a client");
        let url = format!("http://tool.example:{}/", server.address.port());
        outbound.fetch(get(&url), None).await
    };
    assert!(fetched(&[&["127.0.0.1"]]).await.is_ok());
    // One of several that is not allowed is not tried; without any other the name is as good as none.
    assert!(fetched(&[&["10.0.0.1", "127.0.0.1"]]).await.is_ok());
    let denied = fetched(&[&["10.0.0.1", "::1"]]).await.expect_err("denied");
    let unknown = fetched(&[&[]]).await.expect_err("unknown");
    assert_eq!(denied, unknown);
    assert_eq!(denied, OutboundError::NotReachable);
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn an_allowed_port_of_an_inner_address_opens_no_other() {
    let (allowed, other) = (
        WebServer::start(|_| reply("200 OK", &[], "allowed")).await,
        WebServer::start(|_| reply("200 OK", &[], "other")).await,
    );
    let outbound = Outbound::with_lookup(options(&[port_of(&allowed)]), ScriptedLookup::new(&[&["127.0.0.1"]]));
    let outbound = outbound.expect("a client");
    let url = format!("http://tool.example:{}/", other.address.port());
    let error = outbound.fetch(get(&url), None).await.expect_err("denied");
    assert_eq!(error, OutboundError::NotReachable);
    assert_eq!(
        outbound.fetch(get(&other.url("/")), None).await.expect_err("denied"),
        error
    );
    assert_eq!(other.received().len(), 0);
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gets_no_second_look_up() {
    let server = WebServer::start(|_| reply("200 OK", &[], "hello")).await;
    let lookup = ScriptedLookup::new(&[&["127.0.0.1"], &["10.0.0.1"]]);
    let outbound = Outbound::with_lookup(options(&[port_of(&server)]), lookup.clone()).expect("a client");
    let url = format!("http://rebinding.example:{}/", server.address.port());
    assert!(outbound.fetch(get(&url), None).await.is_ok());
    assert_eq!(lookup.asked(), 1, "what was checked is what was connected to");
    let error = outbound
        .fetch(get(&url), None)
        .await
        .expect_err("it stands for something else now");
    assert_eq!(error, OutboundError::NotReachable);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_redirect_leads_nowhere_that_the_address_itself_could_not() {
    let inside = WebServer::start(|_| reply("200 OK", &[], "secret")).await;
    for target in [
        inside.url("/"),
        format!("http://localhost:{}/", inside.address.port()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "//[::1]:9000/".to_owned(),
    ] {
        let server = WebServer::start(move |_| reply("302 Found", &[("location", &target)], "")).await;
        let error = outbound_to(&[&server]).fetch(get(&server.url("/")), None).await;
        let error = error.expect_err("denied");
        assert_eq!(
            error,
            OutboundError::AfterRedirect(Box::new(OutboundError::NotReachable))
        );
        assert_eq!(error.to_string(), OutboundError::NotReachable.to_string());
        assert!(!error.nothing_was_sent());
    }
    let server = WebServer::start(|_| reply("302 Found", &[("location", "file:///etc/passwd")], "")).await;
    let error = outbound_to(&[&server]).fetch(get(&server.url("/")), None).await;
    let scheme = OutboundError::InvalidUrl(InvalidUrl::Scheme);
    assert_eq!(
        error.expect_err("denied"),
        OutboundError::AfterRedirect(Box::new(scheme))
    );
    assert_eq!(inside.received().len(), 0);
}

fn with_headers(mut request: OutboundRequest) -> OutboundRequest {
    request
        .headers
        .insert(HeaderName::from_static("x-open"), HeaderValue::from_static("1"));
    request.private_headers.insert(
        HeaderName::from_static("authorization"),
        HeaderValue::from_static("Bearer hidden"),
    );
    request
}

#[tokio::test]
async fn private_headers_do_not_travel_to_another_server() {
    let other = WebServer::start(|_| reply("200 OK", &[], "other")).await;
    let elsewhere = other.url("/elsewhere");
    let server = WebServer::start(move |request| match request.line.as_str() {
        "GET /" => reply("302 Found", &[("location", "/same")], ""),
        _ => reply("302 Found", &[("location", &elsewhere)], ""),
    })
    .await;
    let outbound = outbound_to(&[&server, &other]);
    let answer = outbound
        .fetch(with_headers(get(&server.url("/"))), None)
        .await
        .expect("an answer");
    assert_eq!(answer.url.as_str(), other.url("/elsewhere"));
    let received = server.received();
    assert_eq!(received.len(), 2);
    assert!(
        received
            .iter()
            .all(|request| request.header("authorization") == Some("Bearer hidden"))
    );
    let arrived = &other.received()[0];
    assert_eq!(arrived.header("authorization"), None);
    assert_eq!(arrived.header("x-open"), Some("1"));
    assert_eq!(arrived.header("user-agent"), Some("callboard-test"));
}

#[tokio::test]
async fn content_stays_with_the_server_it_was_meant_for() {
    let other = WebServer::start(|_| reply("200 OK", &[], "other")).await;
    let elsewhere = other.url("/");
    let server = WebServer::start(move |request| match request.line.as_str() {
        "POST /again" => reply("307 Temporary Redirect", &[("location", "/here")], ""),
        "POST /see" => reply("303 See Other", &[("location", "/result")], ""),
        "POST /away" => reply("308 Permanent Redirect", &[("location", &elsewhere)], ""),
        _ => reply("200 OK", &[], ""),
    })
    .await;
    let outbound = outbound_to(&[&server, &other]);
    let post = |path: &str| OutboundRequest {
        method: Method::POST,
        body: Some("content".into()),
        ..get(&server.url(path))
    };
    assert!(outbound.fetch(post("/again"), None).await.is_ok());
    assert!(outbound.fetch(post("/see"), None).await.is_ok());
    let error = outbound.fetch(post("/away"), None).await.expect_err("not sent on");
    assert_eq!(error, OutboundError::RedirectOfContent);
    let lines: Vec<(String, String)> = server
        .received()
        .iter()
        .map(|request| (request.line.clone(), request.text()))
        .collect();
    let expected = [
        ("POST /again", "content"),
        ("POST /here", "content"),
        ("POST /see", "content"),
        ("GET /result", ""),
        ("POST /away", "content"),
    ];
    assert_eq!(lines, expected.map(|(line, text)| (line.to_owned(), text.to_owned())));
    assert_eq!(other.received().len(), 0);
}

#[tokio::test]
async fn redirects_come_to_an_end() {
    let server = WebServer::start(|_| reply("302 Found", &[("location", "/again")], "")).await;
    let error = outbound_to(&[&server]).fetch(get(&server.url("/")), None).await;
    assert_eq!(error.expect_err("too many"), OutboundError::TooManyRedirects);
    assert_eq!(server.received().len(), 6);
}

#[tokio::test]
async fn no_answer_is_larger_than_allowed_packed_or_not() {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..200 {
        packer.write_all(&[b'a'; 1_000_000]).expect("packed");
    }
    let bomb = packer.finish().expect("packed");
    assert!(bomb.len() < 300_000);
    let server = WebServer::start(move |request| match request.line.as_str() {
        "GET /bomb" => reply("200 OK", &[("content-encoding", "gzip")], &bomb),
        "GET /large" => reply("200 OK", &[], vec![b'b'; 100_001]),
        "GET /fits" => reply("200 OK", &[], vec![b'c'; 100_000]),
        _ => reply("200 OK", &[("content-encoding", "gzip")], "this is not gzip"),
    })
    .await;
    let outbound = outbound_to(&[&server]);
    let sizes = async |path: &str| {
        let answer = outbound.fetch(get(&server.url(path)), None).await.expect("an answer");
        (answer.body.len(), answer.is_cut)
    };
    assert_eq!(sizes("/bomb").await, (100_000, true));
    assert_eq!(sizes("/large").await, (100_000, true));
    assert_eq!(sizes("/fits").await, (100_000, false));
    let error = outbound
        .fetch(get(&server.url("/broken")), None)
        .await
        .expect_err("not gzip");
    assert_eq!(error, OutboundError::BrokenOff);
}

#[tokio::test]
async fn silence_and_broken_connections_are_told_apart() {
    let server = WebServer::start(|request| match request.line.as_str() {
        "GET /silence" => Reply::Silence,
        "GET /half" => Reply::Bytes(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()),
        _ => Reply::HangUp,
    })
    .await;
    let outbound = outbound_to(&[&server]);
    let error = async |path: &str, timeout| {
        let answer = outbound.fetch(get(&server.url(path)), timeout).await;
        answer.expect_err("no answer")
    };
    let short = Duration::from_millis(50);
    assert_eq!(error("/silence", Some(short)).await, OutboundError::TimedOut(short));
    for broken in ["/half", "/"] {
        let error = error(broken, None).await;
        assert_eq!(error, OutboundError::BrokenOff);
        assert!(!error.nothing_was_sent());
    }
    let address = server.address;
    drop(server);
    // The port is free again when the task that had it is gone.
    let gone = loop {
        match outbound.fetch(get(&format!("http://{address}/")), None).await {
            Err(error @ OutboundError::NoConnection) => break error,
            Err(OutboundError::BrokenOff) => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    };
    assert!(gone.nothing_was_sent());
}

#[tokio::test]
async fn what_is_no_web_address_is_refused_before_anything_is_done() {
    let outbound = Outbound::new(options(&[])).expect("a client");
    for (url, problem) in [
        ("ftp://example.com/", InvalidUrl::Scheme),
        ("data:text/plain,x", InvalidUrl::Scheme),
        ("http://user:pass@example.com/", InvalidUrl::Credentials),
        ("https://token@example.com/", InvalidUrl::Credentials),
        ("http://example.com:25/", InvalidUrl::Port),
        ("https://example.com:22/", InvalidUrl::Port),
    ] {
        let error = outbound.fetch(get(url), None).await.expect_err(url);
        assert_eq!(error, OutboundError::InvalidUrl(problem), "{url}");
        assert!(error.nothing_was_sent());
    }
}
