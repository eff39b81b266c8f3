//! Runs that no actor has.

use std::sync::Arc;

use super::fixtures::{
    at_once, change, claim, claimed, created, kinds, move_commit, parked, picture, queued, record, running,
    running_runs,
};
use crate::error::RunError;
use crate::event::{EventBody, LostEvents, QueuedReason, WaitingReason};
use crate::ids::RunId;
use crate::item::Usage;
use crate::money::Money;
use crate::ports::store::{Claim, ParkedOutcome, ParkedUpdate, RunCommit, RunProgress, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;

/// The store knows where the log goes on; an update of nothing is none.
pub async fn an_update_is_numbered_by_the_store(store: Arc<dyn Store>) {
    let run = created(&store, queued("acme")).await;
    let moved_up = |position| EventBody::RunQueuePosition { position };
    let update = ParkedUpdate::telling(run.id, vec![moved_up(4), moved_up(2)]);
    for next_seq in [3, 5] {
        let outcome = store.update_parked_run(update.clone()).await;
        let Ok(ParkedOutcome::Updated { record: after, events }) = outcome else {
            panic!("not updated: {outcome:?}");
        };
        let events = events.expect("two events");
        assert_eq!((events.first_seq(), events.count()), (next_seq - 2, 2));
        assert_eq!(
            *after,
            RunRecord {
                next_seq,
                ..run.clone()
            }
        );
        assert_eq!(record(&store, run.id).await, *after);
    }
    let nothing = ParkedUpdate {
        events: Vec::new(),
        ..update
    };
    let before = picture(&store, run.id).await;
    let outcome = store.update_parked_run(nothing).await;
    let expected = ParkedOutcome::Updated {
        record: Box::new(before.0.clone()),
        events: None,
    };
    assert_eq!(outcome, Ok(expected));
    assert_eq!(picture(&store, run.id).await, before);
}

/// The last event carries the error and what the run has cost so far.
pub async fn an_ending_is_told_by_the_store(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let usage = Usage::of(5, 6);
    let wait = RunCommit {
        progress: Some(RunProgress {
            steps: 1,
            usage,
            cost: Money::ZERO,
        }),
        ..move_commit(&run, RunState::Waiting)
    };
    store.commit(wait).await.expect("waits");
    assert_eq!(record(&store, run.id).await.waiting, Some(WaitingReason::NeedsReview));
    let outcome = store.update_parked_run(parked(run.id, RunState::Failed)).await;
    let Ok(ParkedOutcome::Updated { record: ended, events }) = outcome else {
        panic!("not ended: {outcome:?}");
    };
    let events = events.expect("the last event");
    assert!(events.is_terminal());
    let error = RunError::internal();
    let told = EventBody::RunFailed {
        error: error.clone(),
        usage,
    };
    assert_eq!(events.events().expect("decodes")[0].body, told);
    assert_eq!((ended.state, ended.error.clone()), (RunState::Failed, Some(error)));
    assert!(ended.ended_at.is_some() && ended.waiting.is_none());
    assert_eq!(record(&store, run.id).await, *ended);
    assert_eq!(kinds(&store, run.id).await, ["run.created", "run.failed"]);
}

/// They come back as they are, untouched; unknown ones are not found.
pub async fn running_and_ended_runs_are_not_parked(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    let before = picture(&store, run.id).await;
    let outcome = store.update_parked_run(parked(run.id, RunState::Cancelled)).await;
    assert_eq!(outcome, Ok(ParkedOutcome::NotParked(Box::new(before.0.clone()))));
    assert_eq!(picture(&store, run.id).await, before);
    store
        .commit(move_commit(&run, RunState::Completed))
        .await
        .expect("ends");
    let before = picture(&store, run.id).await;
    for to in RunState::ALL {
        let outcome = store.update_parked_run(parked(run.id, to)).await;
        assert_eq!(outcome, Ok(ParkedOutcome::NotParked(Box::new(before.0.clone()))));
    }
    assert_eq!(picture(&store, run.id).await, before);
    let unknown = store.update_parked_run(parked(RunId::new(), RunState::Cancelled)).await;
    assert_eq!(unknown, Ok(ParkedOutcome::NotFound));
}

/// `running` takes a claim; no run stays where it is by moving; a last event needs its change.
pub async fn illegal_parked_moves_are_refused(store: Arc<dyn Store>) {
    let run = created(&store, queued("acme")).await;
    let waiting = running(&store, "acme").await;
    store
        .commit(move_commit(&waiting, RunState::Waiting))
        .await
        .expect("waits");
    for (id, from) in [(run.id, RunState::Queued), (waiting.id, RunState::Waiting)] {
        let before = picture(&store, id).await;
        let illegal = RunState::ALL
            .into_iter()
            .filter(|to| *to == RunState::Running || !from.may_become(*to));
        for to in illegal {
            let outcome = store.update_parked_run(parked(id, to)).await;
            assert_eq!(outcome, Err(StoreError::IllegalMove { from, to }));
        }
        let told_too_early = ParkedUpdate::telling(
            id,
            vec![EventBody::RunCancelled {
                usage: Usage::default(),
            }],
        );
        assert!(store.update_parked_run(told_too_early).await.is_err());
        assert_eq!(picture(&store, id).await, before);
    }
}

/// With its events first, and free to be claimed under the next epoch.
pub async fn a_waiting_run_returns_to_the_queue(store: Arc<dyn Store>) {
    let run = running(&store, "acme").await;
    store.commit(move_commit(&run, RunState::Waiting)).await.expect("waits");
    let update = ParkedUpdate::moving(
        run.id,
        vec![EventBody::RunQueued {
            position: 1,
            reason: QueuedReason::Resumed,
        }],
        change(RunState::Queued),
    );
    let outcome = store.update_parked_run(update).await;
    assert!(matches!(outcome, Ok(ParkedOutcome::Updated { .. })));
    let after = record(&store, run.id).await;
    assert_eq!((after.state, after.waiting, after.epoch), (RunState::Queued, None, 1));
    assert_eq!(claimed(&store, run.id).await.epoch, 2);
    assert_eq!(
        kinds(&store, run.id).await,
        ["run.created", "run.queued", "run.started"]
    );
}

/// A cancel and a claim at once: either it is cancelled and nobody runs it, or it runs and the cancel is told so.
pub async fn an_update_and_a_claim_never_both_win(store: Arc<dyn Store>) {
    let mut runs = Vec::new();
    for _ in 0..100 {
        runs.push(created(&store, queued("acme")).await.id);
    }
    let outcomes = at_once(runs.into_iter().map(|id| {
        let store = store.clone();
        async move {
            let cancel = store.update_parked_run(parked(id, RunState::Cancelled));
            let claim = store.claim_run(claim(id, None));
            let (cancel, claim) = futures::join!(cancel, claim);
            (
                id,
                cancel.expect("the store answers"),
                claim.expect("the store answers"),
            )
        }
    }))
    .await;
    let mut running = 0;
    for (id, cancel, claim) in outcomes {
        let state = record(&store, id).await.state;
        match (cancel, claim) {
            (ParkedOutcome::Updated { .. }, Claim::NotQueued) => assert_eq!(state, RunState::Cancelled),
            (ParkedOutcome::NotParked(record), Claim::Claimed { .. }) => {
                assert_eq!((state, record.state), (RunState::Running, RunState::Running));
                running += 1;
            }
            other => panic!("both or neither: {other:?}"),
        }
    }
    assert_eq!(running_runs(&store, "acme").await, running);
}

/// One ending, whoever asks how often.
pub async fn many_cancels_are_one_ending(store: Arc<dyn Store>) {
    let id = created(&store, queued("acme")).await.id;
    let ends = [RunState::Cancelled, RunState::Failed];
    let outcomes = at_once((0..100).map(|index| {
        let store = store.clone();
        async move {
            store
                .update_parked_run(parked(id, ends[index % 2]))
                .await
                .expect("the store answers")
        }
    }))
    .await;
    let ended = record(&store, id).await;
    let mut updates = 0;
    for outcome in outcomes {
        match outcome {
            ParkedOutcome::Updated { .. } => updates += 1,
            other => assert_eq!(other, ParkedOutcome::NotParked(Box::new(ended.clone()))),
        }
    }
    assert_eq!(updates, 1);
    assert_eq!(
        kinds(&store, id).await,
        ["run.created".to_owned(), format!("run.{}", ended.state)]
    );
}

/// Failed, told above what was reserved, Slot free, old actor fenced; not again, and not under another epoch.
pub async fn an_abandoned_run_fails_once(store: Arc<dyn Store>) {
    let run = crate::ports::store::NewRun {
        reserved_seq: 30,
        ..super::fixtures::starting("acme", None)
    };
    let run = created(&store, run).await;
    let error = RunError::internal();
    assert_eq!(store.fail_abandoned_run(run.id, 2, error.clone()).await, Ok(None));
    assert_eq!(store.fail_abandoned_run(RunId::new(), 1, error.clone()).await, Ok(None));
    assert_eq!(record(&store, run.id).await, run);
    let events = store.fail_abandoned_run(run.id, 1, error.clone()).await;
    let events = events.expect("the store answers").expect("the last event");
    assert_eq!(
        (events.first_seq(), events.count(), events.is_terminal()),
        (30, 2, true)
    );
    let lost = LostEvents {
        from: run.next_seq,
        to: 29,
    };
    let bodies: Vec<_> = events
        .events()
        .expect("whole")
        .into_iter()
        .map(|event| event.body)
        .collect();
    let told = EventBody::RunRecovered {
        epoch: 2,
        lost: Some(lost),
    };
    assert_eq!(bodies[0], told);
    let failed = record(&store, run.id).await;
    assert_eq!((failed.state, failed.epoch, failed.next_seq), (RunState::Failed, 2, 32));
    assert!(failed.error == Some(error.clone()) && failed.ended_at.is_some());
    assert_eq!(running_runs(&store, "acme").await, 0);
    for epoch in [1, 2] {
        assert_eq!(store.fail_abandoned_run(run.id, epoch, error.clone()).await, Ok(None));
    }
    let late = store.commit(super::fixtures::delta_commit(&run, 1)).await;
    assert_eq!(late, Err(StoreError::Fenced));
    assert_eq!(store.events(run.id, Some(0), usize::MAX).await, Ok(vec![events]));
}
