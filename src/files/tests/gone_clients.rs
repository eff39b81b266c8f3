//! Clients that do not wait for their answer, and storages that let others wait.

use std::future::poll_fn;
use std::task::Poll;

use callboard_actors::ports::files::FileQuery;

use super::*;
use crate::files::upload::WAITING_PIECES;
use crate::files::{S3Options, StorageError};
use crate::outbound::testing::{Reply, WebServer};

fn query() -> FileQuery {
    FileQuery {
        account: AccountId::local(),
        before: None,
        limit: 10,
    }
}

#[tokio::test]
async fn a_client_that_goes_away_after_its_last_byte_has_its_file() {
    let place = Place::new().await;
    let mut upload = place.files.begin_upload(&AccountId::local(), None).await.unwrap();
    // The task that writes has not been polled yet: all room for pieces is taken, and the end has to wait for some.
    for _ in 0..WAITING_PIECES {
        upload.write(Bytes::from_static(b"piece ")).await.unwrap();
    }
    let mut finishing = Box::pin(upload.finish(facts()));
    poll_fn(|context| {
        assert!(finishing.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(finishing);
    let file = loop {
        let is_under_way = place.files.0.uploads.all.available_permits() < LIMITS.uploads.most;
        let listed = place.files.list(query()).await.unwrap();
        if let Some(file) = listed.into_iter().next() {
            break file;
        }
        assert!(is_under_way, "the upload was given up");
        tokio::task::yield_now().await;
    };
    assert_eq!(file.bytes, 6 * WAITING_PIECES as u64);
}

#[tokio::test]
async fn a_storage_that_is_silent_for_too_long_gets_no_file_and_its_object_is_garbage_in_time() {
    let place = Place::new().await;
    let silent = WebServer::start(|_| Reply::Silence).await;
    let bucket = S3Options {
        bucket: "files".into(),
        endpoint: Some(silent.url("")),
        region: "nowhere".into(),
        prefix: String::new(),
        credentials: Some(("id".into(), "key".into())),
    };
    let limits = FileLimits {
        upload_timeout: Duration::ZERO,
        ..LIMITS
    };
    let storage = FileStorage::in_bucket(bucket).unwrap();
    let files = FileService::new(place.store.clone(), storage, limits, Handle::current());
    let mut upload = files.begin_upload(&AccountId::local(), None).await.unwrap();
    upload.write(Bytes::from_static(b"piece")).await.unwrap();
    let late = upload.finish(facts()).await;
    assert!(
        matches!(late, Err(UploadError::Storage(StorageError::TimedOut))),
        "{late:?}"
    );
    assert!(files.list(query()).await.unwrap().is_empty());
    // What was asked for may still be done, so nobody forgets it before that is certain.
    assert!(place.store.garbage(None, 10).await.unwrap().is_empty());
    place.store.give_up_old(Timestamp::now()).await.unwrap();
    assert_eq!(place.store.garbage(None, 10).await.unwrap().len(), 1);
}
