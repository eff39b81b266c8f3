//! What goes wrong, and who is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::{Store, StoreError};
use callboard_actors::testing::store_conformance::creating;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::sync::oneshot;

use super::{open, options};
use crate::store::sqlite::open::writer_options;
use crate::store::sqlite::transaction::{WriteFailure, WriteTransaction};
use crate::store::sqlite::writer::Write;
use crate::store::sqlite::{SqliteOptions, SqliteStore};
use crate::telemetry::testing::LogCapture;

/// Writes, then goes wrong.
#[derive(Debug, Clone, Copy)]
enum Faulty {
    Panics,
    BreaksASentence,
    BreaksARule,
}

const PING: &str = "UPDATE pings SET count = count + 1000 WHERE id = 1";

impl Write for Faulty {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        transaction.execute(sqlx::query(PING)).await?;
        let wrong = match self {
            Self::Panics => panic!("a bug in a write"),
            Self::BreaksASentence => "UPDATE nothing SET",
            Self::BreaksARule => "INSERT INTO run_specs (run_id, spec) VALUES (x'00', '{}')",
        };
        transaction.execute(sqlx::query(wrong)).await?;
        Ok(())
    }
}

/// Holds the writer until it is told to go on, so that a batch gathers behind it.
struct Gate {
    reached: std::sync::Mutex<Option<oneshot::Sender<()>>>,
    open: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl Gate {
    fn new() -> (Self, oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (reached, is_reached) = oneshot::channel();
        let (opener, open) = oneshot::channel();
        let gate = Self {
            reached: std::sync::Mutex::new(Some(reached)),
            open: tokio::sync::Mutex::new(Some(open)),
        };
        (gate, is_reached, opener)
    }
}

impl Write for Gate {
    type Answer = ();

    async fn apply(&self, _: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        let reached = self.reached.lock().expect("not poisoned").take();
        if let Some(reached) = reached {
            let _ = reached.send(());
        }
        if let Some(open) = self.open.lock().await.take() {
            let _ = open.await;
        }
        Ok(())
    }
}

async fn pings(options: &SqliteOptions) -> i64 {
    let mut connection = writer_options(options).connect().await.expect("connects");
    sqlx::query_scalar("SELECT count FROM pings")
        .fetch_one(&mut connection)
        .await
        .expect("read")
}

#[tokio::test]
async fn a_broken_write_fails_alone_and_the_writer_goes_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    for round in 1..4 {
        let (gate, reached, opener) = Gate::new();
        let held = tokio::spawn({
            let writer = store.writer.clone();
            async move { writer.submit(gate).await }
        });
        reached.await.expect("the writer is held");
        let commits = store.usage().commits;
        let faults = [Faulty::Panics, Faulty::BreaksASentence, Faulty::BreaksARule];
        let (panics, sentence, rule, good, more) = futures::join!(
            store.writer.submit(faults[0]),
            store.writer.submit(faults[1]),
            store.writer.submit(faults[2]),
            store.ping(),
            async {
                let ping = store.ping();
                // All of them wait behind the gate; now it opens.
                opener.send(()).expect("the gate waits");
                ping.await
            },
        );
        assert!(matches!(panics, Err(StoreError::Damaged(_))), "{panics:?}");
        assert!(matches!(sentence, Err(StoreError::Unavailable(_))), "{sentence:?}");
        assert!(matches!(rule, Err(StoreError::Damaged(_))), "{rule:?}");
        assert_eq!((good, more), (Ok(()), Ok(())));
        held.await.expect("no panic").expect("written");
        assert_eq!(store.usage().commits - commits, 3, "the gate and each good write");
        assert_eq!(pings(&options(directory.path())).await, 2 * round);
    }
    assert_eq!(store.usage().writes_waiting, 0);
    creating::a_thousand_parallel_creates_keep_the_limit(Arc::new(store)).await;
}

#[tokio::test]
async fn a_full_inbox_refuses_at_once_and_recovers() {
    let directory = tempfile::tempdir().expect("a directory");
    let small = SqliteOptions {
        inbox: 3,
        ..options(directory.path())
    };
    let store = SqliteStore::open(small, &tokio::runtime::Handle::current())
        .await
        .expect("opens");
    let (gate, reached, opener) = Gate::new();
    let held = tokio::spawn({
        let writer = store.writer.clone();
        async move { writer.submit(gate).await }
    });
    reached.await.expect("the writer is held");
    let waiting = futures::future::join_all((0..5).map(|_| store.ping()));
    let opens = async {
        assert_eq!(store.usage().writes_waiting, 4, "the gate and three more");
        opener.send(()).expect("the gate waits");
    };
    let (outcomes, ()) = futures::join!(waiting, opens);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert!(matches!(outcomes[4], Err(StoreError::Unavailable(_))));
    held.await.expect("no panic").expect("written");
    store.ping().await.expect("there is room again");
}

/// A store that waits for others no longer than that, and another connection to its file.
async fn impatient_store(directory: &Path, busy_timeout: Duration) -> (SqliteStore, SqliteConnection) {
    let impatient = SqliteOptions {
        busy_timeout,
        ..options(directory)
    };
    let store = SqliteStore::open(impatient.clone(), &tokio::runtime::Handle::current())
        .await
        .expect("opens");
    let other = writer_options(&impatient).connect().await.expect("connects");
    (store, other)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_someone_else_holds_is_unavailable_and_then_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut other) = impatient_store(directory.path(), Duration::from_millis(20)).await;
    let transaction = sqlx::Connection::begin_with(&mut other, "BEGIN IMMEDIATE")
        .await
        .expect("begins");
    let outcomes = futures::future::join_all((0..10).map(|_| store.ping())).await;
    for outcome in outcomes {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    assert_eq!(store.has_keys().await, Ok(false), "reads go on");
    transaction.rollback().await.expect("rolls back");
    store.ping().await.expect("writes again");
}

#[tokio::test]
async fn a_caller_that_goes_away_disturbs_nobody() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let (gate, reached, opener) = Gate::new();
    let held = tokio::spawn({
        let writer = store.writer.clone();
        async move { writer.submit(gate).await }
    });
    reached.await.expect("the writer is held");
    held.abort();
    assert!(held.await.is_err_and(|error| error.is_cancelled()));
    opener.send(()).expect("the gate waits");
    store.ping().await.expect("writes");
    assert_eq!(store.usage().writes_waiting, 0);
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let before = pings(&options(directory.path())).await;
    // SQLite reports a database at its page limit as it reports a full disk.
    store.writer.submit(Limit).await.expect("set");
    let filled = store.writer.submit(Fill).await;
    assert!(matches!(filled, Err(StoreError::Unavailable(_))), "{filled:?}");
    store.ping().await.expect("there is room for what is small");
    assert_eq!(pings(&options(directory.path())).await, before + 1);
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_one_line_in_the_log_and_its_end_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, mut other) = impatient_store(directory.path(), Duration::from_millis(1)).await;
    let transaction = sqlx::Connection::begin_with(&mut other, "BEGIN IMMEDIATE")
        .await
        .expect("begins");
    let log = LogCapture::start("info");
    for _ in 0..20 {
        let outcomes = futures::future::join_all((0..10).map(|_| store.ping())).await;
        assert!(outcomes.iter().all(Result::is_err));
    }
    let text = log.text();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(
        text.contains("the store takes no writes") && text.contains("locked"),
        "{text}"
    );
    transaction.rollback().await.expect("rolls back");
    for _ in 0..2 {
        store.ping().await.expect("writes again");
    }
    let text = log.text();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.contains("the store takes writes again"), "{text}");
}

struct Limit;

impl Write for Limit {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        transaction.row(sqlx::query("PRAGMA max_page_count = 60")).await?;
        Ok(())
    }
}

struct Fill;

impl Write for Fill {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        transaction.execute(sqlx::query(PING)).await?;
        let fill = "INSERT INTO accounts (account, tier) SELECT 'big', hex(zeroblob(4000000))";
        transaction.execute(sqlx::query(fill)).await?;
        Ok(())
    }
}
