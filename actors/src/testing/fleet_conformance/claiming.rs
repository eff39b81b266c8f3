//! Claims: what becomes of the run that is claimed, and how many are.

use std::sync::Arc;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, account, admission, beat, bodies, claim, claimed, claimed_ids, claimed_one, commit, delta_commit, ids,
    joined, kinds, line, move_commit, moves, parked, picture, queued, record, running, running_runs, view, waits,
};
use crate::encoding::EncodedEvents;
use crate::event::EventBody;
use crate::item::{Item, Role, Usage};
use crate::money::Money;
use crate::ports::fleet::{ClaimNext, FleetAdmission, MayWait};
use crate::ports::store::{RunCommit, RunProgress, RunQuery, RunRecord};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// `running` under the next epoch, this instance's, with `run.started` behind what its log had; answered as it is in the store.
pub async fn a_claim_moves_a_run_and_tells_its_log(fresh: &FreshFleet) {
    let (other, instance) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let patient = FleetAdmission {
        may_wait: Some(MayWait {
            account_limit: None,
            deadline: Some(LONG_LEASE),
        }),
        ..admission("acme", other)
    };
    let before = waits(&fresh.fleet, patient).await;
    let at = Timestamp::from_micros(1_000_007);
    let asked = ClaimNext {
        at,
        ..claim(instance, 5)
    };
    let mut claimed = fresh.elsewhere.claim_next(asked).await.expect("the store answers");
    assert_eq!(claimed.len(), 1);
    let claimed = claimed.remove(0);
    let expected = RunRecord {
        state: RunState::Running,
        epoch: 1,
        next_seq: 3,
        started_at: Some(at),
        queue_deadline: None,
        ..before
    };
    assert_eq!(claimed.record, expected);
    assert_eq!(record(&fresh.store, expected.id).await, expected);
    assert_eq!(claimed.events.first_seq(), 2);
    assert_eq!(bodies(&claimed.events), [EventBody::RunStarted { epoch: 1 }]);
    let stored = fresh.store.events(expected.id, Some(1), usize::MAX).await;
    assert_eq!(stored, Ok(vec![claimed.events]));
    let told = kinds(&fresh.store, expected.id).await;
    assert_eq!(told, ["run.created", "run.queued", "run.started"]);
    for (instance, runs) in [(other, 0), (instance, 1)] {
        let seen = view(&fresh.fleet, instance).await.expect("it is listed");
        assert_eq!(seen.runs, runs);
    }
    let own = delta_commit(&expected, 2);
    fresh
        .store
        .commit(own)
        .await
        .expect("the owner writes under this epoch");
}

/// The epoch grows with each start; the first time is kept.
pub async fn a_later_start_grows_the_epoch_and_keeps_the_first_time(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = queued(&fresh.fleet, "acme", instance).await;
    let mut last: Option<RunRecord> = None;
    for epoch in 1..=4 {
        let asked = ClaimNext {
            at: Timestamp::from_micros(epoch * 1000),
            ..claim(instance, 1)
        };
        let claimed = fresh.seen_by(epoch as usize).claim_next(asked).await;
        let claimed = claimed.expect("the store answers").remove(0);
        assert_eq!((claimed.record.id, claimed.record.epoch), (run.id, epoch as u64));
        assert_eq!(claimed.record.started_at, Some(Timestamp::from_micros(1000)));
        let started = EventBody::RunStarted { epoch: epoch as u64 };
        assert_eq!(bodies(&claimed.events), [started]);
        if let Some(last) = &last {
            let late = fresh.store.commit(delta_commit(last, 1)).await;
            assert_eq!(late, Err(StoreError::Fenced), "an earlier start's write");
        }
        moves(&fresh.store, &claimed.record, RunState::Queued).await;
        last = Some(claimed.record);
    }
    // One that started when it came keeps that time.
    let first = running(&fresh.fleet, "beta", instance).await;
    moves(&fresh.store, &first, RunState::Queued).await;
    let claimed = claimed(&fresh.fleet, instance, 10).await;
    let again = claimed
        .iter()
        .find(|claimed| claimed.record.id == first.id)
        .expect("it is claimed");
    assert_eq!((again.record.epoch, again.record.started_at), (2, first.started_at));
}

/// Reserved seqs count from the seq after `run.started`, which itself is above all that was reserved before.
pub async fn a_claim_reserves_seqs(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let id = queued(&fresh.fleet, "acme", instance).await.id;
    let reserving = async |reserve_seqs| {
        let asked = ClaimNext {
            reserve_seqs,
            ..claim(instance, 1)
        };
        let claimed = fresh
            .fleet
            .claim_next(asked)
            .await
            .expect("the store answers")
            .remove(0);
        assert_eq!(record(&fresh.store, id).await, claimed.record);
        claimed
    };
    let one = reserving(100).await;
    assert_eq!((one.record.next_seq, one.record.reserved_seq), (3, 103));
    // Handed over without a word: what was reserved may have been seen, and stays reserved.
    let leave = RunCommit {
        events: None,
        ..move_commit(&one.record, RunState::Queued)
    };
    fresh.store.commit(leave).await.expect("handed over");
    let two = reserving(0).await;
    assert_eq!(two.events.first_seq(), 103);
    assert_eq!((two.record.next_seq, two.record.reserved_seq), (104, 0));
    moves(&fresh.store, &two.record, RunState::Queued).await;
    let three = reserving(1).await;
    assert_eq!((three.events.first_seq(), three.record.reserved_seq), (104, 106));
}

/// Nothing for a limit of zero, exactly the limit while more could start, then what is left, then nothing.
pub async fn a_claim_takes_no_more_than_its_limit(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let line = line(&fresh.fleet, "acme", instance, 10).await;
    let mut started = Vec::new();
    for (limit, expected) in [(0, 0), (1, 1), (3, 3), (0, 0), (4, 4), (1000, 2), (1000, 0)] {
        assert_eq!(
            beat(&fresh.elsewhere, instance).await.claimable,
            started.len() < line.len()
        );
        let claimed = claimed(&fresh.fleet, instance, limit).await;
        assert_eq!(claimed.len(), expected, "with a limit of {limit}");
        started.extend(claimed_ids(&claimed));
    }
    assert_eq!(started, ids(&line));
}

/// As many as there are Slots, be the limit of Permits ever so high; a Slot that is given back is for the next.
pub async fn a_claim_takes_no_more_than_there_are_slots(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    for (account, slot_limit) in [("none", Some(0)), ("two", Some(2)), ("all", None)] {
        for _ in 0..6 {
            let asked = FleetAdmission {
                slot_limit,
                ..admission(account, instance)
            };
            waits(&fresh.fleet, asked).await;
        }
    }
    assert_eq!(claimed(&fresh.fleet, instance, 100).await.len(), 8);
    for (account, running) in [("none", 0), ("two", 2), ("all", 6)] {
        assert_eq!(running_runs(&fresh.store, account).await, running);
    }
    for to in [
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Waiting,
    ] {
        assert!(claimed(&fresh.elsewhere, instance, 100).await.is_empty());
        assert!(!beat(&fresh.fleet, instance).await.claimable);
        let ending = first_running(fresh, "two").await;
        moves(&fresh.store, &ending, to).await;
        assert!(beat(&fresh.fleet, instance).await.claimable);
        let next = claimed_one(&fresh.elsewhere, instance).await;
        assert_eq!(next.account.as_str(), "two");
        assert_eq!(running_runs(&fresh.store, "two").await, 2);
    }
}

async fn first_running(fresh: &FreshFleet, account_name: &str) -> RunRecord {
    let query = RunQuery {
        thread: None,
        account: account(account_name),
        state: Some(RunState::Running),
        before: None,
        limit: 1,
    };
    let mut found = fresh.store.list_runs(query).await.expect("the store answers");
    found.pop().expect("one is running")
}

/// Neither running ones, nor waiting ones, nor ended ones, nor what was cancelled in the queue.
pub async fn only_queued_runs_are_claimed(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut others = Vec::new();
    for to in [
        RunState::Waiting,
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
    ] {
        let run = running(&fresh.fleet, "acme", instance).await;
        moves(&fresh.store, &run, to).await;
        others.push(run.id);
    }
    others.push(running(&fresh.fleet, "acme", instance).await.id);
    let line = line(&fresh.fleet, "acme", instance, 3).await;
    let cancelled = fresh
        .store
        .update_parked_run(parked(line[1].id, RunState::Cancelled))
        .await;
    cancelled.expect("leaves the line");
    others.push(line[1].id);
    let mut before = Vec::new();
    for id in &others {
        before.push(picture(&fresh.store, *id).await);
    }
    let claimed = claimed(&fresh.fleet, instance, 100).await;
    assert_eq!(claimed_ids(&claimed), [line[0].id, line[2].id]);
    for (id, before) in others.iter().zip(before) {
        assert_eq!(picture(&fresh.store, *id).await, before);
    }
}

async fn written_events(store: &Arc<dyn Store>, run: &RunRecord) -> Vec<EncodedEvents> {
    store.events(run.id, None, usize::MAX).await.expect("the store answers")
}

/// What it wrote before, its steps and its items are its own again.
pub async fn a_claimed_run_has_all_it_had(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = running(&fresh.fleet, "acme", instance).await;
    let step = RunCommit {
        items: vec![Item::message(Role::Assistant, "half way")],
        progress: Some(RunProgress {
            steps: 3,
            usage: Usage::of(5, 6),
            cost: Money::from_nanos(7),
        }),
        ..delta_commit(&run, 4)
    };
    fresh.store.commit(step).await.expect("written");
    moves(&fresh.store, &run, RunState::Queued).await;
    let (before, items, batches) = picture(&fresh.store, run.id).await;
    let after = claimed_one(&fresh.elsewhere, instance).await;
    let expected = RunRecord {
        state: RunState::Running,
        epoch: 2,
        next_seq: before.next_seq + 1,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(picture(&fresh.store, run.id).await.1, items);
    assert_eq!(written_events(&fresh.store, &run).await[..batches.len()], batches);
    fresh.store.commit(commit(&after)).await.expect("the owner goes on");
}
