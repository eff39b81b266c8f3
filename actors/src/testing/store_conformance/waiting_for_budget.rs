//! Runs that wait until their account may use more.

use std::sync::Arc;

use super::fixtures::{change, claimed, commit, created, kinds, move_commit, parked, queued, record, running};
use crate::encoding::encode;
use crate::event::{EventBody, QueuedReason, WaitingReason};
use crate::ids::{AccountId, RunId};
use crate::ports::Store;
use crate::ports::store::{ParkedOutcome, ParkedUpdate, RunCommit, RunRecord, StateChange};
use crate::run_state::RunState;

/// A step by which the run goes to wait for its budget.
fn exhausted(run: &RunRecord) -> RunCommit {
    let reason = WaitingReason::Budget;
    RunCommit {
        events: encode(
            run.id,
            run.next_seq,
            [EventBody::RunWaiting {
                reason,
                calls: Vec::new(),
            }],
        ),
        change: Some(StateChange {
            waiting: Some(reason),
            ..change(RunState::Waiting)
        }),
        ..commit(run)
    }
}

async fn waits(store: &Arc<dyn Store>, account_name: &str) -> RunRecord {
    let run = running(store, account_name).await;
    store.commit(exhausted(&run)).await.expect("waits");
    record(store, run.id).await
}

async fn listed(store: &Arc<dyn Store>, after: Option<RunId>, limit: u32) -> Vec<(RunId, AccountId)> {
    let listed = store.runs_waiting_for_budget(after, limit).await;
    listed.expect("the store answers")
}

/// Of all accounts, page by page; nothing that waits for something else, or does not wait.
pub async fn runs_that_wait_for_their_budget_are_listed_oldest_first(store: Arc<dyn Store>) {
    assert_eq!(listed(&store, None, 10).await, []);
    let mut waiting = Vec::new();
    for name in ["acme", "zeta", "acme", "beta", "acme"] {
        let run = waits(&store, name).await;
        waiting.push((run.id, run.account));
        created(&store, queued(name)).await;
        let reviewed = running(&store, name).await;
        let leaves = move_commit(&reviewed, RunState::Waiting);
        store.commit(leaves).await.expect("waits");
    }
    assert_eq!(listed(&store, None, 10).await, waiting);
    assert_eq!(listed(&store, None, 2).await, waiting[..2]);
    assert_eq!(listed(&store, Some(waiting[1].0), 2).await, waiting[2..4]);
    assert_eq!(listed(&store, Some(waiting[4].0), 2).await, []);
    assert_eq!(listed(&store, None, 0).await, []);
    for (place, to) in [(3, RunState::Cancelled), (1, RunState::Failed), (0, RunState::Queued)] {
        let (run, _) = waiting.remove(place);
        let outcome = store.update_parked_run(parked(run, to)).await;
        assert!(matches!(outcome, Ok(ParkedOutcome::Updated { .. })), "{outcome:?}");
        assert_eq!(listed(&store, None, 10).await, waiting);
    }
}

/// First in its line, as one that was resumed; and it may come to wait again.
pub async fn a_run_that_waited_for_its_budget_goes_on(store: Arc<dyn Store>) {
    let run = waits(&store, "acme").await;
    assert_eq!(
        (run.state, run.waiting),
        (RunState::Waiting, Some(WaitingReason::Budget))
    );
    for epoch in 2..4 {
        let update = ParkedUpdate::moving(
            run.id,
            vec![EventBody::RunQueued {
                position: 1,
                reason: QueuedReason::Resumed,
            }],
            change(RunState::Queued),
        );
        let outcome = store.update_parked_run(update.clone()).await;
        let Ok(ParkedOutcome::Updated { record: resumed, .. }) = outcome else {
            panic!("not updated: {outcome:?}");
        };
        assert_eq!((resumed.state, resumed.waiting), (RunState::Queued, None));
        assert_eq!(listed(&store, None, 10).await, []);
        // Whoever else finds that there is enough again comes too late.
        let again = store.update_parked_run(update).await;
        assert!(!matches!(again, Ok(ParkedOutcome::Updated { .. })), "{again:?}");
        let now = claimed(&store, run.id).await;
        assert_eq!((now.state, now.epoch), (RunState::Running, epoch));
        store.commit(exhausted(&now)).await.expect("waits");
        assert_eq!(listed(&store, None, 10).await, [(run.id, run.account.clone())]);
    }
    let told = kinds(&store, run.id).await;
    let round = ["run.waiting", "run.queued", "run.started"];
    let expected: Vec<&str> = ["run.created"]
        .into_iter()
        .chain(round.into_iter().cycle().take(7))
        .collect();
    assert_eq!(told, expected);
}
