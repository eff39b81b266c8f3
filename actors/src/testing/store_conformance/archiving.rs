//! The archive: what readers get does not depend on it, at no moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::fixtures::{
    after_all, at_once, claimed, commit, created, delta_commit, ended, kinds, log_bytes, log_bytes_without,
    move_commit, parked, picture, queued, record, running,
};
use crate::encoding::encode;
use crate::error::RunError;
use crate::event::EventBody;
use crate::ids::{ItemId, RunId};
use crate::item::{Item, Role};
use crate::ports::store::{RunCommit, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;

/// In how many batches the store gives the run's events.
async fn batches(store: &Arc<dyn Store>, run: RunId) -> usize {
    let all = store.events(run, None, usize::MAX).await;
    all.expect("the store answers").len()
}

/// From every place, in pages of any size, with the terminal event at the end, and with the gap that a crash has left.
pub async fn an_archived_run_reads_the_same(store: Arc<dyn Store>) {
    let mut run = running(&store, "acme").await;
    for _ in 0..20 {
        let step = RunCommit {
            items: vec![Item::message(Role::Assistant, "a step")],
            reserved_seq: run.next_seq + 13,
            ..delta_commit(&run, 3)
        };
        store.commit(step).await.expect("written");
        run = record(&store, run.id).await;
    }
    let left_out = run.next_seq..run.reserved_seq;
    run.next_seq = run.reserved_seq;
    for _ in 0..20 {
        store.commit(delta_commit(&run, 3)).await.expect("written");
        run.next_seq += 3;
    }
    store
        .commit(move_commit(&run, RunState::Completed))
        .await
        .expect("ends");
    let (record_before, items_before, batches_before) = picture(&store, run.id).await;
    let places: Vec<Option<u64>> = std::iter::once(None).chain((0..run.next_seq + 3).map(Some)).collect();
    let mut before = Vec::new();
    for after in &places {
        before.push(log_bytes_without(&store, run.id, *after, usize::MAX, left_out.clone()).await);
    }

    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(1));
    let (record_after, items_after, batches_after) = picture(&store, run.id).await;
    assert_eq!((record_after, items_after), (record_before, items_before));
    assert!(batches_after.len() < batches_before.len(), "{}", batches_after.len());
    assert!(
        batches_after
            .last()
            .is_some_and(crate::encoding::EncodedEvents::is_terminal)
    );
    for (after, before) in places.iter().zip(&before) {
        for max_bytes in [1, 700, 5000, usize::MAX] {
            let now = log_bytes_without(&store, run.id, *after, max_bytes, left_out.clone()).await;
            assert!(now == *before, "after {after:?} in pages of {max_bytes} bytes");
        }
    }
    assert_eq!(store.archive_ended(after_all(), 10).await, Ok(0), "once is enough");
    assert_eq!(store.commit(delta_commit(&run, 1)).await, Err(StoreError::Fenced));
}

/// However they ended; what goes on or ended later is as it was, and goes on.
pub async fn only_runs_that_have_ended_long_ago_are_archived(store: Arc<dyn Store>) {
    for to in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        let run = running(&store, "acme").await;
        store.commit(move_commit(&run, to)).await.expect("ends");
    }
    let given_up = created(&store, queued("acme")).await.id;
    let cancelled = store.update_parked_run(parked(given_up, RunState::Cancelled)).await;
    cancelled.expect("ends");
    let abandoned = running(&store, "acme").await;
    let failed = store
        .fail_abandoned_run(abandoned.id, abandoned.epoch, RunError::internal())
        .await;
    failed.expect("the store answers").expect("ends");

    let waits_in_line = created(&store, queued("acme")).await;
    let runs = running(&store, "acme").await;
    store.commit(delta_commit(&runs, 3)).await.expect("written");
    let waits = running(&store, "acme").await;
    store
        .commit(move_commit(&waits, RunState::Waiting))
        .await
        .expect("waits");
    let ended_later = ended(&store, "acme", 3, 2).await;
    let others = [waits_in_line.id, runs.id, waits.id, ended_later.id];
    let mut before = Vec::new();
    for run in others {
        before.push(picture(&store, run).await);
    }
    let ended_before = ended_later.ended_at.expect("it has ended");
    assert_eq!(store.archive_ended(ended_before, 100).await, Ok(5));
    for (run, before) in others.iter().zip(before) {
        assert_eq!(picture(&store, *run).await, before);
    }

    let runs = record(&store, runs.id).await;
    store.commit(delta_commit(&runs, 3)).await.expect("it goes on");
    let back = store.update_parked_run(parked(waits.id, RunState::Queued)).await;
    back.expect("it goes on");
    for run in [waits_in_line.id, waits.id] {
        let run = claimed(&store, run).await;
        store
            .commit(move_commit(&run, RunState::Completed))
            .await
            .expect("ends");
    }
    let mut told = Vec::new();
    for run in others {
        told.push(kinds(&store, run).await);
    }
    assert_eq!(store.archive_ended(after_all(), 100).await, Ok(3));
    for (run, told) in others.iter().zip(told) {
        assert_eq!(kinds(&store, *run).await, told);
    }
}

/// And no more than asked for.
pub async fn runs_that_ended_first_are_archived_first(store: Arc<dyn Store>) {
    let mut started = Vec::new();
    for _ in 0..5 {
        let run = running(&store, "acme").await;
        store.commit(delta_commit(&run, 2)).await.expect("written");
        started.push(record(&store, run.id).await);
    }
    // The last to start is the first to end.
    started.reverse();
    for run in &started {
        store.commit(move_commit(run, RunState::Completed)).await.expect("ends");
    }
    let mut expected = [3; 5];
    for (limit, archived) in [(0, 0), (2, 2), (1, 3), (100, 5)] {
        let already = expected.iter().filter(|count| **count == 1).count();
        assert_eq!(
            store.archive_ended(after_all(), limit).await,
            Ok((archived - already) as u64)
        );
        expected[..archived].fill(1);
        for (run, expected) in started.iter().zip(expected) {
            assert_eq!(batches(&store, run.id).await, expected);
        }
    }
}

/// None twice, none left.
pub async fn many_at_once_archive_each_run_once(store: Arc<dyn Store>) {
    const RUNS: u64 = 60;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        let run = ended(&store, "acme", 6, 2).await.id;
        runs.push((run, log_bytes(&store, run, None, usize::MAX).await));
    }
    let counts = at_once((0..6).map(|_| {
        let store = store.clone();
        async move {
            let mut archived = 0;
            loop {
                match store.archive_ended(after_all(), 7).await.expect("the store answers") {
                    0 => return archived,
                    count => archived += count,
                }
            }
        }
    }))
    .await;
    let mut archived: u64 = counts.iter().sum();
    // Whoever found all that was left in the hands of others has stopped.
    archived += store.archive_ended(after_all(), 100).await.expect("the store answers");
    assert_eq!(archived, RUNS, "{counts:?}");
    for (run, before) in runs {
        assert_eq!(batches(&store, run).await, 1);
        assert!(log_bytes(&store, run, None, usize::MAX).await == before);
    }
}

/// In small pages, from the first event to the last, again and again: no page sees the old rows and the new ones, or neither.
pub async fn readers_page_through_while_runs_are_archived(store: Arc<dyn Store>) {
    let mut runs = Vec::new();
    for _ in 0..12 {
        let run = ended(&store, "acme", 80, 2).await.id;
        runs.push((run, log_bytes(&store, run, None, usize::MAX).await));
    }
    let runs = Arc::new(runs);
    let all_archived = Arc::new(AtomicBool::new(false));
    let readers = [300, 2000, 10_000, usize::MAX].map(|max_bytes| {
        let (store, runs, all_archived) = (store.clone(), runs.clone(), all_archived.clone());
        tokio::spawn(async move {
            loop {
                // Looked at before the last round, which reads what is there in the end.
                let is_last_round = all_archived.load(Ordering::SeqCst);
                for (run, before) in runs.iter() {
                    assert!(log_bytes(&store, *run, None, max_bytes).await == *before);
                }
                if is_last_round {
                    return;
                }
            }
        })
    });
    let mut archived = 0;
    for _ in 0..runs.len() {
        archived += store.archive_ended(after_all(), 1).await.expect("the store answers");
    }
    all_archived.store(true, Ordering::SeqCst);
    assert_eq!(archived, 12);
    for reader in readers {
        reader.await.expect("every reader saw the same");
    }
}

/// A run of this many commits of ten events each, of some 600 bytes.
async fn long_run(store: &Arc<dyn Store>, commits: u64) -> RunRecord {
    let mut run = running(store, "acme").await;
    let item_id = ItemId::new();
    for _ in 0..commits {
        let deltas = (0..10).map(|index| EventBody::TextDelta {
            item_id,
            delta: format!("{} {index} ", run.next_seq).repeat(50),
        });
        let step = RunCommit {
            events: encode(run.id, run.next_seq, deltas),
            ..commit(&run)
        };
        store.commit(step).await.expect("written");
        run.next_seq += 10;
    }
    store
        .commit(move_commit(&run, RunState::Completed))
        .await
        .expect("ends");
    record(store, run.id).await
}

/// Ten thousand events: more than is rewritten in one transaction.
pub async fn a_very_long_log_is_archived_whole(store: Arc<dyn Store>) {
    let run = long_run(&store, 1000).await;
    assert_eq!(run.next_seq, 10_002);
    let before = log_bytes(&store, run.id, None, usize::MAX).await;
    let batches_before = batches(&store, run.id).await;
    assert_eq!(store.archive_ended(after_all(), 1).await, Ok(1));
    assert!(batches(&store, run.id).await < batches_before / 5);
    assert!(log_bytes(&store, run.id, None, 10_000).await == before);
    // Every event begins where the one before it ended, so each is found by its seq.
    let mut starts = vec![0];
    starts.extend(
        before
            .windows(2)
            .enumerate()
            .filter(|(_, pair)| *pair == b"\n\n")
            .map(|(at, _)| at + 2),
    );
    for after in (0..run.next_seq - 1).step_by(61) {
        let page = store.events(run.id, Some(after), 1).await.expect("the store answers");
        let first = page.first().expect("there is more");
        assert_eq!(first.first_seq(), after + 1);
        let start = starts[after as usize + 1];
        assert!(before[start..].starts_with(first.bytes()), "after {after}");
    }
}

/// Whoever archives may be gone at any moment, also in the middle of a run.
pub async fn an_archive_that_is_given_up_is_taken_up_again(store: Arc<dyn Store>) {
    let run = long_run(&store, 600).await.id;
    let before = log_bytes(&store, run, None, usize::MAX).await;
    let batches_before = batches(&store, run).await;
    for patience in [1, 5, 20, 60, 150] {
        let given_up = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = store.archive_ended(after_all(), 1) => {}
            () = given_up => {}
        }
        assert!(log_bytes(&store, run, None, 50_000).await == before);
    }
    while store.archive_ended(after_all(), 1).await.expect("the store answers") > 0 {}
    assert!(batches(&store, run).await < batches_before / 5);
    assert!(log_bytes(&store, run, None, 50_000).await == before);
}
