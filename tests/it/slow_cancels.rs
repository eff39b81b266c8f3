//! Rule 7 while the store is away: a cancel is answered in time, and what was asked for happens when the store is back.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard::http::HttpOptions;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::ports::store::{ParkedUpdate, RunCommit};
use callboard_actors::run_state::RunState;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::harness::{Client, InProcess, Reply, Script, Surface, start_of};

/// What the store answers only when it is told to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Away {
    /// The ending of a running run.
    Endings,
    /// Changes of runs that wait.
    ParkedUpdates,
    /// Runs that are read.
    Reads,
}

struct HeldStore {
    away: Away,
    is_back: Semaphore,
}

impl HeldStore {
    async fn until_back(&self, asked: Away) {
        if self.away == asked {
            drop(self.is_back.acquire().await.unwrap());
        }
    }
}

#[async_trait]
impl Script for HeldStore {
    async fn before_commit(&self, commit: &RunCommit) {
        if commit.change.is_some() {
            self.until_back(Away::Endings).await;
        }
    }

    async fn before_parked_update(&self, _update: &ParkedUpdate) {
        self.until_back(Away::ParkedUpdates).await;
    }

    async fn before_run(&self) {
        self.until_back(Away::Reads).await;
    }
}

async fn try_cancel(client: &Client, run: &str) -> Reply {
    client.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await
}

/// Cancels a run behind a store that is away like this, which must be answered all the same, and once more when the store is back. Gives both
/// answers.
async fn cancelled_while(away: Away) -> (Reply, Value) {
    let store = Arc::new(HeldStore {
        away,
        is_back: Semaphore::new(0),
    });
    let server = InProcess::new(store.clone()).await;
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), vec![]).await;
    let options = HttpOptions {
        cancel_timeout: Duration::from_millis(100),
        ..HttpOptions::default()
    };
    let surface = Surface::start(&server, Arc::new(supervisor.clone()), None, options);
    let client = surface.client();
    let stalled = || start_of(json!({"fail": {"kind": "stall"}}), &[]);
    let ahead = supervisor.start(stalled()).await.unwrap().run.id;
    let behind = supervisor.start(stalled()).await.unwrap().run;
    assert_eq!(behind.state, RunState::Queued);
    let (run, other) = match away {
        Away::ParkedUpdates => (behind.id, ahead),
        Away::Endings | Away::Reads => (ahead, behind.id),
    };
    let first = try_cancel(&client, &run.to_string()).await;
    store.is_back.add_permits(1);
    if away != Away::Reads {
        // Nobody has to ask again.
        assert_eq!(server.ended(run).await.state, RunState::Cancelled);
    }
    let second = try_cancel(&client, &run.to_string()).await.expect_status(200);
    client.cancel(&other.to_string()).await;
    surface.stop().await;
    server.finish(supervisor).await;
    (first, second)
}

#[actix_rt::test]
async fn a_cancel_that_is_not_confirmed_in_time_goes_on() {
    for away in [Away::Endings, Away::ParkedUpdates] {
        let (first, second) = cancelled_while(away).await;
        first.expect_error(503, "cancel_unconfirmed");
        assert_eq!(first.header("retry-after"), Some("2"), "{away:?}");
        assert_eq!(second["state"], "cancelled", "{away:?}");
    }
}

#[actix_rt::test]
async fn a_cancel_whose_run_cannot_be_found_in_time_has_changed_nothing() {
    let (first, second) = cancelled_while(Away::Reads).await;
    first.expect_error(503, "store_unavailable");
    assert_eq!(second["state"], "cancelled");
}
