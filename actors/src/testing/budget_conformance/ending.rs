//! No hold outlives its run.

use super::FreshBudgets;
use super::fixtures::{UNLIMITED, amount, charge_of, charging, estimated, new_hold, tokens_limit};
use crate::error::RunError;
use crate::ids::InstanceId;
use crate::ports::StoreError;
use crate::ports::budgets::{Amount, HoldOutcome};
use crate::ports::store::RunRecord;
use crate::run_state::RunState;
use crate::testing::store_conformance::fixtures::{at_once, claimed, created, move_commit, queued, starting};

async fn assert_free(fresh: &FreshBudgets, account_name: &str, what: &str) {
    assert_eq!(fresh.balance(account_name).await.held, Amount::default(), "{what}");
    // What is held no more can be held by another.
    let run = fresh.running(account_name).await;
    let hold = new_hold(&run, tokens_limit(10), 10);
    fresh.held(&hold).await;
    fresh.fold_all().await;
    assert_eq!(fresh.balance(account_name).await.held, amount(10), "{what}");
}

/// In whatever state it ends. Its owner has charged what there was to charge.
pub async fn holds_end_with_their_run(fresh: &FreshBudgets) {
    for to in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        let run = fresh.running(to.as_str()).await;
        fresh.held(&new_hold(&run, tokens_limit(10), 10)).await;
        fresh.store.commit(move_commit(&run, to)).await.expect("ends");
        assert_free(fresh, to.as_str(), to.as_str()).await;
    }
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

/// How an epoch ends without its owner.
const LOSSES: [&str; 2] = ["recovered", "abandoned"];

async fn lose(fresh: &FreshBudgets, run: &RunRecord, how: &str) {
    if how == "recovered" {
        fresh.store.recover(InstanceId::new()).await.expect("the store answers");
        return;
    }
    let failed = fresh
        .store
        .fail_abandoned_run(run.id, run.epoch, RunError::internal())
        .await;
    failed.expect("the store answers");
}

/// Exactly once, in the period in which they were taken; what was charged, released, or lost its meaning before is not among them. The old
/// owner's call goes on, but it can neither charge it nor take another.
pub async fn holds_of_a_lost_epoch_become_charges(fresh: &FreshBudgets) {
    for how in LOSSES {
        let first = fresh.running(how).await;
        fresh.held(&new_hold(&first, UNLIMITED, 1000)).await;
        let leaves = move_commit(&first, RunState::Queued);
        fresh.store.commit(leaves).await.expect("handed over");
        let run = claimed(&fresh.store, first.id).await;
        let [charged, released, one, other] = [10, 20, 30, 50].map(|tokens| new_hold(&run, UNLIMITED, tokens));
        for hold in [&charged, &released, &one, &other] {
            fresh.held(hold).await;
        }
        fresh.charge(&run, vec![charge_of(charged.id, 7)]).await;
        fresh.budgets.release(released.id).await.expect("the store answers");

        let expected = [charge_of(charged.id, 7), estimated(&one), estimated(&other)];
        let expected = expected
            .iter()
            .fold(Amount::default(), |sum, charge| sum.plus(charge.amount()));
        lose(fresh, &run, how).await;
        for _ in 0..2 {
            let balance = fresh.balance(how).await;
            assert_eq!((balance.used, balance.held), (expected, Amount::default()), "{how}");
            let rows = fresh.usage(Some(how)).await;
            let [row] = &rows[..] else {
                panic!("not one row: {rows:?}");
            };
            assert_eq!((row.model.as_str(), row.provider.as_str()), ("fast", "simulated"));
            let mut usage = charge_of(charged.id, 7).usage;
            usage += one.estimate.usage;
            usage += other.estimate.usage;
            assert_eq!((row.calls, row.usage, row.cost), (3, usage, expected.cost), "{how}");
            // Nothing of it comes again.
            lose(fresh, &run, how).await;
            let late = fresh.hold(&new_hold(&run, UNLIMITED, 1)).await;
            assert_eq!(late, Err(StoreError::Fenced));
            let late = fresh.store.commit(charging(&run, vec![charge_of(one.id, 30)])).await;
            assert_eq!(late, Err(StoreError::Fenced));
            fresh.budgets.release(other.id).await.expect("the store answers");
            fresh.fold_all().await;
        }
    }
}

/// A hold that was given is charged, if its epoch is lost at the same moment: none slips through.
pub async fn no_hold_is_lost_with_its_epoch(fresh: &FreshBudgets) {
    for round in 0..10 {
        for how in LOSSES {
            let name = format!("{how}-{round}");
            let run = fresh.running(&name).await;
            let holds = (0..20).map(|index| {
                let budgets = match index % 2 {
                    0 => fresh.budgets.clone(),
                    _ => fresh.of_another_instance.clone(),
                };
                let hold = new_hold(&run, UNLIMITED, 2);
                async move { budgets.hold(hold).await }
            });
            let (answers, ()) = tokio::join!(at_once(holds), async {
                tokio::task::yield_now().await;
                lose(fresh, &run, how).await;
            });
            let held = answers
                .iter()
                .filter(|answer| **answer == Ok(HoldOutcome::Held))
                .count() as u64;
            let balance = fresh.balance(&name).await;
            assert_eq!((balance.used.calls, balance.held.calls), (held, 0), "{answers:?}");
            assert_eq!(balance.used.tokens, held, "{name}");
        }
    }
}

/// A limit that calls have used up stays so, however often their instance dies.
pub async fn lost_calls_do_not_come_free(fresh: &FreshBudgets) {
    let run = fresh.running("acme").await;
    let mut epoch = run.epoch;
    let mut made = 0;
    while made < 100 {
        let now = RunRecord { epoch, ..run.clone() };
        match fresh.hold(&new_hold(&now, tokens_limit(20), 10)).await {
            Ok(HoldOutcome::Held) => made += 1,
            Ok(HoldOutcome::Exhausted { used, .. }) => {
                assert_eq!(used.tokens, 15);
                break;
            }
            Err(error) => panic!("{error}"),
        }
        fresh.store.recover(InstanceId::new()).await.expect("the store answers");
        epoch += 1;
    }
    // Of five tokens each, while ten are left for the next.
    assert_eq!(made, 3);
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
