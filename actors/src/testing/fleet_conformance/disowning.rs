//! Runs that an instance was given by an answer that never came.

use super::FreshFleet;
use super::fixtures::{
    admission, beat, bodies, claimed_one, delta_commit, ids, joined, moves, picture, queued, record, running,
    running_runs, started, taken, under_the_next_epoch, view,
};
use crate::event::EventBody;
use crate::ids::{InstanceId, RunId};
use crate::ports::StoreError;
use crate::ports::fleet::FleetAdmission;
use crate::run_state::RunState;

/// What an instance was given by an answer that never came: given up for anyone to take, under the next epoch, with its Slot.
pub async fn what_an_instance_does_not_know_it_gives_up(fresh: &FreshFleet) {
    let (instance, other) = (joined(&fresh.fleet).await, joined(&fresh.elsewhere).await);
    let mut unknown = Vec::new();
    let mut kept = Vec::new();
    for number in 0..6 {
        let run = running(&fresh.fleet, "acme", instance).await;
        let side = if number % 2 == 0 { &mut unknown } else { &mut kept };
        side.push(run);
    }
    kept.push(running(&fresh.fleet, "acme", other).await);
    let waiting = running(&fresh.fleet, "acme", instance).await;
    moves(&fresh.store, &waiting, RunState::Waiting).await;
    let in_line = queued(&fresh.fleet, "acme", instance).await;
    let made_before = RunId::new();
    let known: Vec<RunId> = ids(kept.iter().filter(|run| run.id != kept[3].id));
    // At the border and above it: not heard of yet, but not to be given up either.
    let border = FleetAdmission {
        id: made_before,
        ..admission("beta", instance)
    };
    kept.push(started(&fresh.fleet, border).await);
    kept.push(running(&fresh.fleet, "beta", instance).await);
    let mut before = Vec::new();
    for run in unknown.iter().chain(&kept).chain([&waiting, &in_line]) {
        before.push(picture(&fresh.store, run.id).await);
    }
    for given_up in [3, 0] {
        let outcome = fresh.fleet.disown_unknown(instance, known.clone(), made_before).await;
        assert_eq!(outcome, Ok(given_up));
    }
    for before in before {
        assert_eq!(picture(&fresh.store, before.0.id).await, before, "nothing moves by it");
    }
    for taker in [instance, other] {
        assert_eq!(beat(&fresh.elsewhere, taker).await.lost_runs, 3);
    }
    assert_eq!(
        taken(&fresh.elsewhere, other, 100).await,
        under_the_next_epoch(&unknown)
    );
    assert!(taken(&fresh.elsewhere, instance, 100).await.is_empty());
    for run in &unknown {
        let late = fresh.store.commit(delta_commit(run, 1)).await;
        assert_eq!(late, Err(StoreError::Fenced), "if the answer comes after all");
    }
    for run in &kept {
        assert_eq!(record(&fresh.store, run.id).await, *run);
    }
    assert_eq!(running_runs(&fresh.store, "acme").await, 7);
}

/// It is a member like any other and may take it back, under the next epoch; and nobody in the overview has it meanwhile.
pub async fn who_gave_a_run_up_may_take_it_over(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = queued(&fresh.fleet, "acme", instance).await;
    let lost_answer = claimed_one(&fresh.fleet, instance).await;
    let outcome = fresh.fleet.disown_unknown(instance, Vec::new(), RunId::new()).await;
    assert_eq!(outcome, Ok(1));
    let overview = fresh.elsewhere.overview().await.expect("the store answers");
    assert_eq!(overview.running, 1);
    let listed: Vec<(InstanceId, u64)> = overview.instances.iter().map(|view| (view.id, view.runs)).collect();
    assert_eq!(listed, [(instance, 0)]);
    let back = taken(&fresh.elsewhere, instance, 10).await;
    assert_eq!(back, under_the_next_epoch(&[lost_answer]));
    assert_eq!(back[0].id, run.id);
    assert_eq!(view(&fresh.fleet, instance).await.expect("it is listed").runs, 1);
    let stored = fresh
        .store
        .events(run.id, Some(1), usize::MAX)
        .await
        .expect("the store answers");
    let told: Vec<EventBody> = stored.iter().flat_map(bodies).collect();
    assert_eq!(told, [EventBody::RunStarted { epoch: 1 }]);
}
