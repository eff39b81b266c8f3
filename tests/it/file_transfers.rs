//! Uploads and downloads under way: how many there may be, how slow, and what a browser may make of what comes back.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt, stream};
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE};
use reqwest::{Body, Method, Response};
use serde_json::json;
use tokio::sync::mpsc;

use crate::harness::{Client, Reply, Server, Site, until_some};

/// No client of a busy machine is too slow.
const PATIENT: &str = "[server]\nclient_request_timeout = \"5m\"\n";

/// A client that does nothing is soon too slow. The head of a request has this time too, and a busy machine needs some of it.
const IMPATIENT: &str = "[server]\nclient_request_timeout = \"5s\"\n";

/// Sends a body as a file.
async fn upload_body(
    client: Client,
    body: impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static,
) -> reqwest::Result<Reply> {
    let request = client
        .request(Method::POST, "/api/v1/files?filename=slow.txt")
        .header(CONTENT_TYPE, "text/plain");
    Client::send(request.body(Body::wrap_stream(body))).await
}

/// An upload that goes on until what is given back is dropped. It has begun: this many files are in the server's folder now.
async fn begin_upload(server: &Server, client: &Client, files: usize) -> mpsc::Sender<io::Result<Vec<u8>>> {
    let (pieces, coming) = mpsc::channel(1);
    // More than is gathered before it is written.
    let beginning = stream::iter([Ok(vec![1; 600_000])]);
    let rest = stream::unfold(coming, |mut coming: mpsc::Receiver<_>| async move {
        let piece = coming.recv().await?;
        Some((piece, coming))
    });
    tokio::spawn(upload_body(client.clone(), beginning.chain(rest)));
    until_some("the upload to have begun", || async {
        (files_in(&folder_of(server)).len() == files).then_some(())
    })
    .await;
    pieces
}

fn folder_of(server: &Server) -> PathBuf {
    server.site.path().join("data/files")
}

/// The answer to a download, of which nothing has been read yet.
async fn begin_download(client: &Client, file: &str) -> Response {
    let path = format!("/api/v1/files/{file}/content");
    client.request(Method::GET, &path).send().await.unwrap()
}

/// More than a connection takes on before anybody reads.
fn large() -> Vec<u8> {
    vec![7; 30_000_000]
}

/// Two accounts on a server with these settings.
async fn two_accounts(settings: &str) -> (Server, Client, Client) {
    let site = Site::new(settings);
    let (acme, other) = (
        site.create_key("acme", "pro").await,
        site.create_key("other", "pro").await,
    );
    let server = site.start().await;
    let clients = (server.client_with(&acme), server.client_with(&other));
    (server, clients.0, clients.1)
}

#[tokio::test]
async fn uploads_at_once_are_bounded_for_each_account_and_for_all() {
    let (server, acme, other) = two_accounts(&format!(
        "{PATIENT}[files]\nmax_uploads = 2\nmax_uploads_per_account = 1\n"
    ))
    .await;
    let third = server.client_with(&server.site.create_key("third", "pro").await);
    let first = begin_upload(&server, &acme, 1).await;
    let reply = acme.try_upload("a.txt", b"a").await;
    assert_eq!(reply.expect_error(429, "too_many_account_uploads")["limit"], 1);
    assert_eq!(reply.header("retry-after"), Some("5"));
    let second = begin_upload(&server, &other, 2).await;
    let reply = third.try_upload("a.txt", b"a").await;
    assert_eq!(reply.expect_error(503, "too_many_uploads")["limit"], 2);
    assert_eq!(reply.header("retry-after"), Some("5"));
    drop((first, second));
    until_some("room for another", || async {
        let reply = third.try_upload("a.txt", b"a").await;
        (reply.status == 201).then_some(())
    })
    .await;
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn downloads_at_once_are_bounded_for_each_account_and_for_all() {
    let (server, acme, other) = two_accounts(&format!(
        "{PATIENT}[files]\nmax_downloads = 2\nmax_downloads_per_account = 1\n"
    ))
    .await;
    let third = server.client_with(&server.site.create_key("third", "pro").await);
    let mut files = Vec::new();
    for client in [&acme, &other, &third] {
        files.push(client.upload("large.bin", &large()).await);
    }
    let content = |file: &str| format!("/api/v1/files/{file}/content");
    let first = begin_download(&acme, &files[0]).await;
    let reply = acme.get(&content(&files[0])).await;
    assert_eq!(reply.expect_error(429, "too_many_account_downloads")["limit"], 1);
    assert_eq!(reply.header("retry-after"), Some("5"));
    let second = begin_download(&other, &files[1]).await;
    let reply = third.get(&content(&files[2])).await;
    assert_eq!(reply.expect_error(503, "too_many_downloads")["limit"], 2);
    // What is known of a file is no download.
    acme.get(&format!("/api/v1/files/{}", files[0]))
        .await
        .expect_status(200);
    assert_eq!(first.bytes().await.unwrap(), large());
    drop(second);
    for (client, file) in [(&acme, &files[0]), (&other, &files[1])] {
        until_some("room for another", || async {
            (begin_download(client, file).await.status() == 200).then_some(())
        })
        .await;
    }
    server.finish_as(&acme).await;
}

#[tokio::test]
async fn a_download_that_nobody_takes_is_given_up() {
    let server = Server::start(&format!("{IMPATIENT}[files]\nmax_downloads = 1\n")).await;
    let client = server.client();
    let file = client.upload("large.bin", &large()).await;
    let small = client.upload("small.txt", b"small").await;
    let stalled = begin_download(&client, &file).await;
    until_some("room for another", || async {
        (begin_download(&client, &small).await.status() == 200).then_some(())
    })
    .await;
    assert!(stalled.bytes().await.is_err(), "it breaks off");
    server.finish().await;
}

#[tokio::test]
async fn an_upload_that_stops_or_takes_too_long_is_refused_and_leaves_nothing() {
    for settings in [IMPATIENT, "[files]\nupload_timeout = \"1s\"\n"] {
        let server = Server::start(settings).await;
        let client = server.client();
        let reply = if settings.contains("upload_timeout") {
            // It never stops, and it never ends.
            let ticks = tokio::time::interval(Duration::from_millis(20));
            let pieces = stream::unfold(ticks, |mut ticks| async move {
                ticks.tick().await;
                Some((Ok(b"another word ".to_vec()), ticks))
            });
            upload_body(client.clone(), pieces).await
        } else {
            let beginning = stream::iter([Ok(b"a beginning".to_vec())]);
            upload_body(client.clone(), beginning.chain(stream::pending())).await
        };
        let reply = reply.unwrap();
        reply.expect_error(408, "request_timeout");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(client.all_of("/api/v1/files").await.is_empty());
        until_some("what was written to be taken back", || async {
            files_in(&folder_of(&server)).is_empty().then_some(())
        })
        .await;
        server.finish().await;
    }
}

/// All files in a folder and those in it.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_in(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[tokio::test]
async fn what_comes_back_is_an_attachment_and_no_page_of_the_server() {
    let server = Server::start("").await;
    let client = server.client();
    let request = client
        .request(Method::POST, "/api/v1/files?filename=d%C3%A9ja%20%22vu%22.html")
        .header(CONTENT_TYPE, "text/html");
    let page = "<script>alert(1)</script>";
    let file = Client::send(request.body(page)).await.unwrap().expect_status(201);
    let content = begin_download(&client, file["id"].as_str().unwrap()).await;
    let header = |name: &str| content.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "text/html");
    let disposition = header("content-disposition");
    assert_eq!(disposition, "attachment; filename*=UTF-8''d%C3%A9ja%20%22vu%22.html");
    assert_eq!(header("content-security-policy"), "sandbox; default-src 'none'");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("cache-control"), "no-store");
    assert_eq!(header("content-length"), page.len().to_string());
    assert_eq!(content.text().await.unwrap(), page);
    server.finish().await;
}

#[tokio::test]
async fn a_compressed_upload_is_refused() {
    let server = Server::start("").await;
    let client = server.client();
    let upload = |encoding: &'static str| {
        let request = client
            .request(Method::POST, "/api/v1/files?filename=a.txt")
            .header(CONTENT_ENCODING, encoding);
        Client::send(request.body("a"))
    };
    for encoding in ["gzip", "br", "deflate, gzip"] {
        let refused = upload(encoding).await.unwrap();
        let error = refused.expect_error(415, "unsupported_media_type");
        assert_eq!(error["param"], "Content-Encoding");
    }
    assert!(client.all_of("/api/v1/files").await.is_empty());
    upload("identity").await.unwrap().expect_status(201);
    server.finish().await;
}

#[tokio::test]
async fn lost_bytes_are_told_as_such_until_somebody_brings_them_back() {
    let server = Server::start("").await;
    let client = server.client();
    let file = client.upload("a.txt", b"Hello there.").await;
    for path in files_in(&folder_of(&server)) {
        std::fs::remove_file(path).unwrap();
    }
    let path = format!("/api/v1/files/{file}");
    client.get(&path).await.expect_status(200);
    let content = format!("{path}/content");
    client.get(&content).await.expect_error(503, "files_unavailable");
    let (text, is_error) = client.parse(&json!({"file_id": file})).await;
    assert_eq!(
        (text.as_str(), is_error),
        ("the file cannot be read at the moment; try again later", true)
    );
    client.upload("b.txt", b"Hello there.").await;
    let healed = begin_download(&client, &file).await;
    assert_eq!(healed.text().await.unwrap(), "Hello there.");
    let printed = server.finish_after_panics(&client).await;
    assert!(
        printed.contains("the bytes of a file are not in the storage"),
        "{printed}"
    );
}
