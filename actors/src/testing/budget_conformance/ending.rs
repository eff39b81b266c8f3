//! No hold outlives its run.

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amount, new_hold, tokens_limit};
use crate::error::RunError;
use crate::ids::InstanceId;
use crate::ports::StoreError;
use crate::ports::budgets::Amount;
use crate::ports::store::RunRecord;
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::{claimed, created, move_commit, queued, record, starting};

async fn assert_free(fresh: &FreshBudgets, account_name: &str, what: &str) {
    assert_eq!(fresh.balance(account_name).await.held, Amount::default(), "{what}");
    // What is held no more can be held by another.
    let run = fresh.running(account_name).await;
    let hold = new_hold(&run, tokens_limit(10), 10);
    fresh.held(&hold).await;
    fresh.fold_all().await;
    assert_eq!(fresh.balance(account_name).await.held, amount(10), "{what}");
}

/// However it ends: in a state, or because its actor is gone.
pub async fn holds_end_with_their_run(fresh: &FreshBudgets) {
    for to in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        let run = fresh.running(to.as_str()).await;
        fresh.held(&new_hold(&run, tokens_limit(10), 10)).await;
        fresh.store.commit(move_commit(&run, to)).await.expect("ends");
        assert_free(fresh, to.as_str(), to.as_str()).await;
    }
    let run = fresh.running("abandoned").await;
    fresh.held(&new_hold(&run, tokens_limit(10), 10)).await;
    let failed = fresh.store.fail_abandoned_run(run.id, 1, RunError::internal()).await;
    assert!(matches!(failed, Ok(Some(_))));
    assert_free(fresh, "abandoned", "abandoned").await;
}

/// Nor does it count again when the run goes on, under another epoch.
pub async fn holds_end_when_their_run_waits_or_is_handed_over(fresh: &FreshBudgets) {
    for to in [RunState::Waiting, RunState::Queued] {
        let run = fresh.running(to.as_str()).await;
        fresh.held(&new_hold(&run, tokens_limit(10), 10)).await;
        fresh.store.commit(move_commit(&run, to)).await.expect("moves");
        assert_free(fresh, to.as_str(), to.as_str()).await;
    }
    let run = fresh.running("again").await;
    fresh.held(&new_hold(&run, UNLIMITED, 7)).await;
    let leaves = move_commit(&run, RunState::Queued);
    fresh.store.commit(leaves).await.expect("handed over");
    assert_eq!(claimed(&fresh.store, run.id).await.epoch, 2);
    assert_free(fresh, "again", "under epoch 2").await;
}

/// The old owner's call goes on, but it can neither charge it nor take another.
pub async fn holds_end_when_their_run_is_taken_over(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    fresh.held(&new_hold(&run, tokens_limit(10), 10)).await;
    fresh.store.recover(InstanceId::new()).await.expect("the store answers");
    assert_eq!(record(&fresh.store, run.id).await.epoch, 2);
    let late = fresh.hold(&new_hold(&run, UNLIMITED, 1)).await;
    assert_eq!(late, Err(StoreError::Fenced));
    assert_free(fresh, "acme", "taken over").await;
}

/// And nothing is held by the attempt.
pub async fn a_run_that_does_not_run_gets_no_hold(fresh: &FreshBudgets) {
    let parked = created(&fresh.store, queued("acme")).await;
    let ended = fresh.running("acme").await;
    let ending = move_commit(&ended, RunState::Completed);
    fresh.store.commit(ending).await.expect("ends");
    let waiting = fresh.running("acme").await;
    let leaves = move_commit(&waiting, RunState::Waiting);
    fresh.store.commit(leaves).await.expect("waits");
    let running = fresh.running("acme").await;
    let of_another_epoch = RunRecord { epoch: 2, ..running };
    let unknown = starting("acme", None).record();
    for run in [&parked, &ended, &waiting, &of_another_epoch, &unknown] {
        let refused = fresh.hold(&new_hold(run, UNLIMITED, 1)).await;
        assert_eq!(refused, Err(StoreError::Fenced), "{} {}", run.state, run.epoch);
    }
    assert_eq!(fresh.balance("acme").await.held, Amount::default());
}
