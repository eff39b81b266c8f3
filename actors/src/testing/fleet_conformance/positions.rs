//! Places in line: asked for, and told to the logs of those who wait.

use std::collections::BTreeMap;
use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, account, at_once, bodies, claimed, ids, joined, kinds, line, moves, parked, record, running,
};
use crate::event::EventBody;
use crate::ids::RunId;
use crate::ports::fleet::ToldPosition;
use crate::ports::store::RunRecord;
use crate::run_state::RunState;

/// 1 is next; those who were handed over stand before those who never started; who does not wait has no place.
pub async fn a_place_is_counted_in_the_accounts_own_line(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let handed_over = running(&fresh.fleet, "acme", instance).await;
    let mut expected = ids(&line(&fresh.fleet, "acme", instance, 5).await);
    line(&fresh.fleet, "beta", instance, 3).await;
    let places = async |expected: &[RunId]| {
        for (index, id) in expected.iter().enumerate() {
            let position = fresh.seen_by(index).queue_position(*id).await;
            assert_eq!(position, Ok(Some(index as u64 + 1)));
        }
    };
    places(&expected).await;
    assert_eq!(fresh.fleet.queue_position(handed_over.id).await, Ok(None), "it runs");
    assert_eq!(fresh.fleet.queue_position(RunId::new()).await, Ok(None));

    moves(&fresh.store, &handed_over, RunState::Queued).await;
    expected.insert(0, handed_over.id);
    places(&expected).await;
    let cancelled = expected.remove(2);
    let outcome = fresh
        .store
        .update_parked_run(parked(cancelled, RunState::Cancelled))
        .await;
    outcome.expect("leaves the line");
    places(&expected).await;
    assert_eq!(fresh.fleet.queue_position(cancelled).await, Ok(None));
    let started = claimed(&fresh.fleet, instance, 4).await;
    for claimed in started
        .iter()
        .filter(|claimed| claimed.record.account.as_str() == "acme")
    {
        assert_eq!(claimed.record.id, expected.remove(0));
        assert_eq!(fresh.fleet.queue_position(claimed.record.id).await, Ok(None));
    }
    places(&expected).await;
}

async fn tell(fresh: &FreshFleet, interval: Duration, limit: u32) -> Vec<ToldPosition> {
    let told = fresh.fleet.tell_positions(&account("acme"), interval, limit).await;
    told.expect("the store answers")
}

fn positions(told: &[ToldPosition]) -> Vec<(RunId, u64)> {
    let mut positions = Vec::new();
    for told in told {
        match &bodies(&told.events)[..] {
            [EventBody::RunQueuePosition { position }] => positions.push((told.run, *position)),
            other => panic!("one event, of a place: {other:?}"),
        }
    }
    positions
}

/// Lets the first so many of the account's line go.
async fn leave_the_line(fresh: &FreshFleet, line: &mut Vec<RunRecord>, count: usize) {
    for run in line.drain(..count) {
        let outcome = fresh.store.update_parked_run(parked(run.id, RunState::Cancelled)).await;
        outcome.expect("leaves the line");
    }
}

/// Only if it has halved since it was last told, by `run.queued` at first; appended to the log as it is answered.
pub async fn a_place_is_told_when_it_has_halved(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut line = line(&fresh.fleet, "acme", instance, 16).await;
    let mut last_told: BTreeMap<RunId, u64> = ids(&line).into_iter().zip(1..).collect();
    let mut events = BTreeMap::new();
    for leaving in [0, 1, 1, 2, 0, 4, 1, 3, 4] {
        leave_the_line(fresh, &mut line, leaving).await;
        let mut expected = Vec::new();
        for (index, run) in line.iter().enumerate() {
            let (place, before) = (index as u64 + 1, last_told[&run.id]);
            if place * 2 <= before {
                last_told.insert(run.id, place);
                *events.entry(run.id).or_insert(0_usize) += 1;
                expected.push((run.id, place));
            }
        }
        let told = tell(fresh, Duration::ZERO, 100).await;
        assert_eq!(positions(&told), expected, "those in front first");
        for told in told {
            let stored = record(&fresh.store, told.run).await;
            assert_eq!(
                (told.epoch, told.events.last_seq() + 1),
                (stored.epoch, stored.next_seq)
            );
            let above = told.events.first_seq() - 1;
            let written = fresh.store.events(told.run, Some(above), usize::MAX).await;
            assert_eq!(written, Ok(vec![told.events]));
        }
    }
    for run in &line {
        let told = kinds(&fresh.store, run.id).await;
        let count = events.get(&run.id).copied().unwrap_or(0);
        assert_eq!(told[..2], ["run.created", "run.queued"]);
        assert_eq!(told[2..], vec!["run.queue_position"; count]);
    }
}

/// What was told less than an interval ago is not told again, however far it has moved up; `run.queued` tells it too.
pub async fn a_place_is_not_told_too_often(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut line = line(&fresh.fleet, "acme", instance, 16).await;
    leave_the_line(fresh, &mut line, 8).await;
    assert!(tell(fresh, LONG_LEASE, 100).await.is_empty(), "it came only now");
    let told = tell(fresh, Duration::ZERO, 100).await;
    assert_eq!(told.len(), 8);
    leave_the_line(fresh, &mut line, 4).await;
    assert!(tell(fresh, LONG_LEASE, 100).await.is_empty(), "it was told only now");
    let told = positions(&tell(fresh, Duration::ZERO, 100).await);
    assert_eq!(told, ids(&line).into_iter().zip(1..).collect::<Vec<_>>());
    assert!(tell(fresh, Duration::ZERO, 100).await.is_empty(), "nobody has moved");
}

/// In front first, and the others when they are asked for again; the lines of other accounts are told nothing.
pub async fn no_more_places_are_told_than_asked_for(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let others = line(&fresh.fleet, "beta", instance, 4).await;
    let mut line = line(&fresh.fleet, "acme", instance, 20).await;
    for run in &others[..2] {
        let outcome = fresh.store.update_parked_run(parked(run.id, RunState::Cancelled)).await;
        outcome.expect("leaves the line");
    }
    leave_the_line(fresh, &mut line, 10).await;
    let mut told = Vec::new();
    for (limit, expected) in [(0, 0), (1, 1), (4, 4), (100, 5), (100, 0)] {
        let now = positions(&tell(fresh, Duration::ZERO, limit).await);
        assert_eq!(now.len(), expected, "with a limit of {limit}");
        told.extend(now);
    }
    assert_eq!(told, ids(&line).into_iter().zip(1..).collect::<Vec<_>>());
    for run in &others[2..] {
        assert_eq!(record(&fresh.store, run.id).await, *run);
    }
}

/// From many instances at once each place is told once, and no log gets a gap.
pub async fn parallel_tellers_tell_each_place_once(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut line = line(&fresh.fleet, "acme", instance, 40).await;
    leave_the_line(fresh, &mut line, 20).await;
    let told = at_once((0..20).map(|number| {
        let fleet = fresh.seen_by(number);
        async move {
            let told = fleet.tell_positions(&account("acme"), Duration::ZERO, 7).await;
            positions(&told.expect("the store answers"))
        }
    }))
    .await;
    let mut told: Vec<(RunId, u64)> = told.into_iter().flatten().collect();
    told.extend(positions(&tell(fresh, Duration::ZERO, 100).await));
    told.sort_unstable();
    assert_eq!(told, ids(&line).into_iter().zip(1..).collect::<Vec<_>>());
    for run in &line {
        let told = kinds(&fresh.store, run.id).await;
        assert_eq!(told, ["run.created", "run.queued", "run.queue_position"]);
    }
}
