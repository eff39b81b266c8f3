//! A row that a later version wrote, among others.

use std::path::Path;

use callboard_actors::call_ledger::{CallResolution, CallVerdict};
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::{ParkedOutcome, ParkedUpdate, RunQuery, StateChange};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use sqlx::{ConnectOptions, SqliteConnection};

use super::budget::new_run;
use super::{open, options};
use crate::store::sqlite::SqliteStore;
use crate::store::sqlite::open::writer_options;
use crate::store::sqlite::rows::IdBytes;

async fn waits_since(store: &SqliteStore, connection: &mut SqliteConnection, deadline: i64, calls: &str) -> RunId {
    let run = new_run();
    store.create_run(run.clone()).await.expect("written");
    sqlx::query("UPDATE runs SET state = 'waiting', calls = ?, calls_deadline = ? WHERE id = ?")
        .bind(calls)
        .bind(deadline)
        .bind(run.id.id_bytes())
        .execute(connection)
        .await
        .expect("waits");
    run.id
}

/// A store with two runs that wait: the first as a later version would write it, the second as this one does.
async fn two_that_wait(directory: &Path) -> (SqliteStore, [RunId; 2]) {
    let store = open(directory).await;
    let mut connection = writer_options(&options(directory)).connect().await.expect("connects");
    let unknown = waits_since(&store, &mut connection, 1, r#"{"of": "a later version"}"#).await;
    let known = waits_since(&store, &mut connection, 2, r#"{"next_index": 1, "calls": []}"#).await;
    (store, [unknown, known])
}

#[tokio::test]
async fn one_that_cannot_be_read_keeps_none_of_the_others_back() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, [unknown, known]) = two_that_wait(directory.path()).await;
    let found = store.runs_with_overdue_calls(Timestamp::now(), None, 10).await;
    let found = found.expect("the store answers");
    let runs: Vec<_> = found.iter().map(|run| run.place.run).collect();
    assert_eq!(runs, [unknown, known]);
    assert!(matches!(found[0].calls, Err(StoreError::Damaged(_))), "{found:?}");
    assert!(found[1].calls.is_ok(), "{found:?}");
}

#[tokio::test]
async fn one_that_cannot_be_read_is_listed_and_can_be_cancelled_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let (store, [unknown, known]) = two_that_wait(directory.path()).await;
    let query = RunQuery {
        account: "acme".parse().expect("a name"),
        thread: None,
        state: Some(RunState::Waiting),
        before: None,
        limit: 10,
    };
    let listed = store.list_runs(query).await.expect("the store answers");
    let listed: Vec<_> = listed.iter().map(|run| run.id).collect();
    assert_eq!(listed, [known, unknown]);
    let answer = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::Retry,
    };
    let resolving = ParkedUpdate::resolving(unknown, vec![answer], Timestamp::now());
    let refused = store.update_parked_run(resolving).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    let cancel = StateChange {
        to: RunState::Cancelled,
        error: None,
        waiting: None,
        at: Timestamp::now(),
    };
    let cancelled = store
        .update_parked_run(ParkedUpdate::moving(unknown, Vec::new(), cancel))
        .await;
    assert!(matches!(cancelled, Ok(ParkedOutcome::Updated { .. })), "{cancelled:?}");
    let found = store
        .run(unknown)
        .await
        .expect("the store answers")
        .expect("it is there");
    assert_eq!(found.state, RunState::Cancelled);
}
