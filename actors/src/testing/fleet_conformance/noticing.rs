//! What instances are told at once of what happens elsewhere.
//!
//! A listener says nowhere from when on it hears. So each test first makes cancels known until both listeners have heard of one; from
//! then on nothing may be missed while the database is there.

use futures::StreamExt;
use futures::future::{join, select};
use futures::stream::BoxStream;

use super::FreshFleet;
use super::fixtures::{
    PATIENCE, account, admission, change, claimed_one, joined, moves, queued, running, started, waits,
};
use crate::error::RunError;
use crate::ids::{InstanceId, KeyId, RunId};
use crate::ports::fleet::{FleetAdmission, Notice};
use crate::ports::store::{KeyRecord, ParkedUpdate};
use crate::run_state::RunState;
use crate::time::Timestamp;

/// Two who listen, each on an adapter of its own.
struct Listeners {
    here: BoxStream<'static, Notice>,
    elsewhere: BoxStream<'static, Notice>,
    /// Has a run that the next marker asks to cancel.
    marker: InstanceId,
}

async fn hears(notices: &mut BoxStream<'static, Notice>, wanted: Notice) {
    let heard = tokio::time::timeout(PATIENCE, async {
        loop {
            let notice = notices.next().await.expect("it never ends");
            if notice == wanted {
                return;
            }
        }
    })
    .await;
    assert!(heard.is_ok(), "it was not heard: {wanted:?}");
}

impl Listeners {
    /// Both are listening.
    async fn awake(fresh: &FreshFleet) -> Self {
        let mut listeners = Self {
            here: fresh.fleet.notices(),
            elsewhere: fresh.elsewhere.notices(),
            marker: joined(&fresh.fleet).await,
        };
        let run = running(&fresh.fleet, "marker", listeners.marker).await.id;
        let wanted = listeners.cancel_of(run);
        let asking = Box::pin(async {
            loop {
                fresh.fleet.ask_to_cancel(run).await.expect("the store answers");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        let hearing = Box::pin(listeners.both_hear(wanted));
        select(hearing, asking).await;
        listeners.clear(fresh).await;
        listeners
    }

    fn cancel_of(&self, run: RunId) -> Notice {
        Notice::CancelAsked {
            run,
            owner: self.marker,
        }
    }

    async fn both_hear(&mut self, wanted: Notice) {
        join(hears(&mut self.here, wanted), hears(&mut self.elsewhere, wanted)).await;
    }

    /// Leaves behind all that has happened so far: notices come in the order of what they tell.
    async fn clear(&mut self, fresh: &FreshFleet) {
        let run = running(&fresh.elsewhere, "marker", self.marker).await.id;
        fresh.elsewhere.ask_to_cancel(run).await.expect("the store answers");
        self.both_hear(self.cancel_of(run)).await;
    }
}

/// Which run and whose, wherever it was asked.
pub async fn a_cancel_is_heard_by_all(fresh: &FreshFleet) {
    let mut listeners = Listeners::awake(fresh).await;
    for number in 0..6 {
        let owner = joined(&fresh.seen_by(number)).await;
        let run = running(&fresh.fleet, "acme", owner).await.id;
        let asked = fresh.seen_by(number / 2).ask_to_cancel(run).await;
        assert_eq!(asked, Ok(Some(RunState::Running)));
        listeners.both_hear(Notice::CancelAsked { run, owner }).await;
    }
}

/// A run that comes into the queue while a Slot is free: new, handed over, or because what it waited for has come.
pub async fn what_comes_into_the_queue_is_heard(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut listeners = Listeners::awake(fresh).await;
    queued(&fresh.elsewhere, "acme", instance).await;
    listeners.both_hear(Notice::Claimable).await;

    let run = claimed_one(&fresh.fleet, instance).await;
    listeners.clear(fresh).await;
    moves(&fresh.store, &run, RunState::Queued).await;
    listeners.both_hear(Notice::Claimable).await;

    let run = claimed_one(&fresh.fleet, instance).await;
    moves(&fresh.store, &run, RunState::Waiting).await;
    listeners.clear(fresh).await;
    let back = ParkedUpdate::moving(run.id, Vec::new(), change(RunState::Queued));
    fresh.store.update_parked_run(back).await.expect("the store answers");
    listeners.both_hear(Notice::Claimable).await;
}

/// However the run that had it left, if others of its account wait.
pub async fn a_freed_slot_is_heard_if_others_wait(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut listeners = Listeners::awake(fresh).await;
    let one_slot = || FleetAdmission {
        slot_limit: Some(1),
        ..admission("acme", instance)
    };
    let mut holder = started(&fresh.fleet, one_slot()).await;
    for to in [
        RunState::Completed,
        RunState::Failed,
        RunState::Cancelled,
        RunState::Waiting,
    ] {
        waits(&fresh.elsewhere, one_slot()).await;
        listeners.clear(fresh).await;
        moves(&fresh.store, &holder, to).await;
        listeners.both_hear(Notice::Claimable).await;
        holder = claimed_one(&fresh.elsewhere, instance).await;
    }
    waits(&fresh.elsewhere, one_slot()).await;
    listeners.clear(fresh).await;
    let failed = fresh
        .store
        .fail_abandoned_run(holder.id, holder.epoch, RunError::internal())
        .await;
    assert!(failed.expect("the store answers").is_some());
    listeners.both_hear(Notice::Claimable).await;
}

/// Who waits may start when its tier is allowed more.
pub async fn a_higher_limit_is_heard_if_others_wait(fresh: &FreshFleet) {
    let instance = joined(&fresh.fleet).await;
    let mut listeners = Listeners::awake(fresh).await;
    let no_slot = FleetAdmission {
        slot_limit: Some(0),
        ..admission("acme", instance)
    };
    waits(&fresh.fleet, no_slot).await;
    listeners.clear(fresh).await;
    let limits = vec![("pro".to_owned(), Some(3))];
    fresh
        .elsewhere
        .set_tier_limits(limits)
        .await
        .expect("the store answers");
    listeners.both_hear(Notice::Claimable).await;
    claimed_one(&fresh.fleet, instance).await;
}

/// New ones and revoked ones.
pub async fn changed_keys_are_heard(fresh: &FreshFleet) {
    let mut listeners = Listeners::awake(fresh).await;
    for secret in 0..3 {
        let key = KeyRecord {
            id: KeyId::new(),
            account: account("acme"),
            tier: "pro".into(),
            secret_hash: [secret; 32],
            last_four: "wxyz".into(),
            is_admin: false,
            created_at: Timestamp::now(),
            revoked_at: None,
        };
        let id = key.id;
        fresh.store.create_key(key).await.expect("written");
        listeners.both_hear(Notice::KeysChanged).await;
        listeners.clear(fresh).await;
        assert_eq!(fresh.store.revoke_key(id, Timestamp::now()).await, Ok(true));
        listeners.both_hear(Notice::KeysChanged).await;
        listeners.clear(fresh).await;
    }
}
