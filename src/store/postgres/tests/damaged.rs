//! Rows that do not read back, or do not agree: what is said of them is refused and changes nothing, and no other write hears of it.

use callboard_actors::error::RunError;
use callboard_actors::event::EventBody;
use callboard_actors::ids::InstanceId;
use callboard_actors::ports::store::{Admission, NewRun, ParkedOutcome, ParkedUpdate, RunQuery, StateChange};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use sqlx::{Connection, PgConnection};

use super::instances::starting;
use crate::store::postgres::decide::decide;
use crate::store::postgres::picture::{AccountCounts, Picture, RunPicture};
use crate::store::postgres::rows::IdBytes;
use crate::store::postgres::write::{FailAbandonedRun, Write};

fn cancelling() -> StateChange {
    StateChange {
        to: RunState::Cancelled,
        error: None,
        waiting: None,
        at: Timestamp::now(),
    }
}

/// A picture of this run, in whose account's counters there is none.
fn miscounted(run: &NewRun) -> Picture {
    let row = RunPicture {
        record: run.record(),
        instance: InstanceId::new(),
        next_item: 0,
        line: 1,
        place: 0,
        cancel_requested: false,
        held: false,
        hidden: false,
        is_damaged: false,
        new: None,
        changed: false,
    };
    let mut picture = Picture::default();
    picture.accounts.insert(run.account.clone(), AccountCounts::default());
    picture.runs.insert(run.id, row);
    picture
}

#[test]
fn a_refusal_leaves_the_picture_as_it_was() {
    let running = starting(1);
    let queued = NewRun {
        admission: Admission::Queue { deadline: None },
        ..starting(1)
    };
    let fail = Write::FailAbandoned(FailAbandonedRun {
        run: running.id,
        epoch: 1,
        error: RunError::internal(),
        at: Timestamp::now(),
    });
    let cancel = Write::Parked(ParkedUpdate::moving(queued.id, Vec::new(), cancelling()));
    for (run, write) in [(&running, fail), (&queued, cancel)] {
        let mut picture = miscounted(run);
        let refused = decide(&write, &mut picture);
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
        let row = &picture.runs[&run.id];
        assert!(!row.changed && row.record == run.record(), "{row:?}");
        assert!(picture.events.is_empty() && !picture.accounts[&run.account].changed);
    }
}

#[tokio::test]
async fn a_ledger_that_cannot_be_read_lets_its_run_be_listed_and_cancelled() {
    let url = super::fresh_url().await;
    let store = super::open(&url).await;
    let run = starting(10);
    store.create_run(run.clone()).await.expect("written");
    let mut connection = PgConnection::connect(&url).await.expect("connects");
    sqlx::query("UPDATE runs SET state = 'waiting', calls = '{}' WHERE id = $1")
        .bind(run.id.id_bytes())
        .execute(&mut connection)
        .await
        .expect("waits");
    let query = RunQuery {
        account: run.account.clone(),
        thread: None,
        state: None,
        before: None,
        limit: 10,
    };
    let listed = store.list_runs(query).await.expect("the store answers");
    assert_eq!(listed.iter().map(|run| run.id).collect::<Vec<_>>(), [run.id]);
    let telling = ParkedUpdate::telling(run.id, vec![EventBody::RunQueuePosition { position: 1 }]);
    let refused = store.update_parked_run(telling).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    let cancelled = store
        .update_parked_run(ParkedUpdate::moving(run.id, Vec::new(), cancelling()))
        .await;
    let is_cancelled = |record: &callboard_actors::ports::store::RunRecord| record.state == RunState::Cancelled;
    assert!(
        matches!(&cancelled, Ok(ParkedOutcome::Updated { record, .. }) if is_cancelled(record)),
        "{cancelled:?}"
    );
}
