//! One after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::FreshThreads;
use super::fixtures::{
    account, at_once, claim, claimed, entering, move_commit, moves, parked, record, started, thread, waits,
};
use crate::error::RunError;
use crate::ids::InstanceId;
use crate::ports::store::{Claim, RunQuery};
use crate::ports::threads::OnBusy;
use crate::run_state::RunState;

/// In the transaction of the end.
pub async fn each_way_to_end_lets_the_next_one_in(fresh: &FreshThreads) {
    let store = &fresh.store;
    let thread = thread(fresh).await;
    let mut running = started(store, thread).await;
    for way in 0..5 {
        let next = waits(store, thread).await;
        assert_eq!(
            store.claim_run(claim(next.id, None)).await,
            Ok(Claim::ThreadBusy),
            "{way}"
        );
        match way {
            0 => moves(store, running.id, RunState::Completed).await,
            1 => moves(store, running.id, RunState::Cancelled).await,
            2 => {
                let failed = store.fail_abandoned_run(running.id, running.epoch, RunError::internal());
                assert!(failed.await.expect("the store answers").is_some());
            }
            3 => {
                moves(store, running.id, RunState::Waiting).await;
                let cancelled = store.update_parked_run(parked(running.id, RunState::Cancelled)).await;
                cancelled.expect("cancels");
            }
            _ => {
                moves(store, running.id, RunState::Queued).await;
                let failed = store.update_parked_run(parked(running.id, RunState::Failed)).await;
                failed.expect("fails");
            }
        }
        running = claimed(store, next.id).await;
    }
}

/// In its thread, whoever waits behind it.
pub async fn a_handed_over_run_stays_first(fresh: &FreshThreads) {
    let store = &fresh.store;
    let thread = thread(fresh).await;
    let first = started(store, thread).await;
    let second = waits(store, thread).await;
    moves(store, first.id, RunState::Queued).await;
    assert_eq!(store.claim_run(claim(second.id, None)).await, Ok(Claim::ThreadBusy));
    claimed(store, first.id).await;
    assert_eq!(store.claim_run(claim(second.id, None)).await, Ok(Claim::ThreadBusy));
    moves(store, first.id, RunState::Completed).await;
    claimed(store, second.id).await;
}

/// And goes on before them when what it waited for came.
pub async fn a_run_that_waits_keeps_the_others_waiting(fresh: &FreshThreads) {
    let store = &fresh.store;
    let thread = thread(fresh).await;
    let first = started(store, thread).await;
    let second = waits(store, thread).await;
    moves(store, first.id, RunState::Waiting).await;
    assert_eq!(store.claim_run(claim(second.id, None)).await, Ok(Claim::ThreadBusy));
    let resumed = store.update_parked_run(parked(first.id, RunState::Queued)).await;
    resumed.expect("goes on");
    assert_eq!(store.claim_run(claim(second.id, None)).await, Ok(Claim::ThreadBusy));
    claimed(store, first.id).await;
    // One in the middle may go.
    let third = waits(store, thread).await;
    let cancelled = store.update_parked_run(parked(second.id, RunState::Cancelled)).await;
    cancelled.expect("cancels");
    assert_eq!(store.claim_run(claim(third.id, None)).await, Ok(Claim::ThreadBusy));
    moves(store, first.id, RunState::Completed).await;
    claimed(store, third.id).await;
}

/// Those that wait among them.
pub async fn recovery_lists_what_has_not_ended(fresh: &FreshThreads) {
    let store = &fresh.store;
    let (one, other) = (thread(fresh).await, thread(fresh).await);
    let done = started(store, one).await;
    moves(store, done.id, RunState::Completed).await;
    let running = started(store, one).await;
    let behind = waits(store, one).await;
    let waiting = started(store, other).await;
    moves(store, waiting.id, RunState::Waiting).await;
    let recovered = store.recover(InstanceId::new()).await.expect("recovers");
    let expected: Vec<_> = [&running, &behind, &waiting]
        .map(|run| (run.thread.expect("it is in one"), run.id))
        .into();
    assert_eq!(recovered.in_threads, expected);
    assert_eq!(recovered.running[0].thread, running.thread);
}

/// Starts, claims, ends, hand-overs and waits, all at once: at no moment do two runs of the thread run, and all get their turn.
pub async fn never_two_of_a_thread_whatever_happens_at_once(fresh: &FreshThreads) {
    const RUNS: usize = 24;
    let thread = thread(fresh).await;
    let ended = Arc::new(AtomicUsize::new(0));
    let workers = (0..RUNS).map(|number| {
        let (store, ended) = (fresh.store.clone(), ended.clone());
        let run = waits_in(thread);
        let id = run.id;
        async move {
            store.create_run(run).await.expect("the store answers");
            loop {
                let Claim::Claimed { record, .. } = store.claim_run(claim(id, None)).await.expect("the store answers")
                else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let query = RunQuery {
                    account: account(super::fixtures::ACCOUNT),
                    thread: Some(thread),
                    state: Some(RunState::Running),
                    before: None,
                    limit: 100,
                };
                let running = store.list_runs(query).await.expect("the store answers");
                assert_eq!(running.len(), 1, "{running:?}");
                assert_eq!(running[0].id, id);
                let position = record.thread.expect("it is in one").position;
                assert_eq!(position as usize, ended.load(Ordering::SeqCst) + 1, "in their order");
                // Some leave and come back first.
                if record.epoch == 1 && number % 3 == 0 {
                    store
                        .commit(move_commit(&record, RunState::Queued))
                        .await
                        .expect("moves");
                    continue;
                }
                if record.epoch == 1 && number % 3 == 1 {
                    store
                        .commit(move_commit(&record, RunState::Waiting))
                        .await
                        .expect("moves");
                    let resumed = store.update_parked_run(parked(id, RunState::Queued)).await;
                    resumed.expect("goes on");
                    continue;
                }
                ended.fetch_add(1, Ordering::SeqCst);
                store
                    .commit(move_commit(&record, RunState::Completed))
                    .await
                    .expect("ends");
                return id;
            }
        }
    });
    for run in at_once(workers).await {
        assert_eq!(record(&fresh.store, run).await.state, RunState::Completed);
    }
    assert_eq!(ended.load(Ordering::SeqCst), RUNS);
}

fn waits_in(thread: crate::ids::ThreadId) -> crate::ports::store::NewRun {
    entering(thread, OnBusy::Queue, super::fixtures::QUEUE)
}
