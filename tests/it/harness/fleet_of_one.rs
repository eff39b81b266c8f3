//! A fleet of one instance, which hears of it what the test says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, RunId};
use callboard_actors::ports::fleet::*;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::ports::{Fleet, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::services::RunServices;
use callboard_actors::supervisor::fleet::{FleetSettings, Membership};
use callboard_actors::supervisor::{Beginning, SupervisorHandle};
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use super::InProcess;

/// Starts no run.
pub(crate) struct FleetOfOne {
    /// Marked runs that nobody has.
    pub(crate) parked_to_cancel: Vec<RunId>,
    /// Runs of an instance that is gone.
    pub(crate) lost: Mutex<Vec<RunRecord>>,
    /// Whether the next heartbeat finds that the lease is over.
    pub(crate) loses_lease: AtomicBool,
    /// A Permit for each heartbeat.
    pub(crate) beats: Semaphore,
}

impl Default for FleetOfOne {
    fn default() -> Self {
        Self {
            parked_to_cancel: Vec::new(),
            lost: Mutex::default(),
            loses_lease: AtomicBool::new(false),
            beats: Semaphore::new(0),
        }
    }
}

impl FleetOfOne {
    pub(crate) fn supervisor(self: &Arc<Self>, services: RunServices, instance: InstanceId) -> SupervisorHandle {
        let membership = Membership {
            fleet: self.clone(),
            settings: FleetSettings {
                heartbeat: Duration::from_millis(50),
                lease: Duration::from_secs(60),
                name: "one".into(),
                version: "0.0.0".into(),
                shares_events: false,
            },
            instance,
            joined_at: Instant::now(),
            live_instances: Arc::default(),
        };
        let settings = InProcess::supervisor_settings(1);
        SupervisorHandle::start_supervisor(services, settings, Beginning::InFleet(membership))
    }
}

#[async_trait]
impl Fleet for FleetOfOne {
    async fn join(&self, _: NewInstance) -> Result<Timestamp, JoinError> {
        Ok(Timestamp::now())
    }

    async fn heartbeat(&self, _: Heartbeat) -> Result<Beat, StoreError> {
        self.beats.add_permits(1);
        Ok(Beat {
            held: !self.loses_lease.swap(false, Ordering::SeqCst),
            store_now: Timestamp::now(),
            to_cancel: Vec::new(),
            parked_to_cancel: self.parked_to_cancel.clone(),
            lost_runs: self.lost.lock().unwrap().len() as u64,
            live_instances: 1,
            next_lease_end: None,
            queued_by_tier: Default::default(),
            claimable: false,
            expired: false,
        })
    }

    async fn leave(&self, _: InstanceId) -> Result<(), StoreError> {
        Ok(())
    }

    async fn disown_unknown(&self, _: InstanceId, _: Vec<RunId>, _: RunId) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn take_over(&self, _: InstanceId, _: u32) -> Result<Vec<RunRecord>, StoreError> {
        Ok(std::mem::take(&mut *self.lost.lock().unwrap()))
    }

    async fn admit(&self, _: FleetAdmission) -> Result<Admitted, StoreError> {
        Err(StoreError::Unavailable("nobody starts a run here".into()))
    }

    async fn claim_next(&self, _: ClaimNext) -> Result<Vec<ClaimedRun>, StoreError> {
        Ok(Vec::new())
    }

    async fn ask_to_cancel(&self, _: RunId) -> Result<Option<RunState>, StoreError> {
        Ok(None)
    }

    async fn expire_queued(&self, _: RunError, _: u32) -> Result<Vec<ExpiredRun>, StoreError> {
        Ok(Vec::new())
    }

    async fn queue_position(&self, _: RunId) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    async fn tell_positions(&self, _: &AccountId, _: Duration, _: u32) -> Result<Vec<ToldPosition>, StoreError> {
        Ok(Vec::new())
    }

    async fn set_tier_limits(&self, _: Vec<(String, Option<u32>)>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn overview(&self) -> Result<FleetOverview, StoreError> {
        Err(StoreError::Unavailable("nobody looks".into()))
    }

    fn notices(&self) -> BoxStream<'static, Notice> {
        futures::stream::pending().boxed()
    }
}
