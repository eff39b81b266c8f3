//! New runs: started, queued or refused, whole, with the first events numbered by the store.

use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    FOR_EVER, admission, beat, bodies, claimed, claimed_ids, joined, kinds, line, no_items, parked, picture, queued,
    record, running, running_runs, spec, started, view, waits,
};
use crate::encoding::EncodedEvents;
use crate::event::{EventBody, QueuedReason};
use crate::item::{Item, Role};
use crate::ports::fleet::{Admitted, FleetAdmission, MayWait};
use crate::ports::store::{RunProgress, RunRecord};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// What the store must have of an admission, apart from where it went.
fn as_asked(admission: &FleetAdmission, state: RunState) -> RunRecord {
    let is_running = state == RunState::Running;
    RunRecord {
        id: admission.id,
        account: admission.account.clone(),
        tier: admission.tier.clone(),
        state,
        epoch: u64::from(is_running),
        spec: admission.spec.clone(),
        thread: None,
        error: None,
        waiting: None,
        calls: Default::default(),
        progress: RunProgress::default(),
        next_seq: 2,
        reserved_seq: 0,
        created_at: admission.created_at,
        started_at: is_running.then_some(admission.created_at),
        ended_at: None,
        queue_deadline: None,
        events_forgotten: false,
    }
}

/// What is in the store is what was answered: record, input and exactly these two events from seq 0.
async fn assert_stored(fresh: &FreshFleet, record: &RunRecord, input: &[Item], events: &EncodedEvents) {
    let (stored, items, batches) = picture(&fresh.store, record.id).await;
    assert_eq!(stored, *record);
    let places: Vec<(u32, Item)> = (0..).zip(input.iter().cloned()).collect();
    assert_eq!(items, places);
    assert_eq!(
        (events.first_seq(), events.count(), events.is_terminal()),
        (0, 2, false)
    );
    assert_eq!(EncodedEvents::join_all(&batches).as_ref(), Some(events));
    let told = events.events().expect("decodes");
    assert!(told.iter().all(|event| event.run_id == record.id));
}

/// Under epoch 1, for this instance, with `run.created` and `run.started`.
pub async fn a_run_that_may_start_starts(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let input: Vec<Item> = (0..5)
        .map(|index| Item::message(Role::User, format!("question {index} \u{0}")))
        .collect();
    for (number, reserve_seqs) in [0, 1, 100].into_iter().enumerate() {
        let asked = FleetAdmission {
            input: input[..number * 2].to_vec(),
            slot_limit: Some(3),
            reserve_seqs,
            ..admission("acme", instance)
        };
        let expected = RunRecord {
            // Counted from the seq after `run.started`.
            reserved_seq: if reserve_seqs == 0 { 0 } else { 2 + reserve_seqs },
            ..as_asked(&asked, RunState::Running)
        };
        let input = asked.input.clone();
        let Ok(Admitted::Started { record, events }) = fresh.seen_by(number).admit(asked).await else {
            panic!("not started");
        };
        assert_eq!(*record, expected);
        assert_stored(fresh, &record, &input, &events).await;
        let created = EventBody::RunCreated { spec: spec() };
        assert_eq!(bodies(&events), [created, EventBody::RunStarted { epoch: 1 }]);
        let seen = view(&fresh.elsewhere, instance).await.expect("it is listed");
        assert_eq!(seen.runs, number as u64 + 1, "it is this instance's");
    }
}

/// With its place in the account's line, and the reason: the quota if no Slot is free, else this fleet's capacity.
pub async fn a_run_that_must_wait_is_queued(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limited = |account: &str, has_permit| FleetAdmission {
        has_permit,
        slot_limit: Some(1),
        reserve_seqs: 100,
        ..admission(account, instance)
    };
    running(&fresh.fleet, "full", instance).await;
    let cases = [
        ("free", false, 1, QueuedReason::Capacity),
        ("free", true, 2, QueuedReason::Capacity),
        ("full", true, 1, QueuedReason::Quota),
        ("full", false, 2, QueuedReason::Quota),
        ("full", true, 3, QueuedReason::Quota),
    ];
    for (number, (account, has_permit, place, reason)) in cases.into_iter().enumerate() {
        let asked = limited(account, has_permit);
        let (expected, input) = (as_asked(&asked, RunState::Queued), asked.input.clone());
        let outcome = fresh.seen_by(number).admit(asked).await;
        let Ok(Admitted::Queued {
            record,
            position,
            displaced,
            events,
        }) = outcome
        else {
            panic!("not queued: {outcome:?}");
        };
        assert_eq!((&*record, position), (&expected, Some(place)), "{account} {has_permit}");
        assert_eq!(displaced, []);
        assert_stored(fresh, &record, &input, &events).await;
        let created = EventBody::RunCreated { spec: spec() };
        let position = place;
        let queued = EventBody::RunQueued { position, reason };
        assert_eq!(bodies(&events), [created, queued]);
    }
    assert_eq!(running_runs(&fresh.store, "free").await, 0);
    assert_eq!(running_runs(&fresh.store, "full").await, 1);
    let seen = view(&fresh.fleet, instance).await.expect("it is listed");
    assert_eq!(seen.runs, 1, "who waits is nobody's");
}

/// An input may be empty, in the queue as well.
pub async fn an_input_may_be_empty(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    for has_permit in [true, false] {
        let asked = FleetAdmission {
            input: Vec::new(),
            has_permit,
            ..admission("acme", instance)
        };
        let id = asked.id;
        fresh.fleet.admit(asked).await.expect("the store answers");
        assert_eq!(fresh.store.items(id, None, 10).await, Ok(no_items()));
        assert_eq!(kinds(&fresh.store, id).await.len(), 2);
    }
}

async fn assert_refused(fresh: &FreshFleet, asked: FleetAdmission, has_slot: bool, running: u32, queued: u64) {
    let id = asked.id;
    let refused = Admitted::Refused {
        has_slot,
        running,
        queued,
    };
    assert_eq!(fresh.fleet.admit(asked).await, Ok(refused));
    assert_eq!(fresh.store.run(id).await, Ok(None));
    assert_eq!(fresh.store.items(id, None, 10).await, Ok(no_items()));
    assert_eq!(fresh.store.events(id, None, usize::MAX).await, Ok(Vec::new()));
    assert_eq!(fresh.fleet.queue_position(id).await, Ok(None));
}

/// For want of a Permit, of a Slot, of its turn; and the answer says which. Nothing is written.
pub async fn a_run_that_may_not_wait_is_refused_whole(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let now_or_never = |has_permit| FleetAdmission {
        has_permit,
        slot_limit: Some(2),
        may_wait: None,
        ..admission("acme", instance)
    };
    assert_refused(fresh, now_or_never(false), true, 0, 0).await;
    started(&fresh.fleet, now_or_never(true)).await;
    assert_refused(fresh, now_or_never(false), true, 1, 0).await;
    let waiting = queued(&fresh.fleet, "acme", instance).await;
    assert_refused(fresh, now_or_never(true), true, 1, 1).await;
    claimed(&fresh.fleet, instance, 1).await;
    assert_refused(fresh, now_or_never(true), false, 2, 0).await;
    assert_refused(fresh, now_or_never(false), false, 2, 0).await;
    assert_eq!(record(&fresh.store, waiting.id).await.state, RunState::Running);
    assert_eq!(running_runs(&fresh.store, "acme").await, 2);
}

/// What starts at once needs no room in it; and one that left the line made room.
pub async fn a_full_line_refuses(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let bounded = |account_limit, has_permit| FleetAdmission {
        has_permit,
        slot_limit: Some(1),
        may_wait: Some(MayWait {
            account_limit: Some(account_limit),
            deadline: None,
        }),
        ..admission("acme", instance)
    };
    assert_refused(fresh, bounded(0, false), true, 0, 0).await;
    started(&fresh.fleet, bounded(0, true)).await;
    assert_refused(fresh, bounded(0, true), false, 1, 0).await;
    let first = waits(&fresh.fleet, bounded(2, true)).await;
    waits(&fresh.fleet, bounded(2, true)).await;
    assert_refused(fresh, bounded(2, true), false, 1, 2).await;
    assert_refused(fresh, bounded(1, true), false, 1, 2).await;
    // The line of another account is another line, and a wider one has room.
    queued(&fresh.fleet, "beta", instance).await;
    waits(&fresh.fleet, bounded(3, true)).await;
    let cancel = parked(first.id, RunState::Cancelled);
    fresh.store.update_parked_run(cancel).await.expect("leaves the line");
    waits(&fresh.fleet, bounded(3, true)).await;
    assert_refused(fresh, bounded(3, true), false, 1, 3).await;
}

/// With a Permit and a Slot at hand, it still waits behind those of its account; other accounts are not held up.
pub async fn nobody_overtakes_his_accounts_line(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut expected = vec![queued(&fresh.fleet, "acme", instance).await.id];
    for place in 2..5 {
        let outcome = fresh.seen_by(place).admit(admission("acme", instance)).await;
        let Ok(Admitted::Queued { record, position, .. }) = outcome else {
            panic!("it overtook: {outcome:?}");
        };
        assert_eq!(position, Some(place as u64));
        expected.push(record.id);
    }
    running(&fresh.fleet, "beta", instance).await;
    let claimed = claimed(&fresh.fleet, instance, 10).await;
    assert_eq!(claimed_ids(&claimed), expected);
    running(&fresh.elsewhere, "acme", instance).await;
}

/// No limit lets all in, zero nobody; each admission says its own, and accounts do not share Slots.
pub async fn slot_limits_are_those_of_the_admission(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let limited = |account: &str, slot_limit| FleetAdmission {
        slot_limit,
        may_wait: None,
        ..admission(account, instance)
    };
    assert_refused(fresh, limited("acme", Some(0)), false, 0, 0).await;
    for _ in 0..20 {
        started(&fresh.fleet, limited("acme", None)).await;
    }
    assert_refused(fresh, limited("acme", Some(20)), false, 20, 0).await;
    assert_refused(fresh, limited("acme", Some(0)), false, 20, 0).await;
    started(&fresh.fleet, limited("acme", Some(21))).await;
    started(&fresh.fleet, limited("beta", Some(1))).await;
    assert_refused(fresh, limited("beta", Some(1)), false, 1, 0).await;
    let waiting = FleetAdmission {
        may_wait: Some(FOR_EVER),
        ..limited("gamma", Some(0))
    };
    waits(&fresh.fleet, waiting).await;
    assert!(claimed(&fresh.fleet, instance, 5).await.is_empty(), "no Slot, ever");
}

/// However wrong the clock of who asks; `created_at` is for people and is kept as it came.
pub async fn the_queue_deadline_counts_by_the_stores_clock(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let wait = Duration::from_secs(3600);
    for created_at in [0, 4_102_444_800_000_000].map(Timestamp::from_micros) {
        let asked = FleetAdmission {
            created_at,
            may_wait: Some(MayWait {
                account_limit: None,
                deadline: Some(wait),
            }),
            ..admission("acme", instance)
        };
        let earliest = beat(&fresh.fleet, instance).await.store_now.after(wait);
        let run = waits(&fresh.fleet, asked).await;
        let latest = beat(&fresh.fleet, instance).await.store_now.after(wait);
        let deadline = run.queue_deadline.expect("it may not wait for ever");
        assert!((earliest..=latest).contains(&deadline), "{deadline} of {created_at}");
        assert_eq!(run.created_at, created_at);
        assert_eq!(record(&fresh.store, run.id).await, run);
    }
    // What starts at once has none.
    let asked = FleetAdmission {
        may_wait: Some(MayWait {
            account_limit: None,
            deadline: Some(wait),
        }),
        ..admission("beta", instance)
    };
    assert_eq!(started(&fresh.fleet, asked).await.queue_deadline, None);
}

/// A second run under the same name is none, and the first is as it was.
pub async fn an_id_is_used_once(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = running(&fresh.fleet, "acme", instance).await;
    line(&fresh.fleet, "beta", instance, 1).await;
    let before = picture(&fresh.store, run.id).await;
    for account in ["acme", "beta", "gamma"] {
        let twin = FleetAdmission {
            id: run.id,
            ..admission(account, instance)
        };
        let outcome = fresh.fleet.admit(twin).await;
        assert!(
            !matches!(outcome, Ok(Admitted::Started { .. } | Admitted::Queued { .. })),
            "{outcome:?}"
        );
        assert_eq!(picture(&fresh.store, run.id).await, before);
    }
}
