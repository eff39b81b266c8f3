//! Retention: events of runs that ended long ago are forgotten, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixtures::{
    account, after_all, at_once, created, delta_commit, ended, log_bytes, move_commit, parked, picture, queued, record,
    running, starting,
};
use crate::item::{Item, Role};
use crate::ports::store::{Creation, Idempotency, NewRun, RunCommit, RunQuery, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;

/// With its items and its idempotency key, whether its events were archived before or not. Its record says what has become of them.
pub async fn the_run_stays_when_its_events_are_forgotten(store: Arc<dyn Store>) {
    let mut runs = Vec::new();
    for key in ["first", "second"] {
        let idempotency = Idempotency {
            key: key.into(),
            request_hash: [7; 32],
        };
        let run = NewRun {
            idempotency: Some(idempotency.clone()),
            ..starting("acme", None)
        };
        let run = created(&store, run).await;
        let step = RunCommit {
            items: vec![Item::message(Role::Assistant, "an answer")],
            ..delta_commit(&run, 5)
        };
        store.commit(step).await.expect("written");
        let run = record(&store, run.id).await;
        store
            .commit(move_commit(&run, RunState::Completed))
            .await
            .expect("ends");
        runs.push((record(&store, run.id).await, idempotency));
        if key == "first" {
            assert_eq!(store.archive_ended(after_all(), 10).await, Ok(1));
        }
    }
    assert_eq!(store.forget_events(after_all(), 10).await, Ok(2));
    let expected: Vec<RunRecord> = runs
        .iter()
        .map(|(run, _)| RunRecord {
            events_forgotten: true,
            ..run.clone()
        })
        .collect();
    for (run, (_, idempotency)) in expected.iter().zip(&runs) {
        let (record, items, events) = picture(&store, run.id).await;
        assert_eq!((&record, items.len(), events.len()), (run, 2, 0));
        for after in [Some(0), run.next_seq.checked_sub(2), Some(run.next_seq)] {
            assert_eq!(store.events(run.id, after, usize::MAX).await, Ok(Vec::new()));
        }
        let earlier = Creation::Existing(Box::new(run.clone()));
        let found = store.find_idempotent(&run.account, idempotency).await;
        assert_eq!(found, Ok(Some(earlier)));
        assert_eq!(store.commit(delta_commit(run, 1)).await, Err(StoreError::Fenced));
    }
    let query = RunQuery {
        thread: None,
        account: account("acme"),
        state: Some(RunState::Completed),
        before: None,
        limit: 10,
    };
    let listed: Vec<RunRecord> = expected.iter().rev().cloned().collect();
    assert_eq!(store.list_runs(query).await, Ok(listed));
    assert_eq!(store.forget_events(after_all(), 10).await, Ok(0), "once is enough");
    assert_eq!(
        store.archive_ended(after_all(), 10).await,
        Ok(0),
        "nothing is left of them"
    );
}

/// Not of runs that go on, nor of those that ended later, nor of more than asked for.
pub async fn events_of_other_runs_are_not_forgotten(store: Arc<dyn Store>) {
    let mut ended_before = Vec::new();
    for _ in 0..5 {
        ended_before.push(ended(&store, "acme", 2, 2).await.id);
    }
    let waits_in_line = created(&store, queued("acme")).await.id;
    let runs = running(&store, "acme").await.id;
    let waits = running(&store, "acme").await;
    store
        .commit(move_commit(&waits, RunState::Waiting))
        .await
        .expect("waits");
    let ended_later = ended(&store, "acme", 3, 2).await;
    let others = [waits_in_line, runs, waits.id, ended_later.id];
    let mut before = Vec::new();
    for run in others {
        before.push(picture(&store, run).await);
    }
    let moment = ended_later.ended_at.expect("it has ended");
    for (limit, forgotten) in [(0, 0), (2, 2), (100, 3), (100, 0)] {
        assert_eq!(store.forget_events(moment, limit).await, Ok(forgotten));
    }
    for run in ended_before {
        assert!(record(&store, run).await.events_forgotten);
        assert_eq!(store.events(run, None, usize::MAX).await, Ok(Vec::new()));
    }
    for (run, before) in others.iter().zip(before) {
        assert_eq!(picture(&store, *run).await, before);
    }
    let runs = record(&store, runs).await;
    store
        .commit(move_commit(&runs, RunState::Completed))
        .await
        .expect("it goes on");
    let cancelled = store.update_parked_run(parked(waits.id, RunState::Cancelled)).await;
    cancelled.expect("it goes on");
    assert_eq!(store.forget_events(after_all(), 100).await, Ok(3));
}

/// Each run is forgotten once, whoever archives it at that moment, and a reader gets all up to some event: never what comes after a gap.
pub async fn forgetting_archiving_and_reading_at_once(store: Arc<dyn Store>) {
    const RUNS: u64 = 40;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let run = ended(&store, "acme", 30, 2).await.id;
        runs.push((run, log_bytes(&store, run, None, usize::MAX).await));
    }
    let runs = Arc::new(runs);
    let all_forgotten = Arc::new(AtomicBool::new(false));
    let readers = [500, 5000].map(|max_bytes| {
        let (store, runs, all_forgotten) = (store.clone(), runs.clone(), all_forgotten.clone());
        tokio::spawn(async move {
            while !all_forgotten.load(Ordering::SeqCst) {
                for (run, before) in runs.iter() {
                    assert!(before.starts_with(&log_bytes(&store, *run, None, max_bytes).await));
                }
            }
        })
    });
    let counts = at_once((0..6).map(|index| {
        let store = store.clone();
        async move {
            let mut forgotten = 0;
            for _ in 0..RUNS {
                if index % 2 == 0 {
                    store.archive_ended(after_all(), 3).await.expect("the store answers");
                } else {
                    forgotten += store.forget_events(after_all(), 2).await.expect("the store answers");
                }
            }
            forgotten
        }
    }))
    .await;
    let mut forgotten: u64 = counts.iter().sum();
    // Whoever found all that was left in the hands of others has left it to them.
    forgotten += store.forget_events(after_all(), 100).await.expect("the store answers");
    all_forgotten.store(true, Ordering::SeqCst);
    assert_eq!(forgotten, RUNS, "{counts:?}");
    for reader in readers {
        reader.await.expect("no reader saw a gap");
    }
    for (run, _) in runs.iter() {
        assert!(record(&store, *run).await.events_forgotten);
        assert_eq!(store.events(*run, None, usize::MAX).await, Ok(Vec::new()));
    }
}
