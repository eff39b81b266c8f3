//! What becomes of the runs of those who are gone.

use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, PATIENCE, account, admission, at_once, beat, claimed_one, commit, delta_commit, dies, eventually,
    heartbeat, ids, joined, kinds, move_commit, moves, newcomer, picture, queued, record, running, running_runs, taken,
    under_the_next_epoch, view,
};
use crate::encoding::encode;
use crate::event::EventBody;
use crate::ids::RunId;
use crate::ports::StoreError;
use crate::ports::budgets::{Amount, BudgetPeriod, HoldOutcome};
use crate::ports::fleet::{Admitted, FleetAdmission, Heartbeat, InstanceLoad, NewInstance};
use crate::ports::store::{RunCommit, RunRecord};
use crate::run_state::RunState;
use crate::testing::budget_conformance::fixtures::{UNLIMITED, estimated, new_hold};
use crate::time::Timestamp;

/// Oldest first and no more than asked for, as they were but for the epoch; nothing is told, and no Slot moves.
pub async fn lost_runs_are_taken_over_as_they_are(fresh: &FreshFleet) {
    let (lost, taker) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let mut left = Vec::new();
    for number in 0..7 {
        let run = running(&fresh.fleet, ["acme", "beta"][number as usize % 2], lost).await;
        let step = RunCommit {
            reserved_seq: number * 100,
            ..delta_commit(&run, number + 1)
        };
        fresh.store.commit(step).await.expect("written");
        left.push(record(&fresh.store, run.id).await);
    }
    let mut before = Vec::new();
    for run in &left {
        before.push(picture(&fresh.store, run.id).await);
    }
    assert!(taken(&fresh.elsewhere, taker, 100).await.is_empty(), "it is alive");
    dies(&fresh.fleet, lost).await;
    assert_eq!(beat(&fresh.fleet, taker).await.lost_runs, 7);
    assert!(taken(&fresh.elsewhere, taker, 0).await.is_empty());

    let mut all = Vec::new();
    for (limit, still_lost) in [(3, 4), (1, 3), (100, 0), (100, 0)] {
        all.extend(taken(&fresh.elsewhere, taker, limit).await);
        assert_eq!(beat(&fresh.fleet, taker).await.lost_runs, still_lost);
    }
    let expected = under_the_next_epoch(&left);
    assert_eq!(all, expected);
    for ((run, items, batches), expected) in before.iter().zip(&expected) {
        let after = picture(&fresh.store, run.id).await;
        assert_eq!((&after.0, &after.1, &after.2), (expected, items, batches));
    }
    assert_eq!(running_runs(&fresh.store, "acme").await, 4);
    let one_more = FleetAdmission {
        slot_limit: Some(4),
        may_wait: None,
        ..admission("acme", taker)
    };
    let full = Admitted::Refused {
        has_slot: false,
        running: 4,
        queued: 0,
    };
    assert_eq!(fresh.fleet.admit(one_more).await, Ok(full));
    assert_eq!(view(&fresh.fleet, taker).await.expect("it is listed").runs, 7);
}

/// Not those of who is alive, leaving or oneself; nor what waits or has ended, whoever had it.
pub async fn only_lost_runs_in_running_are_taken_over(fresh: &FreshFleet) {
    let fleet = &fresh.fleet;
    let (lost, taker) = (joined(fleet).await, joined(fleet).await);
    let (alive, draining) = (joined(fleet).await, joined(fleet).await);
    let mut others = Vec::new();
    for instance in [taker, alive, draining] {
        others.push(running(fleet, "acme", instance).await.id);
    }
    let leaving = Heartbeat {
        load: InstanceLoad {
            draining: true,
            ..InstanceLoad::default()
        },
        ..heartbeat(draining, LONG_LEASE)
    };
    assert!(fleet.heartbeat(leaving).await.expect("the store answers").held);
    for to in [
        RunState::Waiting,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ] {
        let run = running(fleet, "acme", lost).await;
        moves(&fresh.store, &run, to).await;
        others.push(run.id);
    }
    let lost_run = running(fleet, "acme", lost).await;
    others.push(queued(fleet, "acme", lost).await.id);
    let handed_over = running(fleet, "beta", lost).await;
    moves(&fresh.store, &handed_over, RunState::Queued).await;
    others.push(handed_over.id);
    dies(fleet, lost).await;
    let mut before = Vec::new();
    for id in &others {
        before.push(picture(&fresh.store, *id).await);
    }
    assert_eq!(ids(&taken(&fresh.elsewhere, taker, 100).await), [lost_run.id]);
    for (id, before) in others.iter().zip(before) {
        assert_eq!(picture(&fresh.store, *id).await, before);
    }
}

/// Together all, no run twice, whatever each asks for.
pub async fn many_takers_take_each_run_once(fresh: &FreshFleet) {
    const RUNS: usize = 120;
    let lost = [joined(&fresh.fleet).await, joined(&fresh.elsewhere).await];
    let mut left = Vec::new();
    for number in 0..RUNS {
        let account = format!("account-{}", number % 7);
        left.push(running(&fresh.fleet, &account, lost[number % 2]).await.id);
    }
    let mut takers = Vec::new();
    for number in 0..12 {
        takers.push(joined(&fresh.seen_by(number)).await);
    }
    for instance in lost {
        dies(&fresh.fleet, instance).await;
    }
    let taken = at_once(takers.into_iter().enumerate().map(|(number, taker)| {
        let fleet = fresh.seen_by(number);
        async move {
            let mine = std::sync::Mutex::new(Vec::new());
            eventually("the last of them", || async {
                let taken = fleet
                    .take_over(taker, 1 + number as u32)
                    .await
                    .expect("the store answers");
                mine.lock().expect("no panic").extend(taken);
                (beat(&fleet, taker).await.lost_runs == 0).then_some(())
            })
            .await;
            let mine: Vec<RunRecord> = mine.into_inner().expect("no panic");
            let seen = view(&fleet, taker).await.expect("it is listed");
            assert_eq!(seen.runs, mine.len() as u64, "what it was told of is what it has");
            mine
        }
    }))
    .await;
    let all: Vec<RunRecord> = taken.into_iter().flatten().collect();
    assert!(all.iter().all(|run| run.epoch == 2));
    let mut named = ids(&all);
    named.sort_unstable();
    assert_eq!(named, left);
}

/// By whichever of many takers has its run; one that was given up only when it is taken, and one that is alive not at all.
pub async fn what_lost_runs_hold_is_charged_once(fresh: &FreshFleet) {
    let (lost, alive) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let balance = async || {
        let at = Timestamp::now();
        let balance = fresh.budgets.balance(&account("acme"), BudgetPeriod::Month, at).await;
        balance.expect("the store answers")
    };
    let (mut expected, mut held) = (Amount::default(), Amount::default());
    for number in 0..12 {
        let run = running(&fresh.fleet, "acme", lost).await;
        for tokens in [10, 100 + number] {
            let hold = new_hold(&run, UNLIMITED, tokens);
            assert_eq!(fresh.budgets.hold(hold.clone()).await, Ok(HoldOutcome::Held));
            expected = expected.plus(estimated(&hold).amount());
            held = held.plus(hold.amount);
        }
    }
    let given_up = running(&fresh.fleet, "acme", alive).await;
    let hold = new_hold(&given_up, UNLIMITED, 20);
    assert_eq!(fresh.budgets.hold(hold.clone()).await, Ok(HoldOutcome::Held));
    let kept = running(&fresh.fleet, "acme", alive).await;
    let kept_hold = new_hold(&kept, UNLIMITED, 30);
    assert_eq!(fresh.budgets.hold(kept_hold.clone()).await, Ok(HoldOutcome::Held));
    let disowned = fresh.fleet.disown_unknown(alive, vec![kept.id], RunId::new()).await;
    assert_eq!(disowned, Ok(1));
    dies(&fresh.fleet, lost).await;
    held = held.plus(hold.amount).plus(kept_hold.amount);
    let before = balance().await;
    assert_eq!((before.used, before.held), (Amount::default(), held));

    let mut takers = Vec::new();
    for number in 0..4 {
        takers.push((number, joined(&fresh.seen_by(number)).await));
    }
    let took = at_once(takers.into_iter().map(|(number, taker)| {
        let fleet = fresh.seen_by(number);
        async move {
            let mut count = 0;
            for _ in 0..10 {
                count += taken(&fleet, taker, 3).await.len();
            }
            count
        }
    }))
    .await;
    // What a taker has locked is passed over by the others.
    let rest = taken(&fresh.fleet, alive, 100).await.len();
    assert_eq!(took.iter().sum::<usize>() + rest, 13);
    let after = balance().await;
    assert_eq!(after.used, expected.plus(estimated(&hold).amount()));
    assert_eq!(after.held, kept_hold.amount);
}

/// It may write neither an event, nor a step, nor an ending, nor a hand-over; who took the run over may.
pub async fn the_old_owner_is_fenced(fresh: &FreshFleet) {
    let (lost, taker) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let old = running(&fresh.fleet, "acme", lost).await;
    dies(&fresh.fleet, lost).await;
    let new = taken(&fresh.elsewhere, taker, 1).await.remove(0);
    let before = picture(&fresh.store, old.id).await;
    for late in [
        delta_commit(&old, 1),
        commit(&old),
        move_commit(&old, RunState::Completed),
        move_commit(&old, RunState::Queued),
        move_commit(&old, RunState::Waiting),
    ] {
        assert_eq!(fresh.store.commit(late).await, Err(StoreError::Fenced));
        assert_eq!(picture(&fresh.store, old.id).await, before);
    }
    let recovered = EventBody::RunRecovered { epoch: 2, lost: None };
    let goes_on = RunCommit {
        events: encode(new.id, new.next_seq, [recovered]),
        ..commit(&new)
    };
    fresh.store.commit(goes_on).await.expect("the new owner writes");
    moves(&fresh.store, &new, RunState::Completed).await;
    let told = kinds(&fresh.store, new.id).await;
    assert_eq!(told, ["run.created", "run.started", "run.recovered", "run.completed"]);
}

/// Under an epoch more each time; handed over in between it stays above all of them.
pub async fn a_run_may_be_lost_again_and_again(fresh: &FreshFleet) {
    let mut owner = joined(&fresh.fleet).await;
    let run = running(&fresh.fleet, "acme", owner).await;
    for epoch in 2..6 {
        dies(&fresh.fleet, owner).await;
        owner = joined(&fresh.fleet).await;
        let taken = taken(&fresh.elsewhere, owner, 10).await;
        assert_eq!(taken, [RunRecord { epoch, ..run.clone() }]);
    }
    moves(&fresh.store, &run, RunState::Queued).await;
    dies(&fresh.fleet, owner).await;
    let last = joined(&fresh.fleet).await;
    assert!(taken(&fresh.elsewhere, last, 10).await.is_empty());
    assert_eq!(claimed_one(&fresh.fleet, last).await.epoch, 6);
    assert_eq!(running_runs(&fresh.store, "acme").await, 1);
}

/// An instance that beats as fast as it can on the shortest of leases: whoever takes its run has seen the end of the lease.
pub async fn a_run_is_taken_only_when_the_lease_is_over(fresh: &FreshFleet) {
    let taker = joined(&fresh.elsewhere).await;
    for round in 0..25 {
        let owner = NewInstance {
            lease: PATIENCE,
            ..newcomer()
        };
        let id = owner.id;
        fresh.fleet.join(owner).await.expect("joins");
        let run = running(&fresh.fleet, "acme", id).await;
        let beating = {
            let fleet = fresh.fleet.clone();
            // Shorter and shorter, until one comes as it ends.
            tokio::spawn(async move {
                for lease in (0..100).rev().map(|step| Duration::from_micros(500 + step * 100)) {
                    let beat = fleet.heartbeat(heartbeat(id, lease)).await;
                    if !beat.expect("the store answers").held {
                        return;
                    }
                }
            })
        };
        let taken = tokio::time::timeout(PATIENCE, async {
            loop {
                let taken = taken(&fresh.elsewhere, taker, 1).await;
                if !taken.is_empty() {
                    return taken;
                }
            }
        })
        .await
        .expect("the lease ends");
        assert!(
            !beat(&fresh.fleet, id).await.held,
            "round {round}: it lost a run and holds its lease"
        );
        assert_eq!((taken[0].id, taken[0].epoch), (run.id, 2));
        beating.await.expect("no panic");
        moves(&fresh.store, &run, RunState::Completed).await;
    }
}
