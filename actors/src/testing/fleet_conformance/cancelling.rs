//! Cancels that are asked for where the run is not.

use super::FreshFleet;
use super::fixtures::{
    at_once, beat, claimed_one, delta_commit, dies, ids, joined, move_commit, moves, picture, queued, record, running,
};
use crate::encoding::encode;
use crate::event::{EventBody, QueuedReason};
use crate::ids::{InstanceId, RunId};
use crate::ports::store::RunCommit;
use crate::run_state::RunState;

async fn ask(fresh: &FreshFleet, run: RunId) -> Option<RunState> {
    fresh.elsewhere.ask_to_cancel(run).await.expect("the store answers")
}

async fn to_cancel(fresh: &FreshFleet, instance: InstanceId) -> Vec<RunId> {
    let mut runs = beat(&fresh.fleet, instance).await.to_cancel;
    runs.sort_unstable();
    runs
}

/// Its state, and nothing is marked unless it runs: what is claimed later is not to be cancelled.
pub async fn asking_says_where_the_run_is(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    assert_eq!(ask(fresh, RunId::new()).await, None);
    for state in [
        RunState::Waiting,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ] {
        let run = running(&fresh.fleet, "acme", instance).await;
        moves(&fresh.store, &run, state).await;
        let before = picture(&fresh.store, run.id).await;
        assert_eq!(ask(fresh, run.id).await, Some(state));
        assert_eq!(picture(&fresh.store, run.id).await, before);
    }
    let waiting = queued(&fresh.fleet, "acme", instance).await;
    let before = picture(&fresh.store, waiting.id).await;
    assert_eq!(ask(fresh, waiting.id).await, Some(RunState::Queued));
    assert_eq!(picture(&fresh.store, waiting.id).await, before);
    assert_eq!(claimed_one(&fresh.fleet, instance).await.id, waiting.id);
    assert!(to_cancel(fresh, instance).await.is_empty(), "nothing was marked");
    let before = picture(&fresh.store, waiting.id).await;
    assert_eq!(ask(fresh, waiting.id).await, Some(RunState::Running));
    assert_eq!(
        picture(&fresh.store, waiting.id).await,
        before,
        "it is the owner who cancels"
    );
}

/// By every heartbeat until the run is over, once in each, and to nobody else.
pub async fn the_owner_is_told_until_the_run_is_over(fresh: &FreshFleet) {
    let (owner, other) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let mut asked = Vec::new();
    for number in 0..4 {
        let run = running(&fresh.fleet, "acme", owner).await;
        if number > 0 {
            for _ in 0..number {
                assert_eq!(ask(fresh, run.id).await, Some(RunState::Running));
            }
            asked.push(run);
        }
    }
    running(&fresh.fleet, "acme", other).await;
    while let Some(first) = asked.first().cloned() {
        for _ in 0..3 {
            assert_eq!(to_cancel(fresh, owner).await, ids(&asked));
            assert!(to_cancel(fresh, other).await.is_empty());
        }
        // A step in between does not make it forgotten.
        let first_now = record(&fresh.store, first.id).await;
        let step = delta_commit(&first_now, 1);
        fresh.store.commit(step).await.expect("written");
        assert_eq!(to_cancel(fresh, owner).await, ids(&asked));
        moves(&fresh.store, &first, RunState::Cancelled).await;
        asked.remove(0);
    }
    assert!(to_cancel(fresh, owner).await.is_empty());
}

/// Whoever takes the run over is told, the next one too, also if it was given up in between.
pub async fn a_cancel_outlives_the_owner(fresh: &FreshFleet) {
    let mut owner = joined(&fresh.fleet).await;
    let run = running(&fresh.fleet, "acme", owner).await;
    assert_eq!(ask(fresh, run.id).await, Some(RunState::Running));
    for _ in 0..2 {
        dies(&fresh.fleet, owner).await;
        owner = joined(&fresh.fleet).await;
        assert!(to_cancel(fresh, owner).await.is_empty(), "it does not have it yet");
        let taken = fresh.fleet.take_over(owner, 1).await.expect("the store answers");
        assert_eq!(taken.len(), 1);
        assert_eq!(to_cancel(fresh, owner).await, [run.id]);
    }
    let given_up = fresh.fleet.disown_unknown(owner, Vec::new(), RunId::new()).await;
    assert_eq!(given_up, Ok(1));
    assert!(to_cancel(fresh, owner).await.is_empty());
    fresh.fleet.take_over(owner, 1).await.expect("the store answers");
    assert_eq!(to_cancel(fresh, owner).await, [run.id]);
    // Asked while nobody has it, it is told to whoever takes it.
    let second = running(&fresh.fleet, "acme", owner).await;
    dies(&fresh.fleet, owner).await;
    assert_eq!(ask(fresh, second.id).await, Some(RunState::Running));
    let last = joined(&fresh.fleet).await;
    fresh.fleet.take_over(last, 10).await.expect("the store answers");
    assert_eq!(to_cancel(fresh, last).await, [run.id, second.id]);
}

/// An owner that had not heard of it hands the run over: whoever claims it from the queue is told.
pub async fn a_cancel_outlives_a_hand_over(fresh: &FreshFleet) {
    let (owner, next) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let run = running(&fresh.fleet, "acme", owner).await;
    assert_eq!(ask(fresh, run.id).await, Some(RunState::Running));
    let handed_over = EventBody::RunQueued {
        position: 1,
        reason: QueuedReason::HandedOver,
    };
    let leaves = RunCommit {
        events: encode(run.id, run.next_seq, [handed_over]),
        ..move_commit(&run, RunState::Queued)
    };
    fresh.store.commit(leaves).await.expect("handed over");
    assert!(to_cancel(fresh, owner).await.is_empty());
    assert_eq!(claimed_one(&fresh.elsewhere, next).await.id, run.id);
    assert_eq!(to_cancel(fresh, next).await, [run.id]);
}

/// At the same moment as take-overs: whoever has the run in the end is told.
pub async fn cancels_and_take_overs_do_not_miss_each_other(fresh: &FreshFleet) {
    let (lost, taker) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let mut runs = Vec::new();
    for number in 0..40 {
        let account = format!("account-{}", number % 5);
        runs.push(running(&fresh.fleet, &account, lost).await.id);
    }
    dies(&fresh.fleet, lost).await;
    let work = runs.clone().into_iter().enumerate();
    at_once(work.map(|(number, run)| {
        let fleet = fresh.seen_by(number);
        async move {
            if number % 4 == 0 {
                fleet.take_over(taker, 3).await.expect("the store answers");
            }
            let state = fleet.ask_to_cancel(run).await.expect("the store answers");
            assert_eq!(state, Some(RunState::Running));
            fleet.take_over(taker, 1).await.expect("the store answers");
        }
    }))
    .await;
    fresh.fleet.take_over(taker, 100).await.expect("the store answers");
    assert_eq!(to_cancel(fresh, taker).await, runs);
}
