//! The order of the queue: first come, first served within an account, and turns between accounts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::FreshFleet;
use super::fixtures::{
    admission, at_once, beat, change, claimed, claimed_ids, claimed_one, eventually, ids, joined, line, moves, queued,
    running, running_runs, waits,
};
use crate::event::{EventBody, QueuedReason};
use crate::ids::{InstanceId, RunId};
use crate::ports::Fleet;
use crate::ports::fleet::{ClaimedRun, FleetAdmission};
use crate::ports::store::{ParkedOutcome, ParkedUpdate};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// The order in which they came, not that of their names, nor that of what their clocks said.
pub async fn an_account_keeps_its_order(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut names: Vec<RunId> = (0..20).map(|_| RunId::new()).collect();
    names.reverse();
    for (number, id) in names.iter().enumerate() {
        let asked = FleetAdmission {
            id: *id,
            created_at: Timestamp::from_micros(1_000_000 - number as i64),
            ..admission("acme", instance)
        };
        waits(&fresh.seen_by(number), asked).await;
    }
    let mut started = Vec::new();
    for limit in [1, 2, 3, 5, 9] {
        started.extend(claimed_ids(&claimed(&fresh.elsewhere, instance, limit).await));
    }
    assert_eq!(started, names);
}

/// What had started before, whether it was handed over or what it waited for has come, is before all that has not.
pub async fn who_had_started_before_comes_first(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut handed_over = Vec::new();
    for number in 0..3 {
        handed_over.push(running(&fresh.seen_by(number), "acme", instance).await);
    }
    let resumed = running(&fresh.fleet, "acme", instance).await;
    let new = line(&fresh.fleet, "acme", instance, 3).await;
    for run in &handed_over {
        moves(&fresh.store, run, RunState::Queued).await;
    }
    moves(&fresh.store, &resumed, RunState::Waiting).await;
    let back = ParkedUpdate::moving(
        resumed.id,
        vec![EventBody::RunQueued {
            position: 1,
            reason: QueuedReason::Resumed,
        }],
        change(RunState::Queued),
    );
    let outcome = fresh.store.update_parked_run(back).await;
    assert!(matches!(outcome, Ok(ParkedOutcome::Updated { .. })), "{outcome:?}");
    let late = queued(&fresh.fleet, "acme", instance).await;

    let first = claimed_ids(&claimed(&fresh.fleet, instance, 4).await);
    let expected = [ids(&handed_over), vec![resumed.id]].concat();
    assert_eq!(BTreeSet::from_iter(&first), BTreeSet::from_iter(&expected));
    let among_themselves: Vec<RunId> = first.into_iter().filter(|id| *id != resumed.id).collect();
    assert_eq!(among_themselves, ids(&handed_over), "the oldest first");
    let rest = claimed_ids(&claimed(&fresh.elsewhere, instance, 100).await);
    assert_eq!(rest, [ids(&new), vec![late.id]].concat());
}

/// Of accounts that always have somebody waiting, none is ever more than one start ahead of another, whatever the size of a claim.
pub async fn accounts_take_turns(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    const ACCOUNTS: [&str; 4] = ["acme", "beta", "gamma", "delta"];
    let mut lines = HashMap::new();
    for account in ACCOUNTS {
        lines.insert(account, ids(&line(&fresh.fleet, account, instance, 25).await));
    }
    let mut started: BTreeMap<&str, Vec<RunId>> = ACCOUNTS.map(|account| (account, Vec::new())).into();
    for (number, limit) in [1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 11].into_iter().enumerate() {
        let claimed = claimed(&fresh.seen_by(number), instance, limit).await;
        assert_eq!(claimed.len(), limit as usize);
        for ClaimedRun { record, .. } in claimed {
            let account = started.get_mut(record.account.as_str()).expect("one of the four");
            account.push(record.id);
        }
        let counts = started.values().map(Vec::len);
        let (least, most) = (counts.clone().min().expect("four"), counts.max().expect("four"));
        assert!(most - least <= 1, "after a claim of {limit}: {least} and {most}");
    }
    for (account, started) in started {
        assert_eq!(started, lines[account][..started.len()]);
    }
}

/// Its first run waits for no more than one run of each other account.
pub async fn a_long_line_does_not_delay_another_accounts_first(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    line(&fresh.fleet, "big", instance, 60).await;
    line(&fresh.fleet, "large", instance, 60).await;
    claimed(&fresh.fleet, instance, 21).await;
    for number in 0..5 {
        let small = queued(&fresh.fleet, "small", instance).await;
        let mut waited_for = Vec::new();
        loop {
            let next = claimed_one(&fresh.seen_by(number), instance).await;
            if next.id == small.id {
                break;
            }
            waited_for.push(next.account);
        }
        let others: BTreeSet<_> = waited_for.iter().collect();
        assert_eq!(others.len(), waited_for.len(), "round {number}: {waited_for:?}");
        // Also in the middle of a large claim.
        let small = queued(&fresh.fleet, "small", instance).await;
        let next = claimed(&fresh.fleet, instance, 3).await;
        assert!(claimed_ids(&next).contains(&small.id), "round {number}: {next:?}");
    }
}

/// Its Slots taken, it holds up nobody, and loses nothing by it.
pub async fn an_account_without_a_slot_stands_aside(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let one_slot = |account: &str| FleetAdmission {
        slot_limit: Some(1),
        ..admission(account, instance)
    };
    let holder = running(&fresh.fleet, "blocked", instance).await;
    let mut blocked = Vec::new();
    for _ in 0..20 {
        blocked.push(waits(&fresh.fleet, one_slot("blocked")).await.id);
    }
    let free = line(&fresh.fleet, "free", instance, 6).await;
    assert_eq!(claimed_ids(&claimed(&fresh.fleet, instance, 4).await), ids(&free[..4]));
    moves(&fresh.store, &holder, RunState::Completed).await;
    assert_eq!(claimed_one(&fresh.fleet, instance).await.id, blocked[0]);
    assert_eq!(
        claimed_ids(&claimed(&fresh.fleet, instance, 100).await),
        ids(&free[4..])
    );
    assert_eq!(running_runs(&fresh.store, "blocked").await, 1);
}

/// Claims from several instances until the queue is empty: the claims of each claimer, in order.
async fn claim_all(
    fleet: Arc<dyn Fleet>,
    instance: InstanceId,
    limit: u32,
    left: Arc<AtomicUsize>,
) -> Vec<Vec<ClaimedRun>> {
    let claims = std::sync::Mutex::new(Vec::new());
    // A claim that finds nothing may have come while others were claiming.
    eventually("the end of the queue", || async {
        loop {
            let claimed = claimed(&fleet, instance, limit).await;
            if claimed.is_empty() {
                break;
            }
            left.fetch_sub(claimed.len(), Ordering::SeqCst);
            claims.lock().expect("no panic").push(claimed);
        }
        (left.load(Ordering::SeqCst) == 0).then_some(())
    })
    .await;
    claims.into_inner().expect("no panic")
}

/// Many accounts and one: every run is claimed once, nobody overtakes within an account, and nothing is left over.
pub async fn parallel_claimers_get_each_run_once_and_together_all(fresh: &FreshFleet) {
    for (accounts, length) in [(20, 10), (1, 200)] {
        let mut instances = Vec::new();
        for number in 0..3 {
            instances.push(joined(&fresh.seen_by(number)).await);
        }
        let mut places = HashMap::new();
        for account in 0..accounts {
            let line = line(&fresh.fleet, &format!("of-{accounts}-{account}"), instances[0], length).await;
            places.extend(ids(&line).into_iter().zip(0..length));
        }
        let left = Arc::new(AtomicUsize::new(places.len()));
        let claimers = at_once((0..12).map(|number| {
            let fleet = fresh.seen_by(number % 3);
            claim_all(fleet, instances[number % 3], 1 + number as u32 % 5, left.clone())
        }))
        .await;
        let mut seen = BTreeSet::new();
        for claims in claimers {
            let mut latest: HashMap<String, usize> = HashMap::new();
            for ClaimedRun { record, events } in claims.into_iter().flatten() {
                assert!(seen.insert(record.id), "claimed twice");
                assert_eq!((record.epoch, events.first_seq()), (1, 2));
                let place = places[&record.id];
                let before = latest.insert(record.account.to_string(), place);
                assert!(
                    before.is_none_or(|before| before < place),
                    "overtaken within the account"
                );
            }
        }
        assert_eq!(seen.len(), places.len());
        let beat = beat(&fresh.fleet, instances[0]).await;
        assert!(!beat.claimable && beat.queued_by_tier.values().all(|queued| *queued == 0));
    }
}

/// What is under way to the front is under way in order: whoever claims one run after the other sees the line from its head.
pub async fn claims_of_one_line_follow_one_another(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let asked = |slot_limit| FleetAdmission {
        slot_limit: Some(slot_limit),
        ..admission("acme", instance)
    };
    let mut expected = Vec::new();
    for _ in 0..30 {
        expected.push(waits(&fresh.fleet, asked(1)).await.id);
    }
    // With one Slot, the next can start only when the one before has ended: claimers race for each of them.
    let started = Arc::new(std::sync::Mutex::new(Vec::new()));
    at_once((0..6).map(|number| {
        let (fleet, store, started) = (fresh.seen_by(number), fresh.store.clone(), started.clone());
        async move {
            eventually("the end of the line", || async {
                for claimed in claimed(&fleet, instance, 3).await {
                    started.lock().expect("no panic").push(claimed.record.id);
                    moves(&store, &claimed.record, RunState::Completed).await;
                }
                (started.lock().expect("no panic").len() == 30).then_some(())
            })
            .await;
        }
    }))
    .await;
    assert_eq!(*started.lock().expect("no panic"), expected);
}
