//! Marked runs that no instance of a fleet has are cancelled by one pass after the other, however often a heartbeat tells of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, RunId};
use callboard_actors::ports::fleet::*;
use callboard_actors::ports::store::{ParkedUpdate, RunRecord};
use callboard_actors::ports::{Fleet, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::supervisor::fleet::{FleetSettings, Membership};
use callboard_actors::supervisor::{Beginning, SupervisorHandle};
use callboard_actors::time::Timestamp;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Semaphore;

use crate::harness::{InProcess, Script, patiently};

/// A store that takes its time with runs that wait.
struct SlowStore {
    asked: AtomicU32,
    is_asked: Semaphore,
    goes_on: Semaphore,
}

#[async_trait]
impl Script for SlowStore {
    async fn before_parked_update(&self, _update: &ParkedUpdate) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.is_asked.add_permits(1);
        drop(self.goes_on.acquire().await);
    }
}

/// A fleet of one in which one run is always to be cancelled.
struct Marked {
    run: RunId,
    beats: Semaphore,
}

#[async_trait]
impl Fleet for Marked {
    async fn join(&self, _: NewInstance) -> Result<Timestamp, JoinError> {
        Ok(Timestamp::now())
    }

    async fn heartbeat(&self, _: Heartbeat) -> Result<Beat, StoreError> {
        self.beats.add_permits(1);
        Ok(Beat {
            held: true,
            store_now: Timestamp::now(),
            to_cancel: Vec::new(),
            parked_to_cancel: vec![self.run],
            lost_runs: 0,
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
        Ok(Vec::new())
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

#[actix_rt::test]
async fn a_pass_over_marked_runs_is_not_begun_while_the_last_one_is_at_it() {
    let store = Arc::new(SlowStore {
        asked: AtomicU32::new(0),
        is_asked: Semaphore::new(0),
        goes_on: Semaphore::new(0),
    });
    let server = InProcess::new(store.clone()).await;
    let fleet = Arc::new(Marked {
        run: RunId::new(),
        beats: Semaphore::new(0),
    });
    let membership = Membership {
        fleet: fleet.clone(),
        settings: FleetSettings {
            heartbeat: Duration::from_millis(50),
            lease: Duration::from_secs(60),
            name: "one".into(),
            version: "0.0.0".into(),
            shares_events: false,
        },
        instance: InstanceId::new(),
        joined_at: Instant::now(),
        live_instances: Arc::default(),
    };
    let services = server.services(Arc::new(SimulatedModel::default()), vec![]);
    let settings = InProcess::supervisor_settings(1);
    let supervisor = SupervisorHandle::start_supervisor(services, settings, Beginning::InFleet(membership));
    patiently("a pass", store.is_asked.acquire())
        .await
        .expect("open")
        .forget();
    let beats = fleet.beats.available_permits() as u32;
    patiently("more heartbeats", fleet.beats.acquire_many(beats + 5))
        .await
        .expect("open")
        .forget();
    assert_eq!(store.asked.load(Ordering::SeqCst), 1, "one pass is at it");
    store.goes_on.close();
    // And there are others after it.
    patiently("the next pass", store.is_asked.acquire())
        .await
        .expect("open")
        .forget();
    server.finish(supervisor).await;
}
