//! Files in a bucket of somebody else's S3: small ones and such as travel in parts, kept, read, shown and removed; and a bucket that is
//! away, or does not know the server, is an error that says so and no more.

use std::io;

use futures::{StreamExt, stream};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Body, Method};
use serde_json::json;
use tokio::sync::mpsc;

use crate::documents::{PNG, pdf};
use crate::files::form;
use crate::harness::{BUCKET_KEY, Bucket, Client, until_some};

/// Larger than what is sent at once, 5 MiB: it goes in three parts.
fn large(seed: u32) -> Vec<u8> {
    (0..12_000_000u32).map(|number| (number % 251 + seed) as u8).collect()
}

#[tokio::test]
async fn files_of_every_size_are_kept_in_the_bucket_and_leave_it() {
    let bucket = Bucket::start().await;
    let site = bucket.site("");
    let server = site.start().await;
    let client = server.client();
    let (small, whole) = (b"a few words".to_vec(), large(0));
    let mut files = Vec::new();
    for bytes in [&small, &whole, &Vec::new(), &whole] {
        files.push(client.upload("a.bin", bytes).await);
    }
    let objects = bucket.objects();
    assert_eq!(objects.len(), 3, "the same content once: {objects:?}");
    assert!(objects.iter().all(|name| name.starts_with("one/two/")), "{objects:?}");
    // Another server finds what the first has left.
    let server = server.leave().await.start().await;
    let client = server.client();
    for (file, bytes) in files.iter().zip([&small, &whole, &Vec::new(), &whole]) {
        let path = format!("/api/v1/files/{file}/content");
        let content = client.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(content.bytes().await.unwrap(), bytes);
    }
    let document = client.upload("a.pdf", &pdf(&["Hello there."])).await;
    let (text, is_error) = client.parse(&json!({"file_id": document})).await;
    assert!(!is_error && text.contains("Hello there."), "{text}");
    let picture = client.upload("a.png", PNG).await;
    let shown = json!({"input": [{"role": "user", "content": [{"type": "image", "file_id": picture}]}]});
    let run = client.start_run(&shown).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    for file in files.iter().chain([&document, &picture]) {
        assert_eq!(client.delete(&format!("/api/v1/files/{file}")).await.status, 204);
    }
    until_some("the bucket to be empty", || async {
        bucket.objects().is_empty().then_some(())
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn a_bucket_that_goes_away_costs_what_is_under_way_and_nothing_else() {
    let mut bucket = Bucket::start().await;
    let server = bucket.site("").start().await;
    let client = server.client();
    let kept = client.upload("kept.txt", b"kept").await;
    let deleted = client.upload("deleted.txt", b"deleted").await;
    // An upload of which the bucket has the first part when it goes.
    let (pieces, coming) = mpsc::channel::<io::Result<Vec<u8>>>(1);
    let (content_type, whole) = form(&[("file", Some("large.bin"), &large(1))]);
    let body = stream::unfold(coming, |mut coming| async move {
        let piece = coming.recv().await?;
        Some((piece, coming))
    });
    let uploading = client
        .request(Method::POST, "/api/v1/files")
        .header(CONTENT_TYPE, content_type);
    let uploading = tokio::spawn(Client::send(uploading.body(Body::wrap_stream(body.boxed()))));
    let (first, rest) = whole.split_at(6_000_000);
    pieces.send(Ok(first.to_vec())).await.unwrap();
    until_some("the first part to be there", || async {
        bucket.has_begun().then_some(())
    })
    .await;
    bucket.go_away().await;
    // It may have been refused before it was sent.
    let _ = pieces.send(Ok(rest.to_vec())).await;
    drop(pieces);
    uploading.await.unwrap().unwrap().expect_error(503, "files_unavailable");
    let content = format!("/api/v1/files/{kept}/content");
    client.get(&content).await.expect_error(503, "files_unavailable");
    client
        .try_upload("new.txt", b"new")
        .await
        .expect_error(503, "files_unavailable");
    let (text, is_error) = client.parse(&json!({"file_id": kept})).await;
    assert_eq!(
        (text.as_str(), is_error),
        ("the file cannot be read at the moment; try again later", true)
    );
    // What is known of files is not in the bucket.
    assert_eq!(client.delete(&format!("/api/v1/files/{deleted}")).await.status, 204);
    assert_eq!(client.all_of("/api/v1/files").await.len(), 1);
    bucket.go_on().await;
    let new = client.upload("new.txt", b"new").await;
    assert_eq!(
        client
            .request(Method::GET, &content)
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "kept"
    );
    // Whoever deletes removes what others could not.
    assert_eq!(client.delete(&format!("/api/v1/files/{new}")).await.status, 204);
    until_some("what was deleted to be removed", || async {
        (bucket.objects().len() == 1).then_some(())
    })
    .await;
    server.finish().await;
}

#[tokio::test]
async fn a_key_that_the_bucket_does_not_know_is_an_error_that_shows_none() {
    let bucket = Bucket::start().await;
    let server = bucket.site_with("", "unknown").start().await;
    let client = server.client();
    let refused = client.try_upload("a.txt", b"a").await;
    assert!(!refused.text.contains("127.0.0.1"), "{}", refused.text);
    refused.expect_error(503, "files_unavailable");
    assert!(client.all_of("/api/v1/files").await.is_empty());
    assert!(bucket.objects().is_empty());
    let printed = server.finish_after_panics(&client).await;
    assert!(!printed.contains(BUCKET_KEY), "{printed}");
    assert!(printed.contains("did not take an upload"), "{printed}");
}
