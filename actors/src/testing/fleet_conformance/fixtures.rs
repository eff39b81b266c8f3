//! Instances and runs to test with, and what is asked of a fleet again and again.

use std::sync::Arc;
use std::time::Duration;

use crate::encoding::EncodedEvents;
use crate::event::EventBody;
use crate::ids::{InstanceId, RunId};
use crate::item::{Item, Role};
use crate::ports::fleet::{
    Admitted, Beat, ClaimNext, ClaimedRun, FleetAdmission, Heartbeat, InstanceLoad, InstanceView, MayWait, NewInstance,
};
use crate::ports::store::RunRecord;
use crate::ports::{Fleet, Store, StoreError};
use crate::run_state::RunState;
use crate::time::Timestamp;

pub(super) use crate::testing::store_conformance::fixtures::{
    account, at_once, change, commit, delta_commit, kinds, move_commit, no_items, parked, picture, record,
    running_runs, spec,
};

/// A lease that outlives every test.
pub(super) const LONG_LEASE: Duration = Duration::from_secs(600);
/// A lease that a test waits for the end of.
pub(super) const SHORT_LEASE: Duration = Duration::from_millis(300);
/// How long a test waits for what must come: far longer than it takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE_BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Looks again and again until there is something to see, and fails when patience is over.
pub(super) async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let looking = async {
        loop {
            if let Some(seen) = look().await {
                return seen;
            }
            tokio::time::sleep(PAUSE_BETWEEN_LOOKS).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(seen) => seen,
        Err(_elapsed) => panic!("it never came: {what}"),
    }
}

/// One that shares its events, with a lease that outlives the test.
pub(super) fn newcomer() -> NewInstance {
    NewInstance {
        id: InstanceId::new(),
        name: "one of the fleet".into(),
        version: "0.0.1".into(),
        place: None,
        lease: LONG_LEASE,
        shares_events: true,
    }
}

/// An instance that lives as long as the test.
pub(super) async fn joined(fleet: &Arc<dyn Fleet>) -> InstanceId {
    let newcomer = newcomer();
    let id = newcomer.id;
    fleet.join(newcomer).await.expect("joins");
    id
}

pub(super) fn heartbeat(instance: InstanceId, lease: Duration) -> Heartbeat {
    Heartbeat {
        instance,
        lease,
        load: InstanceLoad::default(),
    }
}

/// A heartbeat that makes the instance live as long as the test, if it lives.
pub(super) async fn beat(fleet: &Arc<dyn Fleet>, instance: InstanceId) -> Beat {
    let asked = fleet.heartbeat(heartbeat(instance, LONG_LEASE)).await;
    asked.expect("the store answers")
}

/// The instance as the store sees it; `None` if it is not listed (any more).
pub(super) async fn view(fleet: &Arc<dyn Fleet>, instance: InstanceId) -> Option<InstanceView> {
    let overview = fleet.overview().await.expect("the store answers");
    overview.instances.into_iter().find(|view| view.id == instance)
}

/// Waits until the instance's lease is over by the store's clock.
pub(super) async fn lease_ends(fleet: &Arc<dyn Fleet>, instance: InstanceId) {
    eventually("the end of a lease", || async {
        let left = view(fleet, instance).await.and_then(|view| view.lease_left);
        left.is_none().then_some(())
    })
    .await;
}

/// Its last heartbeat asks for next to nothing, and then its lease is over.
pub(super) async fn dies(fleet: &Arc<dyn Fleet>, instance: InstanceId) {
    let last = fleet.heartbeat(heartbeat(instance, Duration::from_millis(1))).await;
    assert!(last.expect("the store answers").held, "it was alive");
    lease_ends(fleet, instance).await;
}

/// The lease of this instance has just ended, by itself.
pub(super) async fn dead(fleet: &Arc<dyn Fleet>) -> InstanceId {
    let newcomer = NewInstance {
        lease: SHORT_LEASE,
        ..newcomer()
    };
    let id = newcomer.id;
    fleet.join(newcomer).await.expect("joins");
    lease_ends(fleet, id).await;
    id
}

/// A run of an account without a limit that starts at once if nobody waits, and may wait for ever.
pub(super) fn admission(account_name: &str, instance: InstanceId) -> FleetAdmission {
    FleetAdmission {
        id: RunId::new(),
        account: account(account_name),
        tier: "pro".into(),
        instance,
        idempotency: None,
        spec: spec(),
        input: vec![Item::message(Role::User, "hello \u{0} \" \\u0000 \u{2028}")],
        thread: None,
        has_permit: true,
        slot_limit: None,
        may_wait: Some(FOR_EVER),
        reserve_seqs: 0,
        created_at: Timestamp::now(),
    }
}

/// In a line without an end, until it can start.
pub(super) const FOR_EVER: MayWait = MayWait {
    account_limit: None,
    deadline: None,
};

/// Starts it, and says what the store has then.
pub(super) async fn started(fleet: &Arc<dyn Fleet>, admission: FleetAdmission) -> RunRecord {
    match fleet.admit(admission).await {
        Ok(Admitted::Started { record, .. }) => *record,
        other => panic!("not started: {other:?}"),
    }
}

/// A run that this instance has.
pub(super) async fn running(fleet: &Arc<dyn Fleet>, account_name: &str, instance: InstanceId) -> RunRecord {
    started(fleet, admission(account_name, instance)).await
}

/// Queues it, for want of a Permit at the latest, and says what the store has then.
pub(super) async fn waits(fleet: &Arc<dyn Fleet>, admission: FleetAdmission) -> RunRecord {
    let admission = FleetAdmission {
        has_permit: false,
        ..admission
    };
    match fleet.admit(admission).await {
        Ok(Admitted::Queued { record, .. }) => *record,
        other => panic!("not queued: {other:?}"),
    }
}

/// A run in the queue of an account without a limit.
pub(super) async fn queued(fleet: &Arc<dyn Fleet>, account_name: &str, instance: InstanceId) -> RunRecord {
    waits(fleet, admission(account_name, instance)).await
}

/// So many of them, in the order of their line.
pub(super) async fn line(
    fleet: &Arc<dyn Fleet>,
    account_name: &str,
    instance: InstanceId,
    length: usize,
) -> Vec<RunRecord> {
    let mut line = Vec::with_capacity(length);
    for _ in 0..length {
        line.push(queued(fleet, account_name, instance).await);
    }
    line
}

pub(super) fn claim(instance: InstanceId, limit: u32) -> ClaimNext {
    ClaimNext {
        instance,
        limit,
        reserve_seqs: 0,
        at: Timestamp::now(),
    }
}

pub(super) async fn claimed(fleet: &Arc<dyn Fleet>, instance: InstanceId, limit: u32) -> Vec<ClaimedRun> {
    let claimed = fleet
        .claim_next(claim(instance, limit))
        .await
        .expect("the store answers");
    assert!(claimed.len() <= limit as usize, "no more than there are Permits for");
    claimed
}

/// The one run that can be claimed now.
pub(super) async fn claimed_one(fleet: &Arc<dyn Fleet>, instance: InstanceId) -> RunRecord {
    let mut claimed = claimed(fleet, instance, 1).await;
    claimed.pop().expect("a run can be claimed").record
}

pub(super) fn ids<'a>(records: impl IntoIterator<Item = &'a RunRecord>) -> Vec<RunId> {
    records.into_iter().map(|record| record.id).collect()
}

pub(super) fn claimed_ids(claimed: &[ClaimedRun]) -> Vec<RunId> {
    ids(claimed.iter().map(|claimed| &claimed.record))
}

pub(super) async fn taken(fleet: &Arc<dyn Fleet>, instance: InstanceId, limit: u32) -> Vec<RunRecord> {
    let taken = fleet.take_over(instance, limit).await.expect("the store answers");
    assert!(taken.len() <= limit as usize);
    taken
}

/// The runs as they are when somebody has taken them over.
pub(super) fn under_the_next_epoch(runs: &[RunRecord]) -> Vec<RunRecord> {
    let next = |run: &RunRecord| RunRecord {
        epoch: run.epoch + 1,
        ..run.clone()
    };
    runs.iter().map(next).collect()
}

/// Moves a running run by a commit of its owner.
pub(super) async fn moves(store: &Arc<dyn Store>, run: &RunRecord, to: RunState) {
    let run = record(store, run.id).await;
    store.commit(move_commit(&run, to)).await.expect("moves");
}

pub(super) fn bodies(events: &EncodedEvents) -> Vec<EventBody> {
    let events = events.events().expect("decodes");
    events.into_iter().map(|event| event.body).collect()
}

pub(super) fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T, StoreError>, what: &str) {
    assert!(
        matches!(outcome, Err(StoreError::Unavailable(_))),
        "{what} was answered {outcome:?}"
    );
}
