//! Who may join, and whom an instance must be without.

use std::sync::Arc;

use super::FreshFleet;
use super::fixtures::{
    SHORT_LEASE, at_once, beat, dead, delta_commit, dies, joined, lease_ends, moves, newcomer, record, running, taken,
    under_the_next_epoch, view,
};
use crate::ids::InstanceId;
use crate::ports::fleet::{JoinError, NewInstance};
use crate::ports::store::RunRecord;
use crate::ports::{Fleet, StoreError};
use crate::run_state::RunState;

fn sharing(shares_events: bool) -> NewInstance {
    NewInstance {
        shares_events,
        ..newcomer()
    }
}

/// Whether it was let in; refused for being one too many is the only other answer.
async fn is_let_in(fleet: &Arc<dyn Fleet>, newcomer: NewInstance) -> bool {
    match fleet.join(newcomer).await {
        Ok(_) => true,
        Err(JoinError::MustBeAlone) => false,
        Err(JoinError::Store(error)) => panic!("the store does not answer: {error}"),
    }
}

/// Those that share their events may be many; one that does not is let in by nobody and lets nobody in.
pub async fn one_that_keeps_its_events_to_itself_is_alone(fresh: &FreshFleet) {
    for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
        let (one, two) = (sharing(first), sharing(second));
        let (one_id, two_id) = (one.id, two.id);
        assert!(is_let_in(&fresh.fleet, one).await, "nobody is there");
        let may_be_two = first && second;
        assert_eq!(is_let_in(&fresh.elsewhere, two).await, may_be_two, "{first} {second}");
        let seen = view(&fresh.fleet, two_id).await;
        assert_eq!(seen.is_some(), may_be_two, "who is refused is not there");
        assert_eq!(beat(&fresh.fleet, two_id).await.held, may_be_two);
        assert!(
            beat(&fresh.elsewhere, one_id).await.held,
            "who was first is not disturbed"
        );
        for id in [one_id, two_id] {
            fresh.fleet.leave(id).await.expect("leaves");
        }
    }
}

/// Whether it left or its lease ended; and those that are dead do not come back by a heartbeat beside their successor.
pub async fn the_dead_keep_nobody_out(fresh: &FreshFleet) {
    let lonely = sharing(false);
    let left = lonely.id;
    assert!(is_let_in(&fresh.fleet, lonely).await);
    fresh.fleet.leave(left).await.expect("leaves");

    let lonely = NewInstance {
        lease: SHORT_LEASE,
        ..sharing(false)
    };
    let over = lonely.id;
    assert!(is_let_in(&fresh.elsewhere, lonely).await, "the one before has left");
    lease_ends(&fresh.elsewhere, over).await;

    let lonely = sharing(false);
    let shortened = lonely.id;
    assert!(is_let_in(&fresh.fleet, lonely).await, "the one before is dead");
    dies(&fresh.fleet, shortened).await;

    let (one, two) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    for dead in [left, over, shortened] {
        assert!(!beat(&fresh.fleet, dead).await.held);
    }
    for alive in [one, two] {
        assert!(beat(&fresh.fleet, alive).await.held);
    }
    assert!(!is_let_in(&fresh.fleet, sharing(false)).await, "two are there");
}

/// However many ask at the same moment, on whatever connection.
pub async fn of_many_lonely_ones_at_once_one_is_let_in(fresh: &FreshFleet) {
    // Old lives change nothing.
    dead(&fresh.fleet).await;
    for round in 0..5 {
        let joins = at_once((0..40).map(|number| {
            let fleet = fresh.seen_by(number);
            async move {
                let lonely = sharing(false);
                let id = lonely.id;
                is_let_in(&fleet, lonely).await.then_some(id)
            }
        }))
        .await;
        let inside: Vec<InstanceId> = joins.into_iter().flatten().collect();
        assert_eq!(inside.len(), 1, "round {round}");
        fresh.fleet.leave(inside[0]).await.expect("leaves");
    }
}

/// Either all who share are in, or one who does not.
pub async fn lonely_and_sharing_ones_at_once_do_not_mix(fresh: &FreshFleet) {
    for round in 0..5 {
        let joins = at_once((0..40).map(|number| {
            let fleet = fresh.seen_by(number / 2);
            async move {
                let shares_events = number % 2 == 0;
                let instance = sharing(shares_events);
                let id = instance.id;
                is_let_in(&fleet, instance).await.then_some((id, shares_events))
            }
        }))
        .await;
        let inside: Vec<(InstanceId, bool)> = joins.into_iter().flatten().collect();
        let lonely = inside.iter().filter(|(_, shares)| !shares).count();
        assert!(
            (lonely == 0 && inside.len() == 20) || (lonely == 1 && inside.len() == 1),
            "round {round}: {inside:?}"
        );
        for (id, _) in inside {
            fresh.elsewhere.leave(id).await.expect("leaves");
        }
    }
}

fn at(place: &str, shares_events: bool) -> NewInstance {
    NewInstance {
        place: Some(place.into()),
        ..sharing(shares_events)
    }
}

/// Its lease ends with the join, so that its runs are lost at once and it keeps nobody out; who is elsewhere, or nobody can say where, lives.
pub async fn who_was_at_the_same_place_is_dead(fresh: &FreshFleet) {
    let (elsewhere, somewhere) = (at("host b, directory 1", true), joined(&fresh.fleet).await);
    let elsewhere_id = elsewhere.id;
    fresh.fleet.join(elsewhere).await.expect("joins");
    let other = running(&fresh.fleet, "acme", elsewhere_id).await;
    let mut before: Option<RunRecord> = None;
    for number in 0..3 {
        let instance = at("host a, directory 1", true);
        let id = instance.id;
        fresh.seen_by(number).join(instance).await.expect("joins");
        if let Some(before) = &before {
            let taken = taken(&fresh.seen_by(number), id, 10).await;
            assert_eq!(taken, under_the_next_epoch(std::slice::from_ref(before)));
            let old = fresh.store.commit(delta_commit(before, 1)).await;
            assert_eq!(old, Err(StoreError::Fenced));
            moves(&fresh.store, before, RunState::Completed).await;
        }
        before = Some(running(&fresh.fleet, "acme", id).await);
        for alive in [id, elsewhere_id, somewhere, joined(&fresh.elsewhere).await] {
            assert!(beat(&fresh.fleet, alive).await.held, "life {number}");
        }
    }
    let seen = fresh.fleet.overview().await.expect("the store answers");
    let alive = seen.instances.iter().filter(|view| view.lease_left.is_some()).count();
    assert_eq!(alive, 6, "of three lives at one place one is left");
    assert_eq!(record(&fresh.store, other.id).await, other);
}

/// One that must be alone is, beside its dead predecessor at the same place and not beside anyone else.
pub async fn a_lonely_one_may_return_to_its_place(fresh: &FreshFleet) {
    for number in 0..3 {
        let fleet = fresh.seen_by(number);
        assert!(is_let_in(&fleet, at("here", false)).await, "life {number}");
        assert!(!is_let_in(&fleet, at("there", false)).await);
        assert!(!is_let_in(&fleet, at("there", true)).await);
        assert!(!is_let_in(&fleet, sharing(false)).await);
    }
}

/// However many join there at the same moment, one of them lives.
pub async fn at_one_place_one_lives(fresh: &FreshFleet) {
    for shares_events in [true, false] {
        let joins = at_once((0..30).map(|number| {
            let fleet = fresh.seen_by(number);
            async move {
                let instance = at("the same", shares_events);
                let id = instance.id;
                is_let_in(&fleet, instance).await.then_some(id)
            }
        }))
        .await;
        let mut alive = Vec::new();
        for id in joins.into_iter().flatten() {
            if beat(&fresh.fleet, id).await.held {
                alive.push(id);
            }
        }
        assert_eq!(alive.len(), 1);
        fresh.fleet.leave(alive[0]).await.expect("leaves");
    }
}
