//! Threads where several instances share the store.

use std::collections::HashSet;
use std::time::Duration;

use super::FreshThreads;
use super::fixtures::{ACCOUNT, at_once, moves, parked, record, spec, thread};
use crate::ids::{InstanceId, RunId, ThreadId};
use crate::item::{Item, Role};
use crate::ports::fleet::{Admitted, ClaimNext, FleetAdmission, Heartbeat, InstanceLoad, MayWait, NewInstance};
use crate::ports::store::{Claim, RunRecord};
use crate::ports::threads::{EnterThread, OnBusy};
use crate::run_state::RunState;
use crate::time::Timestamp;

const LONG_LEASE: Duration = Duration::from_secs(600);

async fn joined(fresh: &FreshThreads) -> InstanceId {
    let id = InstanceId::new();
    let newcomer = NewInstance {
        id,
        name: "one of the fleet".into(),
        version: "0.0.1".into(),
        place: None,
        lease: LONG_LEASE,
        shares_events: true,
    };
    fresh.fleets[0].join(newcomer).await.expect("joins");
    id
}

fn admission(instance: InstanceId, thread: Option<(ThreadId, OnBusy)>) -> FleetAdmission {
    FleetAdmission {
        id: RunId::new(),
        account: super::fixtures::account(ACCOUNT),
        tier: "pro".into(),
        instance,
        idempotency: None,
        spec: spec(),
        input: vec![Item::message(Role::User, "hello")],
        thread: thread.map(|(thread, on_busy)| EnterThread { thread, on_busy }),
        has_permit: true,
        slot_limit: None,
        may_wait: Some(MayWait {
            account_limit: None,
            deadline: None,
        }),
        reserve_seqs: 0,
        created_at: Timestamp::now(),
    }
}

async fn admit(fresh: &FreshThreads, asked: FleetAdmission) -> Admitted {
    fresh.fleets[0].admit(asked).await.expect("the store answers")
}

async fn started(fresh: &FreshThreads, asked: FleetAdmission) -> RunRecord {
    match admit(fresh, asked).await {
        Admitted::Started { record, .. } => *record,
        other => panic!("not started: {other:?}"),
    }
}

async fn claim_next(fresh: &FreshThreads, number: usize, instance: InstanceId, limit: u32) -> Vec<RunRecord> {
    let claim = ClaimNext {
        instance,
        limit,
        reserve_seqs: 0,
        at: Timestamp::now(),
    };
    let fleet = &fresh.fleets[number % fresh.fleets.len()];
    let claimed = fleet.claim_next(claim).await.expect("the store answers");
    claimed.into_iter().map(|claimed| claimed.record).collect()
}

async fn beat(fresh: &FreshThreads, instance: InstanceId) -> crate::ports::fleet::Beat {
    let heartbeat = Heartbeat {
        instance,
        lease: LONG_LEASE,
        load: InstanceLoad::default(),
    };
    fresh.fleets[0].heartbeat(heartbeat).await.expect("the store answers")
}

/// It waits and is counted as waiting, and is no reason to ask for runs; others of the account pass it.
pub async fn a_busy_thread_holds_a_run_and_nobody_elses(fresh: &FreshThreads) {
    let instance = joined(fresh).await;
    let busy = thread(fresh).await;
    let active = started(fresh, admission(instance, Some((busy, OnBusy::Refuse)))).await;
    let refused = admit(fresh, admission(instance, Some((busy, OnBusy::Refuse)))).await;
    assert_eq!(refused, Admitted::ThreadBusy { active: active.id });
    let unknown = admit(fresh, admission(instance, Some((ThreadId::new(), OnBusy::Queue)))).await;
    assert_eq!(unknown, Admitted::ThreadNotFound);
    let held = admit(fresh, admission(instance, Some((busy, OnBusy::Queue)))).await;
    let Admitted::Queued {
        record: held,
        position: None,
        displaced,
        ..
    } = held
    else {
        panic!("not held: {held:?}");
    };
    assert_eq!(displaced, []);
    assert_eq!(fresh.fleets[0].queue_position(held.id).await, Ok(None));
    let now = beat(fresh, instance).await;
    assert_eq!((now.claimable, now.queued_by_tier.values().sum::<u64>()), (false, 1));
    assert_eq!(claim_next(fresh, 0, instance, 10).await, []);
    // Nobody waits in the line: a run without a thread starts at once.
    started(fresh, admission(instance, None)).await;
    let bounded = FleetAdmission {
        may_wait: Some(MayWait {
            account_limit: Some(1),
            deadline: None,
        }),
        ..admission(instance, Some((busy, OnBusy::Queue)))
    };
    let full = admit(fresh, bounded).await;
    assert!(
        matches!(full, Admitted::Refused { queued: 1, .. }),
        "it counts: {full:?}"
    );
    moves(&fresh.store, active.id, RunState::Completed).await;
    assert!(beat(fresh, instance).await.claimable);
    assert_eq!(fresh.fleets[0].queue_position(held.id).await, Ok(Some(1)));
    let claimed = claim_next(fresh, 1, instance, 10).await;
    assert_eq!(claimed.iter().map(|run| run.id).collect::<Vec<_>>(), [held.id]);
    assert_eq!(beat(fresh, instance).await.queued_by_tier.values().sum::<u64>(), 0);
}

/// By every heartbeat: to their owner, and to all if they have none.
pub async fn marked_runs_are_told_until_they_have_ended(fresh: &FreshThreads) {
    let instance = joined(fresh).await;
    let busy = thread(fresh).await;
    let active = started(fresh, admission(instance, Some((busy, OnBusy::Refuse)))).await;
    admit(fresh, admission(instance, Some((busy, OnBusy::Queue)))).await;
    let new = admit(fresh, admission(instance, Some((busy, OnBusy::Interrupt)))).await;
    let Admitted::Queued {
        record: new, displaced, ..
    } = new
    else {
        panic!("not queued: {new:?}");
    };
    assert_eq!(displaced.len(), 2);
    for _ in 0..2 {
        let told = beat(fresh, instance).await;
        assert_eq!(
            (told.to_cancel, told.parked_to_cancel),
            (vec![active.id], vec![displaced[1]])
        );
    }
    // What comes to wait before it heard of it is told as well.
    moves(&fresh.store, active.id, RunState::Waiting).await;
    let told = beat(fresh, instance).await;
    assert_eq!((told.to_cancel, told.parked_to_cancel), (vec![], displaced.clone()));
    let first = displaced[0];
    let cancelled = fresh.store.update_parked_run(parked(first, RunState::Cancelled)).await;
    cancelled.expect("cancels");
    assert_eq!(
        claim_next(fresh, 0, instance, 10).await,
        [],
        "the second one begins no more"
    );
    for run in displaced.into_iter().skip(1) {
        let cancelled = fresh.store.update_parked_run(parked(run, RunState::Cancelled)).await;
        cancelled.expect("cancels");
    }
    let told = beat(fresh, instance).await;
    assert_eq!((told.to_cancel, told.parked_to_cancel), (vec![], vec![]));
    let claimed = claim_next(fresh, 0, instance, 10).await;
    assert_eq!(claimed.iter().map(|run| run.id).collect::<Vec<_>>(), [new.id]);
}

/// Many threads, many instances at once: each run gets its turn, and never do two of a thread run.
pub async fn claims_of_many_instances_never_take_two_of_a_thread(fresh: &FreshThreads) {
    const THREADS: usize = 5;
    const RUNS_OF_EACH: usize = 6;
    let instances = [joined(fresh).await, joined(fresh).await, joined(fresh).await];
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        threads.push(thread(fresh).await);
    }
    for number in 0..THREADS * RUNS_OF_EACH {
        let asked = FleetAdmission {
            has_permit: false,
            ..admission(instances[0], Some((threads[number % THREADS], OnBusy::Queue)))
        };
        admit(fresh, asked).await;
    }
    let mut done = 0;
    let mut last = [0; THREADS];
    while done < THREADS * RUNS_OF_EACH {
        let claims = (0..6).map(|number| {
            let claim = ClaimNext {
                instance: instances[number % 3],
                limit: 4,
                reserve_seqs: 0,
                at: Timestamp::now(),
            };
            let fleet = fresh.fleets[number % fresh.fleets.len()].clone();
            async move { fleet.claim_next(claim).await.expect("the store answers") }
        });
        let claimed: Vec<RunRecord> = at_once(claims)
            .await
            .into_iter()
            .flatten()
            .map(|claimed| claimed.record)
            .collect();
        assert!(!claimed.is_empty(), "{done} have ended, and nothing else starts");
        let of: HashSet<ThreadId> = claimed
            .iter()
            .filter_map(|run| run.thread.map(|thread| thread.id))
            .collect();
        assert_eq!(of.len(), claimed.len(), "two of a thread were given out: {claimed:?}");
        let ends = claimed.iter().map(|run| {
            let (store, id) = (fresh.store.clone(), run.id);
            async move { moves(&store, id, RunState::Completed).await }
        });
        at_once(ends).await;
        for run in &claimed {
            let place = run.thread.expect("it is in one");
            let index = threads
                .iter()
                .position(|thread| *thread == place.id)
                .expect("one of them");
            last[index] += 1;
            assert_eq!(place.position, last[index], "in their order");
        }
        done += claimed.len();
    }
}

/// Its thread goes on when it has ended, and not before.
pub async fn a_lost_run_is_taken_over_and_stays_alone(fresh: &FreshThreads) {
    let (lost, taker) = (joined(fresh).await, joined(fresh).await);
    let busy = thread(fresh).await;
    let active = started(fresh, admission(lost, Some((busy, OnBusy::Refuse)))).await;
    let Admitted::Queued { record: next, .. } = admit(fresh, admission(lost, Some((busy, OnBusy::Queue)))).await else {
        panic!("not queued");
    };
    fresh.fleets[0].leave(lost).await.expect("leaves");
    assert_eq!(
        claim_next(fresh, 0, taker, 10).await,
        [],
        "it is running, whoever has it"
    );
    let taken = fresh.fleets[1].take_over(taker, 10).await.expect("the store answers");
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].id, taken[0].thread), (active.id, active.thread));
    assert_eq!(claim_next(fresh, 1, taker, 10).await, []);
    let direct = crate::testing::store_conformance::fixtures::claim(next.id, None);
    assert_eq!(fresh.store.claim_run(direct).await, Ok(Claim::ThreadBusy));
    moves(&fresh.store, active.id, RunState::Completed).await;
    let claimed = claim_next(fresh, 1, taker, 10).await;
    assert_eq!(claimed[0].id, next.id);
    assert_eq!(record(&fresh.store, next.id).await.state, RunState::Running);
}
