//! Slots and places in line, with everybody at the door at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::FreshFleet;
use super::fixtures::{
    admission, at_once, claimed, claimed_ids, eventually, joined, line, moves, running_runs, started,
};
use crate::ids::InstanceId;
use crate::ports::fleet::{Admitted, FleetAdmission, MayWait};
use crate::run_state::RunState;

/// Three instances, the first and the last on adapters of their own.
async fn three_instances(fresh: &FreshFleet) -> Vec<InstanceId> {
    let mut instances = Vec::new();
    for number in 0..3 {
        instances.push(joined(&fresh.seen_by(number)).await);
    }
    instances
}

/// Exactly as many as the limit says, from three instances at the same moment.
pub async fn a_thousand_parallel_admissions_keep_the_limit(fresh: &FreshFleet) {
    const LIMIT: u32 = 7;
    let instances = three_instances(fresh).await;
    let outcomes = at_once((0..1000).map(|number| {
        let fleet = fresh.seen_by(number % 3);
        let asked = FleetAdmission {
            slot_limit: Some(LIMIT),
            may_wait: None,
            ..admission("acme", instances[number % 3])
        };
        async move { fleet.admit(asked).await.expect("the store answers") }
    }))
    .await;
    let mut started = 0;
    for outcome in outcomes {
        match outcome {
            Admitted::Started { .. } => started += 1,
            other => {
                let refused = Admitted::Refused {
                    has_slot: false,
                    running: LIMIT,
                    queued: 0,
                };
                assert_eq!(other, refused);
            }
        }
    }
    assert_eq!(started, LIMIT);
    assert_eq!(running_runs(&fresh.store, "acme").await, LIMIT as usize);
}

/// A line has as many places as its limit says, each is given once, and in the order of the places they start.
pub async fn parallel_admissions_fill_a_line_exactly(fresh: &FreshFleet) {
    const SLOTS: u32 = 3;
    const PLACES: u64 = 40;
    let instances = three_instances(fresh).await;
    let outcomes = at_once((0..300).map(|number| {
        let fleet = fresh.seen_by(number % 3);
        let asked = FleetAdmission {
            slot_limit: Some(SLOTS),
            may_wait: Some(MayWait {
                account_limit: Some(PLACES),
                deadline: None,
            }),
            ..admission("acme", instances[number % 3])
        };
        async move { fleet.admit(asked).await.expect("the store answers") }
    }))
    .await;
    let mut running = Vec::new();
    let mut by_place = BTreeMap::new();
    for outcome in outcomes {
        match outcome {
            Admitted::Started { record, .. } => running.push(*record),
            Admitted::Queued { record, position, .. } => {
                let position = position.expect("it stands in line");
                assert_eq!(
                    by_place.insert(position, record.id),
                    None,
                    "place {position} was given twice"
                );
            }
            other => {
                let refused = Admitted::Refused {
                    has_slot: false,
                    running: SLOTS,
                    queued: PLACES,
                };
                assert_eq!(other, refused);
            }
        }
    }
    assert_eq!(running.len(), SLOTS as usize);
    assert!(by_place.keys().copied().eq(1..=PLACES));
    for run in &running {
        moves(&fresh.store, run, RunState::Completed).await;
    }
    let mut started = Vec::new();
    while started.len() < PLACES as usize {
        let now = claimed(&fresh.fleet, instances[0], SLOTS).await;
        assert_eq!(now.len(), (PLACES as usize - started.len()).min(SLOTS as usize));
        started.extend(claimed_ids(&now));
        for run in now {
            moves(&fresh.store, &run.record, RunState::Completed).await;
        }
    }
    assert!(started.into_iter().eq(by_place.into_values()));
}

/// Admissions, claims and ends of runs from three instances, all at once: at no moment too many, and in the end the count is exact.
pub async fn admissions_claims_and_ends_draw_on_the_same_slots(fresh: &FreshFleet) {
    const LIMIT: u32 = 4;
    const RUNS: usize = 150;
    let instances = three_instances(fresh).await;
    line(&fresh.fleet, "acme", instances[0], 1).await;
    let running = Arc::new(AtomicU32::new(0));
    let ended = Arc::new(AtomicU32::new(0));
    at_once((0..RUNS).map(|number| {
        let (store, fleet, instance) = (fresh.store.clone(), fresh.seen_by(number % 3), instances[number % 3]);
        let (running, ended) = (running.clone(), ended.clone());
        let asked = FleetAdmission {
            slot_limit: Some(LIMIT),
            ..admission("acme", instance)
        };
        async move {
            let mut mine = Vec::new();
            if let Admitted::Started { record, .. } = fleet.admit(asked).await.expect("the store answers") {
                mine.push(*record);
            }
            let claimed = claimed(&fleet, instance, 2).await;
            mine.extend(claimed.into_iter().map(|claimed| claimed.record));
            // Counted later and uncounted earlier than the store does: never more than the store has.
            let count = mine.len() as u32;
            assert!(
                running.fetch_add(count, Ordering::SeqCst) + count <= LIMIT,
                "more runs than Slots"
            );
            for run in mine {
                running.fetch_sub(1, Ordering::SeqCst);
                moves(&store, &run, RunState::Completed).await;
                ended.fetch_add(1, Ordering::SeqCst);
            }
        }
    }))
    .await;
    // What a claim passed over because another was claiming is still there.
    eventually("the end of the line", || async {
        for run in claimed(&fresh.fleet, instances[0], 100).await {
            moves(&fresh.store, &run.record, RunState::Completed).await;
            ended.fetch_add(1, Ordering::SeqCst);
        }
        (ended.load(Ordering::SeqCst) == RUNS as u32 + 1).then_some(())
    })
    .await;
    assert_eq!(running_runs(&fresh.store, "acme").await, 0);
    for _ in 0..LIMIT {
        let asked = FleetAdmission {
            slot_limit: Some(LIMIT),
            ..admission("acme", instances[1])
        };
        started(&fresh.fleet, asked).await;
    }
    let one_more = FleetAdmission {
        slot_limit: Some(LIMIT),
        may_wait: None,
        ..admission("acme", instances[2])
    };
    let refused = Admitted::Refused {
        has_slot: false,
        running: LIMIT,
        queued: 0,
    };
    assert_eq!(fresh.elsewhere.admit(one_more).await, Ok(refused));
}
