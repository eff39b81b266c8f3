//! Databases from before the archive, what it costs to look for what is due, and rows that do not read back.

use std::time::Duration;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::NewRun;
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::time::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection};

use super::budget::{delta, ending, new_run};
use super::{open, options};
use crate::store::activity::Activity;
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::archive::{ENDED, TO_FORGET};
use crate::store::sqlite::claim::append_events;
use crate::store::sqlite::open::{MIGRATIONS, private_file, writer_options};
use crate::store::sqlite::rows::IdBytes;
use crate::store::sqlite::transaction::WriteTransaction;
use crate::store::sqlite::writer::Write;

async fn connect(directory: &std::path::Path) -> SqliteConnection {
    writer_options(&options(directory)).connect().await.expect("connects")
}

fn after_all() -> Timestamp {
    Timestamp::now().after(Duration::from_secs(1))
}

async fn log_of(store: &SqliteStore, run: RunId) -> (usize, EncodedEvents) {
    let batches = store.events(run, None, usize::MAX).await.expect("read");
    let joined = EncodedEvents::join_all(&batches).expect("it has events");
    (batches.len(), joined)
}

/// A run of five commits and its end.
async fn ended_run(store: &SqliteStore) -> NewRun {
    let run = new_run();
    store.create_run(run.clone()).await.expect("written");
    for seq in 2..7 {
        store.commit(delta(&run, seq)).await.expect("written");
    }
    store.commit(ending(&run, 7)).await.expect("written");
    run
}

/// Its runs read as before, and are archived like others.
#[tokio::test]
async fn a_database_of_the_first_version_opens_and_is_archived() {
    let directory = tempfile::tempdir().expect("a directory");
    private_file(&options(directory.path()).path).expect("a file");
    let mut connection = connect(directory.path()).await;
    let first = Migrator::with_migrations(MIGRATIONS.iter().take(1).cloned().collect());
    first.run_direct(None, &mut connection, false).await.expect("migrates");
    let activity = Activity::default();
    let mut transaction = WriteTransaction::new(&mut connection, &activity);
    let run = new_run();
    run.apply(&mut transaction).await.expect("applied");
    for step in [delta(&run, 2), delta(&run, 3)] {
        step.apply(&mut transaction).await.expect("applied");
    }
    let last = ending(&run, 4).events.expect("an event");
    append_events(&mut transaction, run.id, &last).await.expect("appended");
    let end = "UPDATE runs SET state = 'completed', ended_at = 1, next_seq = 5";
    transaction.execute(sqlx::query(end)).await.expect("ended");
    connection.close().await.expect("closes");

    let store = open(directory.path()).await;
    let record = store.run(run.id).await.expect("read").expect("it is there");
    assert!(record.state.is_terminal() && !record.events_forgotten);
    let (batches, log) = log_of(&store, run.id).await;
    assert_eq!((batches, log.last_seq(), log.is_terminal()), (4, 4, true));
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(1));
    assert_eq!(log_of(&store, run.id).await, (1, log));
}

/// However many runs there are that are not due.
#[tokio::test]
async fn what_is_due_is_found_by_one_seek() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    ended_run(&store).await;
    let mut connection = connect(directory.path()).await;
    for query in [ENDED, TO_FORGET] {
        let plan = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}")))
            .bind(0)
            .bind(10)
            .fetch_all(&mut connection)
            .await
            .expect("explains");
        let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
        let seek = "SEARCH runs USING COVERING INDEX runs_history (history=? AND ended_at<?)";
        assert_eq!(plan, [seek]);
    }
}

/// The run with the damage stays as it is; the others do not wait for it.
#[tokio::test]
async fn what_does_not_read_back_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = open(directory.path()).await;
    let (damaged, whole) = (ended_run(&store).await, ended_run(&store).await);
    let (_, log) = log_of(&store, whole.id).await;
    let mut connection = connect(directory.path()).await;
    let damage = "UPDATE event_batches SET frames = x'00' WHERE run_id = ? AND last_seq = 5";
    sqlx::query(damage)
        .bind(damaged.id.id_bytes())
        .execute(&mut connection)
        .await
        .expect("damaged");
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(2));
    assert_eq!(log_of(&store, whole.id).await, (1, log));
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM event_batches WHERE run_id = ? AND encoding = 0")
        .bind(damaged.id.id_bytes())
        .fetch_one(&mut connection)
        .await
        .expect("counts");
    assert_eq!(rows, 7);
    let read = store.events(damaged.id, Some(5), usize::MAX).await;
    assert_eq!(read.expect("what is whole reads").len(), 2);
    let read = store.events(damaged.id, None, usize::MAX).await;
    assert!(matches!(read, Err(StoreError::Damaged(_))), "{read:?}");
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(0));
}
