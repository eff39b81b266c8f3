//! Leases: renewed by who holds them, over for good when they are over, and nothing for who has none.

use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, admission, assert_unavailable, beat, claim, claimed, dead, delta_commit, dies, eventually, heartbeat,
    joined, newcomer, picture, queued, record, running, running_runs, started, view,
};
use crate::ids::InstanceId;
use crate::ports::fleet::{FleetAdmission, NewInstance};
use crate::ports::store::Idempotency;
use crate::run_state::RunState;

/// Each heartbeat says how long from now, be it more than is left or less.
pub async fn a_lease_runs_from_each_heartbeat(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let left = async || {
        let view = view(&fresh.elsewhere, instance).await.expect("it is listed");
        view.lease_left.expect("it is alive")
    };
    let half = LONG_LEASE / 2;
    assert!((half..=LONG_LEASE).contains(&left().await));
    for (lease, bounds) in [
        (LONG_LEASE * 3, LONG_LEASE * 2..=LONG_LEASE * 3),
        (half, half / 2..=half),
        (LONG_LEASE, half..=LONG_LEASE),
    ] {
        let beat = fresh.fleet.heartbeat(heartbeat(instance, lease)).await;
        assert!(beat.expect("the store answers").held);
        assert!(bounds.contains(&left().await), "after a heartbeat for {lease:?}");
    }
}

/// Joins and heartbeats say what the store's clock says, one clock for all.
pub async fn the_stores_clock_goes_forward_for_all(fresh: &FreshFleet) {
    let first = newcomer();
    let instance = first.id;
    let mut latest = fresh.fleet.join(first).await.expect("joins");
    for number in 0..20 {
        let fleet = fresh.seen_by(number);
        let told = if number % 5 == 0 {
            fleet.join(newcomer()).await.expect("joins")
        } else {
            beat(&fleet, instance).await.store_now
        };
        assert!(told >= latest, "{told} after {latest}");
        assert!(told.since(latest) < LONG_LEASE);
        latest = told;
    }
}

/// An instance that beats too late is told so by every heartbeat from then on, whatever lease it asks for.
pub async fn a_lease_that_is_over_is_over_for_good(fresh: &FreshFleet) {
    let over = dead(&fresh.fleet).await;
    let breathless = joined(&fresh.fleet).await;
    // Always as short as can be, until one comes too late.
    eventually("a heartbeat that comes too late", || async {
        let beat = fresh
            .fleet
            .heartbeat(heartbeat(breathless, Duration::from_millis(2)))
            .await;
        (!beat.expect("the store answers").held).then_some(())
    })
    .await;
    for instance in [over, breathless] {
        for number in 0..10 {
            assert!(!beat(&fresh.seen_by(number), instance).await.held);
        }
        let seen = view(&fresh.fleet, instance).await;
        assert_eq!(seen.and_then(|view| view.lease_left), None);
    }
}

/// It is not there any more, may not come back under its name, and what it had is for others at once.
pub async fn an_instance_that_left_cannot_come_back(fresh: &FreshFleet) {
    let (left, other) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let run = running(&fresh.fleet, "acme", left).await;
    fresh.fleet.leave(left).await.expect("leaves");
    let taken = fresh.elsewhere.take_over(other, 10).await.expect("the store answers");
    assert_eq!(taken.len(), 1, "no lease has to end first");
    assert_eq!((taken[0].id, taken[0].epoch), (run.id, 2));

    let again = NewInstance { id: left, ..newcomer() };
    assert!(fresh.fleet.join(again).await.is_err());
    assert!(!beat(&fresh.fleet, left).await.held);
    let seen = view(&fresh.elsewhere, left).await;
    assert_eq!(seen.and_then(|view| view.lease_left), None);
    fresh.fleet.leave(left).await.expect("leaving twice is no error");
    assert!(beat(&fresh.fleet, other).await.held);
}

/// Neither a new run, nor a queued one, nor a lost one, nor the answer to an old request; and none of them is touched.
pub async fn an_instance_without_a_lease_is_given_nothing(fresh: &FreshFleet) {
    let fleet = &fresh.fleet;
    let (alive, lost) = (joined(fleet).await, joined(fleet).await);
    let lost_run = running(fleet, "acme", lost).await;
    dies(fleet, lost).await;
    let waiting = queued(fleet, "acme", alive).await;
    let idempotency = Some(Idempotency {
        key: "before".into(),
        request_hash: [1; 32],
    });
    let before = FleetAdmission {
        idempotency: idempotency.clone(),
        ..admission("beta", alive)
    };
    let before = started(fleet, before).await;

    let left = joined(fleet).await;
    fleet.leave(left).await.expect("leaves");
    let over = dead(fleet).await;
    for instance in [over, left, lost, InstanceId::new()] {
        for number in 0..2 {
            let fleet = fresh.seen_by(number);
            let new = admission("gamma", instance);
            let id = new.id;
            assert_unavailable(fleet.admit(new).await, "an admission");
            assert_eq!(fresh.store.run(id).await, Ok(None));
            let waits = FleetAdmission {
                has_permit: false,
                ..admission("gamma", instance)
            };
            assert_unavailable(fleet.admit(waits).await, "an admission to the queue");
            let again = FleetAdmission {
                idempotency: idempotency.clone(),
                ..admission("beta", instance)
            };
            assert_unavailable(fleet.admit(again).await, "an old request");
            assert_unavailable(fleet.claim_next(claim(instance, 5)).await, "a claim");
            assert_unavailable(fleet.take_over(instance, 5).await, "a take-over");
        }
    }
    assert_eq!(running_runs(&fresh.store, "gamma").await, 0);
    for run in [lost_run, waiting.clone(), before] {
        assert_eq!(record(&fresh.store, run.id).await, run);
    }
    assert_eq!(claimed(fleet, alive, 5).await[0].record.id, waiting.id);
}

/// Its writes count until somebody else has its runs: a lease that ends moves nothing by itself.
pub async fn the_end_of_a_lease_moves_nothing(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = running(&fresh.fleet, "acme", instance).await;
    let before = picture(&fresh.store, run.id).await;
    dies(&fresh.fleet, instance).await;
    assert_eq!(picture(&fresh.store, run.id).await, before);
    let own = delta_commit(&run, 2);
    fresh.store.commit(own).await.expect("nobody has taken it over");
    assert_eq!(record(&fresh.store, run.id).await.state, RunState::Running);
}
