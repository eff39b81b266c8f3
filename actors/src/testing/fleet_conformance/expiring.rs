//! Runs that waited too long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::FreshFleet;
use super::fixtures::{
    LONG_LEASE, admission, at_once, beat, bodies, claimed, claimed_ids, eventually, ids, joined, kinds, move_commit,
    moves, parked, picture, record, running, waits,
};
use crate::error::{RunError, RunErrorCode};
use crate::event::EventBody;
use crate::ids::{AccountId, InstanceId, RunId};
use crate::item::Usage;
use crate::ports::Fleet;
use crate::ports::fleet::{ExpiredRun, FleetAdmission, MayWait};
use crate::ports::store::{ParkedOutcome, RunRecord};
use crate::run_state::RunState;

/// Over before anyone can look.
const SOON: Duration = Duration::from_millis(1);

fn too_late() -> RunError {
    RunError::new(RunErrorCode::QueueDeadline, "it waited too long")
}

async fn waits_until(fresh: &FreshFleet, account: &str, instance: InstanceId, deadline: Option<Duration>) -> RunRecord {
    let asked = FleetAdmission {
        may_wait: Some(MayWait {
            account_limit: None,
            deadline,
        }),
        ..admission(account, instance)
    };
    waits(&fresh.fleet, asked).await
}

/// Waits until the store's clock says that the time of all of these is over.
async fn deadlines_end(fresh: &FreshFleet, instance: InstanceId, runs: &[RunRecord]) {
    let last = runs
        .iter()
        .filter_map(|run| run.queue_deadline)
        .max()
        .expect("they have deadlines");
    eventually("the end of a queue deadline", || async {
        let beat = beat(&fresh.fleet, instance).await;
        (beat.store_now > last).then(|| assert!(beat.expired, "a heartbeat tells of it"))
    })
    .await;
}

async fn expire(fleet: &Arc<dyn Fleet>, limit: u32) -> Vec<ExpiredRun> {
    let expired = fleet.expire_queued(too_late(), limit).await.expect("the store answers");
    assert!(expired.len() <= limit as usize);
    expired
}

/// `failed` with this error, told by their last event, out of the line; those whose time is not over stay as they are.
pub async fn runs_that_waited_too_long_fail(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut due = Vec::new();
    let mut others = vec![running(&fresh.fleet, "beta", instance).await];
    for number in 0..6 {
        let account = ["acme", "beta"][number % 2];
        due.push(waits_until(fresh, account, instance, Some(SOON)).await);
        others.push(waits_until(fresh, account, instance, Some(LONG_LEASE)).await);
        others.push(waits_until(fresh, account, instance, None).await);
    }
    deadlines_end(fresh, instance, &due).await;
    assert!(expire(&fresh.fleet, 0).await.is_empty());
    let mut expired = Vec::new();
    for (limit, expected, are_left) in [(4, 4, true), (100, 2, false), (100, 0, false)] {
        let now = expire(&fresh.elsewhere, limit).await;
        assert_eq!(now.len(), expected);
        assert_eq!(beat(&fresh.fleet, instance).await.expired, are_left);
        expired.extend(now);
    }
    let mut failed = failed_ids(&expired);
    failed.sort_unstable();
    assert_eq!(failed, ids(&due));
    for ExpiredRun { record: failed, events } in expired {
        assert_eq!((failed.state, failed.epoch), (RunState::Failed, 0));
        assert_eq!((failed.error.clone(), failed.next_seq), (Some(too_late()), 3));
        assert!(failed.ended_at.is_some() && failed.started_at.is_none());
        assert_eq!(record(&fresh.store, failed.id).await, failed);
        assert_eq!((events.first_seq(), events.is_terminal()), (2, true));
        let told = EventBody::RunFailed {
            error: too_late(),
            usage: Usage::default(),
        };
        assert_eq!(bodies(&events), [told]);
        assert_eq!(
            fresh.store.events(failed.id, Some(1), usize::MAX).await,
            Ok(vec![events])
        );
        assert_eq!(
            kinds(&fresh.store, failed.id).await,
            ["run.created", "run.queued", "run.failed"]
        );
        assert_eq!(fresh.fleet.queue_position(failed.id).await, Ok(None));
    }
    for run in &others {
        assert_eq!(record(&fresh.store, run.id).await, *run);
    }
    let mut places: BTreeMap<AccountId, u64> = BTreeMap::new();
    for run in &others[1..] {
        let place = places.entry(run.account.clone()).or_default();
        *place += 1;
        let position = fresh.fleet.queue_position(run.id).await;
        assert_eq!(position, Ok(Some(*place)), "who stood behind has moved up");
    }
    assert_eq!(claimed(&fresh.fleet, instance, 100).await.len(), 12);
}

/// The deadline bounds the wait for the first start: who has started is not failed for it, also when it is in the queue again.
pub async fn who_has_started_does_not_expire(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let run = waits_until(fresh, "acme", instance, Some(SOON)).await;
    deadlines_end(fresh, instance, std::slice::from_ref(&run)).await;
    assert_eq!(claimed(&fresh.fleet, instance, 1).await.len(), 1);
    for state in [RunState::Running, RunState::Queued] {
        if state == RunState::Queued {
            moves(&fresh.store, &run, state).await;
        }
        let before = picture(&fresh.store, run.id).await;
        assert_eq!(before.0.state, state);
        assert!(!beat(&fresh.fleet, instance).await.expired);
        assert!(expire(&fresh.fleet, 10).await.is_empty());
        assert_eq!(picture(&fresh.store, run.id).await, before);
    }
}

/// Many who look, and claims and cancels at the same moment: one of them has the run, and its log has one ending.
pub async fn expiry_claims_and_cancels_never_both_win(fresh: &FreshFleet) {
    const RUNS: usize = 60;
    let instance = joined(&fresh.fleet).await;
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let account = format!("account-{}", number % 4);
        runs.push(waits_until(fresh, &account, instance, Some(SOON)).await);
    }
    deadlines_end(fresh, instance, &runs).await;
    let work = runs.clone().into_iter().enumerate();
    let won = at_once(work.map(|(number, run)| {
        let (fleet, store) = (fresh.seen_by(number / 3), fresh.store.clone());
        async move {
            match number % 3 {
                0 => failed_ids(&expire(&fleet, 3).await),
                1 => {
                    let claimed = claimed(&fleet, instance, 2).await;
                    for claimed in &claimed {
                        let ending = move_commit(&claimed.record, RunState::Completed);
                        store.commit(ending).await.expect("it is the claimer's");
                    }
                    claimed_ids(&claimed)
                }
                _ => {
                    let outcome = store.update_parked_run(parked(run.id, RunState::Cancelled)).await;
                    let is_cancelled = matches!(outcome, Ok(ParkedOutcome::Updated { .. }));
                    is_cancelled.then_some(run.id).into_iter().collect()
                }
            }
        }
    }))
    .await;
    let mut ended: Vec<RunId> = won.into_iter().flatten().collect();
    ended.extend(failed_ids(&expire(&fresh.fleet, 100).await));
    ended.sort_unstable();
    assert_eq!(ended, ids(&runs), "each was won once");
    for id in ended {
        let state = record(&fresh.store, id).await.state;
        let told = kinds(&fresh.store, id).await;
        let expected = match state {
            RunState::Completed => vec!["run.created", "run.queued", "run.started", "run.completed"],
            RunState::Failed => vec!["run.created", "run.queued", "run.failed"],
            _ => vec!["run.created", "run.queued", "run.cancelled"],
        };
        assert_eq!(told, expected, "{state}");
    }
    let beat = beat(&fresh.fleet, instance).await;
    assert!(!beat.expired && !beat.claimable);
}

fn failed_ids(expired: &[ExpiredRun]) -> Vec<RunId> {
    ids(expired.iter().map(|expired| &expired.record))
}
