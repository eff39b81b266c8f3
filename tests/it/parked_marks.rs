//! Marked runs that no instance of a fleet has are cancelled by one pass after the other, however often a heartbeat tells of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::ports::store::ParkedUpdate;
use tokio::sync::Semaphore;

use crate::harness::{FleetOfOne, InProcess, Script, patiently};

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

#[actix_rt::test]
async fn a_pass_over_marked_runs_is_not_begun_while_the_last_one_is_at_it() {
    let store = Arc::new(SlowStore {
        asked: AtomicU32::new(0),
        is_asked: Semaphore::new(0),
        goes_on: Semaphore::new(0),
    });
    let server = InProcess::new(store.clone()).await;
    let fleet = Arc::new(FleetOfOne {
        parked_to_cancel: vec![RunId::new()],
        ..FleetOfOne::default()
    });
    let services = server.services(Arc::new(SimulatedModel::default()), vec![]);
    let supervisor = fleet.supervisor(services, InstanceId::new());
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
