//! An instance that has lost its lease leaves its runs to others, and nothing of them goes on here.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::ids::InstanceId;
use callboard_actors::time::Timestamp;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{FleetOfOne, InProcess, Script, patiently, running_since, start_of};

/// A store that does not say what was said before, and tells when nobody asks any more.
struct SilentStore {
    asked: Semaphore,
    given_up: Arc<Semaphore>,
}

struct TellsWhenDropped(Arc<Semaphore>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[async_trait]
impl Script for SilentStore {
    async fn before_items(&self) {
        let _told = TellsWhenDropped(self.given_up.clone());
        self.asked.add_permits(1);
        pending().await
    }
}

#[actix_rt::test]
async fn the_past_of_a_run_that_is_let_go_is_not_read_on() {
    let store = Arc::new(SilentStore {
        asked: Semaphore::new(0),
        given_up: Arc::new(Semaphore::new(0)),
    });
    let server = InProcess::new(store.clone()).await;
    let instance = InstanceId::new();
    let new_run = running_since(start_of(json!({}), &[]), Timestamp::now());
    let runs = server.store.clone();
    let recovering = server.io.spawn(async move {
        runs.create_run(new_run).await.unwrap();
        runs.recover(instance).await.unwrap().running
    });
    let fleet = Arc::new(FleetOfOne::default());
    *fleet.lost.lock().unwrap() = recovering.await.unwrap();
    let services = server.services(Arc::new(SimulatedModel::default()), vec![]);
    let supervisor = fleet.supervisor(services, instance);
    patiently("the run's past to be read", store.asked.acquire())
        .await
        .unwrap()
        .forget();
    fleet.loses_lease.store(true, Ordering::SeqCst);
    patiently("the reading to be given up", store.given_up.acquire())
        .await
        .unwrap()
        .forget();
    patiently("the drain", supervisor.drain(Duration::ZERO)).await;
    server.io.shutdown_background();
}
