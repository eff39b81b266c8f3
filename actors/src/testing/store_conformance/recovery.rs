//! What a new instance takes over from the one before it.

use std::sync::Arc;

use super::fixtures::{claim, created, delta_commit, kinds, move_commit, picture, queued, record, running, starting};
use crate::ids::InstanceId;
use crate::ports::store::{Admission, Claim, ClaimRun, Creation, NewRun, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// Under the next epoch, oldest first, with all they have; the instance that lost them is fenced, the one that has them loses none.
pub async fn running_runs_are_taken_over_once(store: Arc<dyn Store>) {
    let mut left = Vec::new();
    for _ in 0..5 {
        let run = running(&store, "acme").await;
        store.commit(delta_commit(&run, 3)).await.expect("written");
        left.push(record(&store, run.id).await);
    }
    let ended = running(&store, "acme").await;
    store
        .commit(move_commit(&ended, RunState::Completed))
        .await
        .expect("ends");
    let waits = running(&store, "acme").await;
    store
        .commit(move_commit(&waits, RunState::Waiting))
        .await
        .expect("waits");

    let me = InstanceId::new();
    let mine = NewRun {
        instance: me,
        ..starting("acme", None)
    };
    let mine = created(&store, mine).await;
    let recovered = store.recover(me).await.expect("the store answers");
    let expected: Vec<RunRecord> = left.iter().cloned().map(|run| RunRecord { epoch: 2, ..run }).collect();
    assert_eq!(recovered.running, expected);
    for run in &expected {
        assert_eq!(record(&store, run.id).await, *run);
    }
    assert_eq!(record(&store, mine.id).await, mine, "its own run is not taken over");
    assert_eq!(store.commit(delta_commit(&left[0], 1)).await, Err(StoreError::Fenced));
    store
        .commit(delta_commit(&expected[0], 1))
        .await
        .expect("the new owner writes");
    kinds(&store, expected[0].id).await;

    let again = store.recover(me).await.expect("the store answers");
    assert_eq!(again.running, [], "what it has, it does not lose to itself");
    let next = store.recover(InstanceId::new()).await.expect("the store answers");
    assert_eq!(next.running.len(), 6);
    assert!(
        next.running
            .iter()
            .all(|run| run.epoch == if run.id == mine.id { 2 } else { 3 })
    );
}

/// With what the supervisor needs to order it; unchanged by it.
pub async fn the_queue_is_listed_oldest_first(store: Arc<dyn Store>) {
    let deadline = Some(Timestamp::from_micros(99));
    let mut expected = Vec::new();
    for index in 0..12 {
        let run = NewRun {
            admission: Admission::Queue { deadline },
            ..queued(["acme", "beta", "gamma"][index % 3])
        };
        let mut run = created(&store, run).await;
        if index % 4 == 1 {
            let Ok(Claim::Claimed { record, .. }) = store.claim_run(claim(run.id, None)).await else {
                panic!("not claimed");
            };
            store
                .commit(move_commit(&record, RunState::Queued))
                .await
                .expect("handed over");
            run.queue_deadline = None;
        }
        expected.push((run.id, run.account, run.tier, run.queue_deadline));
    }
    let before = picture(&store, expected[0].0).await;
    let recovered = store.recover(InstanceId::new()).await.expect("the store answers");
    let listed: Vec<_> = recovered
        .queued
        .into_iter()
        .map(|run| (run.id, run.account, run.tier, run.deadline))
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(picture(&store, expected[0].0).await, before);
}

/// Exact, whatever was before; and the quota goes on from there.
pub async fn slots_are_counted_from_the_runs(store: Arc<dyn Store>) {
    for _ in 0..3 {
        running(&store, "acme").await;
    }
    let gone = running(&store, "gone").await;
    store
        .commit(move_commit(&gone, RunState::Cancelled))
        .await
        .expect("ends");
    running(&store, "beta").await;
    let id = created(&store, queued("beta")).await.id;
    let me = InstanceId::new();
    store.recover(me).await.expect("the store answers");
    let full = Ok(Creation::QuotaExceeded { running: 3 });
    assert_eq!(store.create_run(starting("acme", Some(3))).await, full);
    let claim = ClaimRun {
        instance: me,
        ..claim(id, Some(2))
    };
    assert!(matches!(store.claim_run(claim).await, Ok(Claim::Claimed { .. })));
    store.recover(me).await.expect("the store answers");
    let full = Ok(Creation::QuotaExceeded { running: 2 });
    assert_eq!(store.create_run(starting("beta", Some(2))).await, full);
}
