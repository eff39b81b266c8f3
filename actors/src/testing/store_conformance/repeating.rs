//! Commits whose answer was lost on the way and that come again: what is there, byte for byte, is answered and not written twice.

use std::sync::Arc;

use super::fixtures::{
    at_once, change, claimed, commit, created, delta_commit, deltas, kinds, move_commit, picture, record, running,
    running_runs, starting,
};
use crate::encoding::{EncodedEvents, encode};
use crate::event::{EventBody, QueuedReason, WaitingReason};
use crate::ids::InstanceId;
use crate::item::{Item, Role, Usage};
use crate::money::Money;
use crate::ports::store::{Creation, NewRun, RunCommit, RunProgress, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;

/// A step with all that a step can have.
fn step(run: &RunRecord, steps: u32) -> RunCommit {
    RunCommit {
        items: vec![Item::message(Role::Assistant, format!("answer {steps}"))],
        progress: Some(RunProgress {
            steps,
            usage: Usage::of(u64::from(steps), 1),
            cost: Money::from_nanos(u64::from(steps)),
        }),
        reserved_seq: u64::from(steps) * 1000,
        ..delta_commit(run, 3)
    }
}

/// A move that is no ending, with the event that tells of it.
fn told_move(run: &RunRecord, to: RunState) -> RunCommit {
    let event = match to {
        RunState::Waiting => EventBody::RunWaiting {
            reason: WaitingReason::NeedsReview,
            calls: Vec::new(),
        },
        _ => EventBody::RunQueued {
            position: 1,
            reason: QueuedReason::HandedOver,
        },
    };
    RunCommit {
        events: encode(run.id, run.next_seq, [event]),
        change: Some(change(to)),
        ..commit(run)
    }
}

async fn assert_there(store: &Arc<dyn Store>, again: &RunCommit) {
    let before = picture(store, again.run).await;
    for _ in 0..2 {
        assert_eq!(store.commit(again.clone()).await, Ok(()));
        assert_eq!(picture(store, again.run).await, before, "it changes nothing");
    }
}

/// At once, after later steps, and after the run has gone elsewhere: neither items, nor progress, nor the state move back.
pub async fn a_commit_that_is_there_is_answered_again(store: Arc<dyn Store>) {
    for to in [RunState::Queued, RunState::Waiting] {
        let run = running(&store, "acme").await;
        let mut written = Vec::new();
        for steps in 1..4 {
            let now = record(&store, run.id).await;
            let step = step(&now, steps);
            store.commit(step.clone()).await.expect("written");
            written.push(step);
            for again in &written {
                assert_there(&store, again).await;
            }
        }
        let leaves = told_move(&record(&store, run.id).await, to);
        store.commit(leaves.clone()).await.expect("moves");
        written.push(leaves);
        for again in &written {
            assert_there(&store, again).await;
        }
        assert_eq!(record(&store, run.id).await.state, to);
        assert_eq!(kinds(&store, run.id).await.len(), 11);
    }
}

/// The run ends once, and its Slot is given back once.
pub async fn an_ending_that_is_there_is_answered_again(store: Arc<dyn Store>) {
    for to in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        let account = to.as_str();
        created(&store, starting(account, Some(2))).await;
        let run = created(&store, starting(account, Some(2))).await;
        let last_step = RunCommit {
            items: vec![Item::message(Role::Assistant, "the end")],
            ..move_commit(&run, to)
        };
        store.commit(last_step.clone()).await.expect("ends");
        assert_there(&store, &last_step).await;
        let full = Ok(Creation::QuotaExceeded { running: 1 });
        assert_eq!(store.create_run(starting(account, Some(1))).await, full);
        assert_eq!(running_runs(&store, account).await, 1);
        let other_ending = store.commit(move_commit(&run, RunState::Completed)).await;
        assert_eq!(other_ending, Err(StoreError::Fenced), "another ending at the same seq");
    }
}

/// After a take-over and after a hand-over the old epoch's last commit is still there; anything new under it is not taken.
pub async fn an_old_owner_hears_of_what_it_wrote_and_writes_no_more(store: Arc<dyn Store>) {
    let lost = running(&store, "acme").await;
    let lost_step = step(&lost, 1);
    store.commit(lost_step.clone()).await.expect("written");
    store.recover(InstanceId::new()).await.expect("the store answers");
    assert_eq!(record(&store, lost.id).await.epoch, 2);

    let handed_over = running(&store, "acme").await;
    let leaves = told_move(&handed_over, RunState::Queued);
    store.commit(leaves.clone()).await.expect("handed over");
    let now = claimed(&store, handed_over.id).await;
    assert_eq!(now.epoch, 2);

    for (old, last) in [(&lost, &lost_step), (&handed_over, &leaves)] {
        assert_there(&store, last).await;
        let now = record(&store, old.id).await;
        let before = picture(&store, old.id).await;
        let late = RunRecord {
            epoch: old.epoch,
            ..now.clone()
        };
        for late in [step(&late, 2), told_move(&late, RunState::Queued), step(old, 1)] {
            assert_eq!(store.commit(late).await, Err(StoreError::Fenced));
            assert_eq!(picture(&store, old.id).await, before);
        }
        store.commit(step(&now, 2)).await.expect("the new owner writes");
        assert_there(&store, last).await;
    }
}

fn with_events(run: &RunRecord, events: Option<EncodedEvents>) -> RunCommit {
    RunCommit { events, ..commit(run) }
}

/// The same seqs with other bytes, a part of what is there, two writes as one, or what is there and a little more.
pub async fn what_only_looks_like_a_commit_that_is_there_is_refused(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let events = deltas(run.id, 1, 9);
    let (first, rest) = (events.truncated(3), events.after(Some(3)).expect("six more"));
    let (second, third) = (rest.truncated(3), rest.after(Some(6)).expect("three more"));
    for part in [&first, &second] {
        let written = with_events(&run, Some(part.clone()));
        store.commit(written).await.expect("written");
    }
    let before = picture(&store, run.id).await;
    let wrong = [
        ("other bytes", Some(deltas(run.id, 1, 3))),
        ("other bytes, the last ones", Some(deltas(run.id, 4, 3))),
        ("the beginning of one", Some(first.truncated(2))),
        ("the end of one", first.after(Some(1))),
        ("two as one", EncodedEvents::join_all([&first, &second])),
        (
            "the end of one and the next",
            events.after(Some(2)).map(|some| some.truncated(4)),
        ),
        ("one and new ones", EncodedEvents::join_all([&second, &third])),
    ];
    for (what, events) in wrong {
        let refused = store.commit(with_events(&run, events)).await;
        assert_eq!(refused, Err(StoreError::Fenced), "{what}");
        assert_eq!(picture(&store, run.id).await, before, "{what}");
    }
    // Bytes of this run, sent as another's.
    let other = running(&store, "acme").await;
    store.commit(delta_commit(&other, 3)).await.expect("written");
    let before = picture(&store, other.id).await;
    let foreign = store.commit(with_events(&other, Some(first.clone()))).await;
    assert_eq!(foreign, Err(StoreError::Fenced));
    assert_eq!(picture(&store, other.id).await, before);
    store
        .commit(with_events(&run, Some(third)))
        .await
        .expect("the right one");
    // Longer than what is there, and then nothing is there for a while: what a crash left out.
    let jumping = NewRun {
        reserved_seq: 50,
        ..starting("acme", None)
    };
    let jumping = created(&store, jumping).await;
    let above = with_events(&jumping, Some(deltas(jumping.id, 50, 2)));
    store.commit(above.clone()).await.expect("above what is reserved");
    assert_there(&store, &above).await;
    let before = picture(&store, jumping.id).await;
    for first_seq in [0, 1, 49, 50] {
        let wrong = with_events(&jumping, Some(deltas(jumping.id, first_seq, 60)));
        assert_eq!(store.commit(wrong).await, Err(StoreError::Fenced), "from {first_seq}");
        assert_eq!(picture(&store, jumping.id).await, before);
    }
}

/// Twice in one batch or in two at the same moment: each is answered, and one is written.
pub async fn the_same_commit_at_once_is_written_once(store: Arc<dyn Store>) {
    let run = created(&store, starting("acme", Some(1))).await;
    let ending = |next_seq| RunRecord {
        next_seq,
        ..run.clone()
    };
    for repeated in [step(&run, 1), move_commit(&ending(4), RunState::Completed)] {
        let answers = at_once((0..60).map(|_| {
            let (store, repeated) = (store.clone(), repeated.clone());
            async move { store.commit(repeated).await }
        }))
        .await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    let (ended, items, batches) = picture(&store, run.id).await;
    assert_eq!((ended.state, ended.next_seq), (RunState::Completed, 5));
    assert_eq!((items.len(), batches.len()), (2, 3));
    created(&store, starting("acme", Some(1))).await;
    let full = Ok(Creation::QuotaExceeded { running: 1 });
    assert_eq!(store.create_run(starting("acme", Some(1))).await, full);
}
