//! Keeps the lease: a heartbeat now and then, in a task on the I/O runtime that awaits nothing else.
//!
//! A lease counts from the moment before it was asked for, by this machine's monotonic clock, so it is over here before it is over for
//! the store, whatever any wall clock says. A heartbeat that does not answer is asked again until the lease nears its end; then the
//! supervisor stops its runs, and only when they are gone does the instance join again, under a new name.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures::StreamExt;
use tokio::sync::oneshot;

use super::membership::{Beaten, LeaseLost, Noticed, Rejoined};
use super::{FleetSettings, KeeperSignals};
use crate::ids::InstanceId;
use crate::permits::Permits;
use crate::ports::Fleet;
use crate::ports::fleet::{Beat, Heartbeat, InstanceLoad, JoinError, NewInstance, Notice};
use crate::supervisor::Supervisor;
use crate::time::Timestamp;

/// What is left out of the time until another's lease is over: the store's clock and ours tick alike, but not to the millisecond.
const LOOK_AFTER_LEASE_END: Duration = Duration::from_millis(20);
/// Looking for lost runs is never more frequent than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);

pub(in crate::supervisor) struct Keeper {
    pub(super) fleet: Arc<dyn Fleet>,
    pub(super) settings: FleetSettings,
    pub(super) instance: InstanceId,
    pub(super) lease_from: Instant,
    pub(super) permits: Permits,
    pub(super) signals: Arc<KeeperSignals>,
    pub(super) supervisor: Addr<Supervisor>,
}

/// Why the keeper stops beating for this lease.
enum End {
    /// The instance leaves.
    Stopped,
    /// The lease is over, or nearly.
    Lost,
}

impl Keeper {
    pub(super) async fn keep(mut self) {
        let notices = tokio::spawn(forward_notices(
            self.fleet.clone(),
            self.supervisor.clone(),
            self.signals.clone(),
        ));
        while let End::Lost = self.beat_until_lost().await {
            tracing::error!(instance = %self.instance, "the lease is lost; all runs of this instance stop here");
            let (gone, all_gone) = oneshot::channel();
            if self.supervisor.send(LeaseLost { gone }).await.is_err() {
                break;
            }
            // An error means that the supervisor is gone too.
            let _ = all_gone.await;
            if !self.join_again().await {
                break;
            }
        }
        notices.abort();
    }

    async fn beat_until_lost(&mut self) -> End {
        let mut pause = Duration::ZERO;
        let mut has_failed = false;
        loop {
            let stop_at = self.lease_from + self.settings.stop_after();
            let signals = self.signals.clone();
            tokio::select! {
                biased;
                () = signals.stop.notified() => return End::Stopped,
                () = signals.beat_now.notified() => {}
                () = tokio::time::sleep(pause.min(stop_at.saturating_duration_since(Instant::now()))) => {}
            }
            let left = stop_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return End::Lost;
            }
            let asked_at = Instant::now();
            // Not all that is left: a connection that swallows one heartbeat must not cost the lease, another may do better.
            let patience = (left / 2).max(self.settings.heartbeat).min(left);
            let asked = tokio::time::timeout(patience, self.fleet.heartbeat(self.heartbeat()));
            pause = match asked.await {
                Ok(Ok(beat)) if beat.held => {
                    Timestamp::set_by_store(beat.store_now, asked_at, Instant::now());
                    self.lease_from = asked_at;
                    has_failed = false;
                    let pause = self.pause_after(&beat);
                    if self.supervisor.send(Beaten(beat)).await.is_err() {
                        return End::Stopped;
                    }
                    pause
                }
                Ok(Ok(_)) => return End::Lost,
                Ok(Err(error)) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!(%error, "a heartbeat failed; trying again");
                    }
                    self.settings.heartbeat / 4
                }
                Err(_elapsed) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!("a heartbeat got no answer; trying again");
                    }
                    Duration::ZERO
                }
            };
        }
    }

    fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            instance: self.instance,
            lease: self.settings.lease,
            load: InstanceLoad {
                permits_limit: self.permits.limit(),
                permits_in_use: self.permits.in_use(),
                draining: self.signals.is_draining.load(Ordering::Acquire),
            },
        }
    }

    /// Until the next heartbeat, or until another's lease is over, whichever is sooner.
    fn pause_after(&self, beat: &Beat) -> Duration {
        let lease_end = beat.next_lease_end.map(|left| left + LOOK_AFTER_LEASE_END);
        let pause = lease_end.map_or(self.settings.heartbeat, |end| end.min(self.settings.heartbeat));
        pause.max(SHORTEST_PAUSE)
    }

    /// Joins under a new name as soon as the store takes it. `false`: there is no supervisor any more.
    async fn join_again(&mut self) -> bool {
        let mut told = String::new();
        loop {
            let instance = NewInstance {
                id: InstanceId::new(),
                name: self.settings.name.clone(),
                // The one that was here before is this one.
                place: None,
                version: self.settings.version.clone(),
                lease: self.settings.lease,
                shares_events: self.settings.shares_events,
            };
            let (id, asked_at) = (instance.id, Instant::now());
            let asked = tokio::time::timeout(self.settings.lease, self.fleet.join(instance));
            match asked.await {
                Ok(Ok(store_now)) => {
                    Timestamp::set_by_store(store_now, asked_at, Instant::now());
                    (self.instance, self.lease_from) = (id, asked_at);
                    tracing::info!(instance = %id, "joined the fleet again");
                    return self.supervisor.send(Rejoined { instance: id }).await.is_ok();
                }
                Ok(Err(JoinError::MustBeAlone)) => {
                    tracing::error!(
                        "another instance serves this database now, and events are not shared; waiting for it to leave"
                    );
                }
                not_joined => {
                    let reason = match not_joined {
                        Ok(Err(JoinError::Store(error))) => error.to_string(),
                        _ => "the store does not answer".to_owned(),
                    };
                    // Not at every try.
                    if reason != told {
                        tracing::warn!(reason, "the fleet cannot be joined; trying again");
                        told = reason;
                    }
                }
            }
            tokio::select! {
                () = self.signals.stop.notified() => return false,
                () = tokio::time::sleep(self.settings.heartbeat) => {}
            }
            if !self.supervisor.connected() {
                return false;
            }
        }
    }
}

async fn forward_notices(fleet: Arc<dyn Fleet>, supervisor: Addr<Supervisor>, signals: Arc<KeeperSignals>) {
    let mut notices = fleet.notices();
    while let Some(notice) = notices.next().await {
        if notice == Notice::Missed {
            signals.beat_now.notify_one();
        }
        if supervisor.send(Noticed(notice)).await.is_err() {
            return;
        }
    }
}
