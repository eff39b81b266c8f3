//! What is to be seen of the whole fleet: in the overview, and in each heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, PATIENCE, admission, beat, claimed_one, dies, heartbeat, joined, moves, newcomer, queued, running,
    view, waits,
};
use crate::ids::InstanceId;
use crate::ports::fleet::{Beat, FleetAdmission, FleetOverview, Heartbeat, InstanceLoad, NewInstance};
use crate::run_state::RunState;

async fn overview(fresh: &FreshFleet) -> FleetOverview {
    fresh.elsewhere.overview().await.expect("the store answers")
}

/// Each with what it said of itself, oldest first; times by the store's clock.
pub async fn instances_are_listed_as_they_joined(fresh: &FreshFleet) {
    assert_eq!(overview(fresh).await, FleetOverview::default(), "nobody is there");
    let mut expected = Vec::new();
    for number in 0..4 {
        let instance = NewInstance {
            name: format!("host-{number} ü \"quoted\""),
            version: format!("1.2.{number}"),
            ..newcomer()
        };
        let load = InstanceLoad {
            permits_limit: u32::MAX - number,
            permits_in_use: number,
            draining: number == 2,
        };
        let joined_at = fresh
            .seen_by(number as usize)
            .join(instance.clone())
            .await
            .expect("joins");
        let beat = fresh.fleet.heartbeat(Heartbeat {
            load,
            ..heartbeat(instance.id, LONG_LEASE)
        });
        assert!(beat.await.expect("the store answers").held);
        expected.push((instance.id, instance.name, instance.version, load, joined_at));
    }
    let seen = overview(fresh).await.instances;
    assert_eq!(seen.len(), expected.len());
    for (view, (id, name, version, load, joined_at)) in seen.into_iter().zip(expected) {
        assert_eq!((view.id, view.name, view.version), (id, name, version));
        assert_eq!((view.load, view.runs), (load, 0));
        let apart = view.started_at.since(joined_at).max(joined_at.since(view.started_at));
        assert!(apart < PATIENCE, "{} is not {joined_at}", view.started_at);
        assert!(view.heartbeat_age < PATIENCE);
        let left = view.lease_left.expect("it is alive");
        assert!(left <= LONG_LEASE && left > LONG_LEASE - PATIENCE * 2);
    }
}

/// A run is counted where it is, whoever has it; and its owner's are its own.
pub async fn totals_follow_the_runs(fresh: &FreshFleet) {
    let (one, two) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let totals = async || {
        let overview = overview(fresh).await;
        let runs: BTreeMap<InstanceId, u64> = overview.instances.iter().map(|view| (view.id, view.runs)).collect();
        (
            overview.queued,
            overview.running,
            overview.waiting,
            runs[&one],
            runs[&two],
        )
    };
    assert_eq!(totals().await, (0, 0, 0, 0, 0));
    let mut runs = Vec::new();
    for account in ["acme", "acme", "beta"] {
        runs.push(running(&fresh.fleet, account, one).await);
    }
    running(&fresh.fleet, "beta", two).await;
    assert_eq!(totals().await, (0, 4, 0, 3, 1));
    queued(&fresh.fleet, "acme", one).await;
    queued(&fresh.fleet, "gamma", one).await;
    assert_eq!(totals().await, (2, 4, 0, 3, 1));
    moves(&fresh.store, &runs[0], RunState::Waiting).await;
    moves(&fresh.store, &runs[1], RunState::Queued).await;
    moves(&fresh.store, &runs[2], RunState::Failed).await;
    assert_eq!(totals().await, (3, 1, 1, 0, 1));
    claimed_one(&fresh.fleet, two).await;
    assert_eq!(totals().await, (2, 2, 1, 0, 2));
    dies(&fresh.fleet, two).await;
    let overview = overview(fresh).await;
    assert_eq!(overview.running, 2, "lost ones run on, for who takes them over");
    let died = overview
        .instances
        .iter()
        .find(|view| view.id == two)
        .expect("it died lately");
    assert_eq!((died.lease_left, died.runs), (None, 2));
    running(&fresh.fleet, "delta", one).await;
    fresh.fleet.leave(one).await.expect("leaves");
    let left = view(&fresh.elsewhere, one)
        .await
        .expect("nobody has taken over what it had");
    assert_eq!((left.lease_left, left.runs), (None, 1));
}

/// One that left as it should is no news; one that left a run behind is, until somebody has taken it over. One that died is.
pub async fn who_left_is_listed_only_for_what_it_left(fresh: &FreshFleet) {
    let fleet = &fresh.fleet;
    let (stays, idle, busy, died) = (
        joined(fleet).await,
        joined(fleet).await,
        joined(&fresh.elsewhere).await,
        joined(&fresh.elsewhere).await,
    );
    running(fleet, "acme", busy).await;
    fleet.leave(idle).await.expect("leaves");
    fleet.leave(busy).await.expect("leaves");
    dies(fleet, died).await;
    let listed = async || {
        let instances = overview(fresh).await.instances;
        instances
            .into_iter()
            .map(|view| (view.id, view.lease_left.is_some()))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [(stays, true), (busy, false), (died, false)]);
    assert_eq!(fleet.take_over(stays, 10).await.expect("the store answers").len(), 1);
    assert_eq!(listed().await, [(stays, true), (died, false)]);
}

/// By tier, of the whole fleet.
pub async fn a_heartbeat_tells_what_waits(fresh: &FreshFleet) {
    let (one, two) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let told = async || {
        let beat = beat(&fresh.elsewhere, two).await;
        let queued = beat.queued_by_tier.into_iter().filter(|(_, queued)| *queued > 0);
        (queued.collect::<BTreeMap<_, _>>(), beat.claimable)
    };
    assert_eq!(told().await, (BTreeMap::new(), false));
    for (account, tier) in [("acme", "pro"), ("beta", "pro"), ("acme", "pro"), ("gamma", "free")] {
        let asked = FleetAdmission {
            tier: tier.into(),
            slot_limit: Some(1),
            ..admission(account, one)
        };
        waits(&fresh.fleet, asked).await;
    }
    let by_tier = |pro, free| {
        let tiers = [("pro".to_owned(), pro), ("free".to_owned(), free)];
        tiers
            .into_iter()
            .filter(|(_, queued)| *queued > 0)
            .collect::<BTreeMap<String, u64>>()
    };
    assert_eq!(told().await, (by_tier(3, 1), true));
    for (pro, free, claimable) in [(2, 1, true), (1, 1, true), (1, 0, false)] {
        let next = claimed_one(&fresh.fleet, one).await;
        assert_eq!(next.epoch, 1);
        let (queued, can) = told().await;
        assert_eq!(queued.values().sum::<u64>(), pro + free);
        assert_eq!(can, claimable, "{queued:?}");
    }
    assert_eq!(told().await, (by_tier(1, 0), false), "what is left has no Slot");
}

/// Who is alive and not leaving, what is lost, and when it is worth while to look again.
pub async fn a_heartbeat_tells_of_the_others(fresh: &FreshFleet) {
    let fleet = &fresh.fleet;
    let me = joined(fleet).await;
    let told = async || {
        let Beat {
            live_instances,
            lost_runs,
            next_lease_end,
            ..
        } = beat(fleet, me).await;
        (live_instances, lost_runs, next_lease_end)
    };
    running(fleet, "acme", me).await;
    assert_eq!(told().await, (1, 0, None), "one's own lease is no news");
    let idle = joined(fleet).await;
    assert_eq!(told().await, (2, 0, None), "it has nothing that could be lost");

    let busy = joined(&fresh.elsewhere).await;
    running(fleet, "acme", busy).await;
    let (live, lost, next) = told().await;
    assert_eq!((live, lost), (3, 0));
    let next = next.expect("it has a run");
    assert!(next <= LONG_LEASE && next > LONG_LEASE / 2, "{next:?}");
    let sooner = joined(&fresh.elsewhere).await;
    let run = running(fleet, "acme", sooner).await;
    running(fleet, "acme", sooner).await;
    let draining = Heartbeat {
        load: InstanceLoad {
            draining: true,
            ..InstanceLoad::default()
        },
        ..heartbeat(sooner, LONG_LEASE / 2)
    };
    assert!(fleet.heartbeat(draining).await.expect("the store answers").held);
    let (live, lost, next) = told().await;
    assert_eq!((live, lost), (3, 0), "who leaves is not counted on");
    let next = next.expect("its lease ends first");
    assert!(next <= LONG_LEASE / 2 && next > Duration::ZERO, "{next:?}");

    moves(&fresh.store, &run, RunState::Completed).await;
    dies(fleet, sooner).await;
    dies(fleet, idle).await;
    let (live, lost, next) = told().await;
    assert_eq!((live, lost), (2, 1));
    assert!(next.expect("the busy one's") > LONG_LEASE / 2);
    fleet.leave(busy).await.expect("leaves");
    assert_eq!(told().await, (1, 2, None));
    assert_eq!(fleet.take_over(me, 100).await.expect("the store answers").len(), 2);
    assert_eq!(told().await, (1, 0, None));
    assert_eq!(view(fleet, me).await.expect("it is listed").runs, 3);
}
