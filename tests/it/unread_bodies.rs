//! A request that is answered before its body has come costs no connection for longer than its answer takes.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Server, patiently};

/// A request's body that never ends, in both ways in which HTTP can send one, with the headers that announce it.
const ENDLESS: [&str; 2] = [
    "transfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n",
    "content-length: 1000\r\n\r\n{\"a\":",
];

#[tokio::test]
async fn a_body_without_end_does_not_keep_its_connection() {
    let server = Server::start("").await;
    for (request, status) in [
        ("POST /api/v1/nothing HTTP/1.1\r\n", "404"),
        ("POST /api/v1/runs HTTP/1.1\r\ncontent-type: text/plain\r\n", "415"),
    ] {
        for body in ENDLESS {
            let answer = answer_until_closed(&server, request, body).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{request}{body}: {answer}"
            );
        }
    }
    server.finish().await;
}

/// The time is so short that it may be over before a busy machine has read the head: that is answered alike.
#[tokio::test]
async fn a_body_that_is_read_is_waited_for_only_so_long() {
    let server = Server::start("[server]\nclient_request_timeout = \"500ms\"\n").await;
    let request = "POST /api/v1/runs HTTP/1.1\r\ncontent-type: application/json\r\n";
    for body in ENDLESS {
        let answer = answer_until_closed(&server, request, body).await;
        assert!(answer.starts_with("HTTP/1.1 408 "), "{body}: {answer}");
    }
    server.finish().await;
}

/// What the server sends until it closes the connection.
async fn answer_until_closed(server: &Server, request: &str, body: &str) -> String {
    let address = server.url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).await.unwrap();
    let sent = format!("{request}host: {address}\r\n{body}");
    connection.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    patiently(&sent, connection.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_whole_chunked_body_leaves_its_connection_open() {
    let server = Server::start("").await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let mut connection = TcpStream::connect(&address).await.unwrap();
    let chunked = format!(
        "POST /api/v1/threads HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    for _ in 0..3 {
        connection.write_all(chunked.as_bytes()).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with('}') {
            let mut piece = [0; 4096];
            let read = patiently("an answer", connection.read(&mut piece)).await.unwrap();
            assert!(read > 0, "it was closed after {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }
    drop(connection);
    server.finish().await;
}
