//! One of many: what the supervisor does differently when several instances share a store.
//!
//! The queue, the Slots and the turns are the store's then, and this instance asks it: to admit a run, for runs to claim when it
//! has Permits, for runs of instances that were lost. It lives on a lease, kept by the [`keeper`]; when that is lost it stops all its
//! runs before anyone else may take them, and begins a new life under a new name.

mod admitting;
mod cancelling;
mod claiming;
pub(super) mod keeper;
mod membership;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use actix::prelude::*;
use tokio::sync::{Notify, Semaphore, oneshot};

pub(super) use cancelling::cancel_elsewhere;

use crate::ids::{AccountId, InstanceId, RunId};
use crate::ports::Fleet;
use crate::ports::fleet::Beat;
use crate::supervisor::Supervisor;

/// How an instance takes part in a fleet.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// How long an instance is believed to live without one.
    pub lease: Duration,
    /// What people call this instance.
    pub name: String,
    /// The version of this program.
    pub version: String,
    /// Whether events reach the readers of other instances.
    pub shares_events: bool,
}

impl FleetSettings {
    /// How long after the last renewal was asked for an instance stops its own runs: early enough that they are still when the lease is
    /// over for the others.
    pub fn stop_after(&self) -> Duration {
        self.lease.saturating_sub(self.heartbeat / 2)
    }
}

/// An instance that has joined a fleet.
pub struct Membership {
    /// The fleet.
    pub fleet: Arc<dyn Fleet>,
    /// How it takes part.
    pub settings: FleetSettings,
    /// Its name, as it joined.
    pub instance: InstanceId,
    /// Just before it asked to join: its lease runs from here at the earliest.
    pub joined_at: Instant,
    /// Where it is kept current how many instances live, this one included: for whoever has a share of what all have together.
    pub live_instances: Arc<AtomicU32>,
}

/// The supervisor's part of the membership.
pub(super) struct Member {
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) settings: FleetSettings,
    pub(super) instance: InstanceId,
    joined_at: Instant,
    /// The lease is held: runs may be admitted and claimed.
    is_held: bool,
    /// Some queued run may be able to start.
    claimable: bool,
    claiming: bool,
    taking_over: bool,
    /// Runs whose admission has not been answered.
    admitting: HashSet<RunId>,
    /// The store may have given this instance runs of which it has not heard: they are to be given up.
    unsure: bool,
    /// They are being given up: nothing is claimed meanwhile. What becomes doubtful meanwhile is for the next time.
    settling: bool,
    /// Whoever cancels marked runs that no instance has, holds it.
    cancelling_parked: Arc<Semaphore>,
    /// Admissions, claims and take-overs whose answer has not come: their runs may be about to begin here.
    pub(super) under_way: u64,
    /// What the last heartbeat brought.
    pub(super) queued_by_tier: BTreeMap<String, u64>,
    /// Likewise; this one, until a heartbeat knows better.
    live_instances: Arc<AtomicU32>,
    /// When positions of an account's line were last told from here.
    told: HashMap<AccountId, Instant>,
    /// Hears when the last actor of a lost lease is gone.
    let_go: Option<oneshot::Sender<()>>,
    signals: Arc<KeeperSignals>,
}

/// What the supervisor tells its keeper without a message.
#[derive(Debug, Default)]
pub(super) struct KeeperSignals {
    /// Beat now: there may be more to learn.
    pub(super) beat_now: Notify,
    pub(super) is_draining: AtomicBool,
    /// Beat no more; the instance leaves.
    pub(super) stop: Notify,
}

impl Member {
    pub(super) fn new(membership: Membership) -> Self {
        Self {
            fleet: membership.fleet,
            settings: membership.settings,
            instance: membership.instance,
            joined_at: membership.joined_at,
            is_held: true,
            // What waits already is found by the first claim.
            claimable: true,
            claiming: false,
            taking_over: false,
            admitting: HashSet::new(),
            unsure: false,
            settling: false,
            cancelling_parked: Arc::new(Semaphore::new(1)),
            under_way: 0,
            queued_by_tier: BTreeMap::new(),
            live_instances: membership.live_instances,
            told: HashMap::new(),
            let_go: None,
            signals: Arc::default(),
        }
    }

    pub(super) fn live_instances(&self) -> u32 {
        self.live_instances.load(Ordering::Relaxed)
    }

    pub(super) fn drains(&self) {
        self.signals.is_draining.store(true, Ordering::Release);
        self.signals.beat_now.notify_one();
    }

    fn learn(&mut self, beat: &Beat) {
        self.queued_by_tier.clone_from(&beat.queued_by_tier);
        self.live_instances.store(beat.live_instances, Ordering::Relaxed);
        self.claimable |= beat.claimable;
        let interval = self.settings.lease.max(Duration::from_secs(60));
        self.told.retain(|_, at| at.elapsed() < interval);
    }

    /// An answer of the store was lost: what it would have told is found out at the next heartbeat.
    pub(super) fn is_unsure(&mut self) {
        self.unsure = true;
        self.signals.beat_now.notify_one();
    }

    fn queued(&self) -> u64 {
        self.queued_by_tier.values().sum()
    }
}

impl Supervisor {
    /// Ends the lease, if there is one, so that others take at once what is left; then tells whoever waits for the drain.
    pub(super) fn leave_fleet(&mut self, done: oneshot::Sender<()>) {
        let Some(member) = &self.member else {
            // Whoever asked may have given up.
            let _ = done.send(());
            return;
        };
        member.signals.stop.notify_one();
        let (fleet, instance) = (member.fleet.clone(), member.instance);
        let longest = member.settings.lease;
        self.services.io.spawn(async move {
            match tokio::time::timeout(longest, fleet.leave(instance)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be given back; it ends by itself"),
                Err(_elapsed) => {
                    tracing::warn!("the lease could not be given back: the store does not answer; it ends by itself")
                }
            }
            let _ = done.send(());
        });
    }

    /// Starts the keeper of the lease, if there is one to keep.
    pub(super) fn start_keeper(&self, ctx: &mut Context<Self>) {
        let Some(member) = &self.member else { return };
        let keeper = keeper::Keeper {
            fleet: member.fleet.clone(),
            settings: member.settings.clone(),
            instance: member.instance,
            lease_from: member.joined_at,
            permits: self.permits.clone(),
            signals: member.signals.clone(),
            supervisor: ctx.address(),
        };
        self.services.io.spawn(keeper.keep());
    }
}
