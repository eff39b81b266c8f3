//! The file: who may have it, what is left in it, what is said when it cannot be opened.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use callboard_actors::ids::{InstanceId, KeyId};
use callboard_actors::ports::store::{KeyRecord, StoreUsage};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::testing::store_conformance::{fencing, recovery};
use callboard_actors::time::Timestamp;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::runtime::Handle;

use super::{open, options};
use crate::store::sqlite::{SqliteOptions, SqliteStore, StoreOpenError};

fn key(secret: u8) -> KeyRecord {
    KeyRecord {
        id: KeyId::new(),
        account: "acme".parse().expect("a name"),
        tier: "pro".into(),
        secret_hash: [secret; 32],
        last_four: "wxyz".into(),
        is_admin: false,
        created_at: Timestamp::from_micros(i64::from(secret)),
        revoked_at: None,
    }
}

async fn refused(options: SqliteOptions) -> StoreOpenError {
    match SqliteStore::open(options, &Handle::current()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_drop_without_close() {
    let directory = tempfile::tempdir().expect("a directory");
    for secret in 0..5 {
        let store = open(directory.path()).await;
        store.create_key(key(secret)).await.expect("written");
        assert_eq!(store.list_keys().await.expect("read").len(), usize::from(secret) + 1);
    }
}

#[tokio::test]
async fn a_closed_store_refuses_and_its_file_is_free() {
    let directory = tempfile::tempdir().expect("a directory");
    let impatient = SqliteOptions {
        lock_timeout: Duration::ZERO,
        ..options(directory.path())
    };
    let store = open(directory.path()).await;
    let twin = store.clone();
    let writes: Vec<_> = (0..20)
        .map(|secret| {
            let store = store.clone();
            tokio::spawn(async move { store.create_key(key(secret)).await })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await;
    store.close().await;
    for write in writes {
        write.await.expect("no panic").expect("submitted before the close");
    }
    assert!(matches!(twin.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(twin.has_keys().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(
        twin.recover(InstanceId::new()).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(matches!(
        twin.usage(),
        StoreUsage {
            connections_open: 0,
            writes_waiting: 0,
            ..
        }
    ));
    let reopened = SqliteStore::open(impatient, &Handle::current())
        .await
        .expect("opens at once");
    assert_eq!(reopened.list_keys().await.expect("read").len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_store_goes_on_where_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    fencing::a_commit_writes_all_its_parts(std::sync::Arc::new(store)).await;
    let store = open(directory.path()).await;
    fencing::reserved_seqs_may_be_left_out(std::sync::Arc::new(store)).await;
    let store = open(directory.path()).await;
    let recovered = store.recover(InstanceId::new()).await.expect("recovers");
    let places: Vec<_> = recovered.running.iter().map(|run| (run.epoch, run.next_seq)).collect();
    assert_eq!(places, [(2, 53)]);
}

#[tokio::test]
async fn two_servers_never_have_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let impatient = SqliteOptions {
        lock_timeout: Duration::from_millis(20),
        ..options(directory.path())
    };
    let store = open(directory.path()).await;
    let error = refused(impatient.clone()).await;
    assert!(matches!(error, StoreOpenError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("another server is using"), "{error}");
    store.ping().await.expect("the first is not disturbed");
    store.close().await;
    SqliteStore::open(impatient, &Handle::current())
        .await
        .expect("now it is free");
}

#[tokio::test]
async fn two_names_of_one_file_are_one_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = open(directory.path()).await;
    let alias = directory.path().join("alias.db");
    std::os::unix::fs::symlink(options(directory.path()).path, &alias).expect("linked");
    let through_the_link = SqliteOptions {
        path: alias,
        lock_timeout: Duration::from_millis(20),
        ..options(directory.path())
    };
    let error = refused(through_the_link).await;
    assert!(matches!(error, StoreOpenError::Locked { .. }), "{error}");
    first.ping().await.expect("the first is not disturbed");
}

/// The old file would take writes until it is closed, and then they would be gone.
#[tokio::test]
async fn a_file_that_was_removed_or_replaced_takes_no_more_writes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = options(directory.path()).path;
    let store = open(directory.path()).await;
    store.create_key(key(1)).await.expect("written");
    let aside = directory.path().join("aside.db");
    std::fs::rename(&path, &aside).expect("moved");
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    std::fs::write(&path, []).expect("another file");
    let refused = store.create_key(key(2)).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    std::fs::rename(&aside, &path).expect("moved back");
    store.create_key(key(3)).await.expect("it is the same file again");
    assert_eq!(store.list_keys().await.expect("read").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_works_beside_a_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let first = SqliteStore::open_shared(options(directory.path()), &Handle::current())
        .await
        .expect("opens a new file");
    first.create_key(key(0)).await.expect("written");
    let server = open(directory.path()).await;
    let shared = SqliteStore::open_shared(options(directory.path()), &Handle::current())
        .await
        .expect("opens");
    let writes: Vec<_> = (1..41)
        .map(|secret| {
            let store = if secret % 2 == 0 {
                server.clone()
            } else {
                shared.clone()
            };
            tokio::spawn(async move { store.create_key(key(secret)).await })
        })
        .collect();
    for write in writes {
        write.await.expect("no panic").expect("both can write");
    }
    shared.close().await;
    assert_eq!(server.list_keys().await.expect("read").len(), 41);
    recovery::slots_are_counted_from_the_runs(std::sync::Arc::new(server)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_open_a_new_file_at_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let options = options(directory.path());
            tokio::spawn(async move { SqliteStore::open_shared(options, &Handle::current()).await })
        })
        .collect();
    for store in opened {
        let store = store.await.expect("no panic").expect("opens");
        store.ping().await.expect("writes");
    }
}

/// How often this process has the file open.
fn handles(path: &Path) -> usize {
    let handles = std::fs::read_dir("/proc/self/fd").expect("lists").flatten();
    handles
        .filter(|handle| std::fs::read_link(handle.path()).is_ok_and(|open| open == path))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_somebody_else_sets_up_is_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = options(directory.path());
    // It writes before there is a write-ahead log: whoever wants to have one now is told that the file is locked, without a wait.
    let connect = SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(true);
    let mut other = connect.connect().await.expect("opens");
    sqlx::raw_sql("BEGIN IMMEDIATE; CREATE TABLE other (a)")
        .execute(&mut other)
        .await
        .expect("writes");
    let path = options.path.canonicalize().expect("is there");
    let before = handles(&path);
    let opening = tokio::spawn({
        let options = options.clone();
        async move { SqliteStore::open_shared(options, &Handle::current()).await }
    });
    while handles(&path) == before && !opening.is_finished() {
        tokio::task::yield_now().await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut other).await.expect("commits");
    let store = opening.await.expect("no panic").expect("opens");
    store.ping().await.expect("writes");
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn what_we_create_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = directory.path().join("new").join("data");
    let store = open(&data).await;
    store.ping().await.expect("writes");
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).expect("lists") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("file");
    std::fs::write(&file, "in the way").expect("written");
    let error = refused(options(&file.join("data"))).await;
    assert!(matches!(error, StoreOpenError::Directory { .. }), "{error}");
    assert!(
        error.to_string().contains("cannot create the data directory"),
        "{error}"
    );

    let taken = directory.path().join("taken");
    std::fs::create_dir_all(taken.join("callboard.sqlite")).expect("a directory where the file should be");
    let error = refused(options(&taken)).await;
    assert!(matches!(error, StoreOpenError::NotWritable { .. }), "{error}");

    let read_only = directory.path().join("read_only");
    std::fs::create_dir(&read_only).expect("a directory");
    std::fs::set_permissions(&read_only, std::fs::Permissions::from_mode(0o500)).expect("read-only");
    // Root may write everywhere.
    if std::fs::write(read_only.join("probe"), "").is_err() {
        let error = refused(options(&read_only)).await;
        assert!(matches!(error, StoreOpenError::NotWritable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = options(directory.path()).path;
    let text = "not a database, but somebody's file ".repeat(200);
    std::fs::write(&path, &text).expect("written");
    let error = refused(options(directory.path())).await;
    assert!(
        matches!(
            error,
            StoreOpenError::Database { .. } | StoreOpenError::Migration { .. }
        ),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(&path).expect("read"), text);
}
