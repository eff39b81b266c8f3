//! `/readyz` and starts on an instance that has lost its lease, or whose events reach nobody else.

use std::sync::Arc;

use async_trait::async_trait;
use callboard::http::{HttpOptions, Runs};
use callboard_actors::call_ledger::CallResolution;
use callboard_actors::ids::{InstanceId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::event_log::Reach;
use callboard_actors::ports::store::{ParkedOutcome, RunRecord};
use callboard_actors::supervisor::messages::{Snapshot, StartError, StartRun, Started};
use serde_json::{Value, json};

use crate::harness::{InProcess, Reply, Script, Surface};

/// A supervisor that is so, and takes nothing.
struct Fixed(Snapshot);

#[async_trait]
impl Runs for Fixed {
    async fn start(&self, _start: StartRun) -> Result<Started, StartError> {
        Err(StoreError::Unavailable("the lease is lost".into()).into())
    }

    async fn cancel(&self, _run: RunId) -> Result<Option<RunRecord>, StoreError> {
        Ok(None)
    }

    async fn cancel_marked(&self, _runs: Vec<RunId>) {}

    async fn resolve_calls(&self, _run: RunId, _resolutions: Vec<CallResolution>) -> Result<ParkedOutcome, StoreError> {
        Ok(ParkedOutcome::NotFound)
    }

    async fn queue_position(&self, _run: RunId) -> Option<u64> {
        None
    }

    async fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }
}

struct LogWith(Option<Reach>);

impl Script for LogWith {
    fn reach(&self) -> Option<Reach> {
        self.0
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        instance: Some(InstanceId::new()),
        ..Snapshot::default()
    }
}

/// What `/readyz` and a start answer then.
async fn asked(snapshot: Snapshot, reach: Option<Reach>) -> (Reply, Reply) {
    let behind = InProcess::new(Arc::new(LogWith(reach))).await;
    let surface = Surface::start(&behind, Arc::new(Fixed(snapshot)), None, HttpOptions::default());
    let client = surface.client();
    let ready = client.get("/readyz").await;
    let again = client.get("/readyz").await;
    assert_eq!((again.status, &again.text), (ready.status, &ready.text), "it stays so");
    let start = client.try_start(&json!({"input": "Go."})).await;
    surface.stop().await;
    behind.io.shutdown_background();
    (ready, start)
}

async fn readiness(snapshot: Snapshot, reach: Option<Reach>) -> (u16, Value) {
    let (ready, _) = asked(snapshot, reach).await;
    (ready.status.as_u16(), ready.json())
}

#[actix_rt::test]
async fn events_that_reach_nobody_else_degrade_an_instance_that_takes_runs() {
    for reach in [None, Some(Reach::Everywhere)] {
        let ready = json!({"status": "ready", "reasons": []});
        assert_eq!(readiness(snapshot(), reach).await, (200, ready), "{reach:?}");
    }
    let degraded = json!({"status": "degraded", "reasons": ["event_stream_unavailable"]});
    assert_eq!(readiness(snapshot(), Some(Reach::OnlyHere)).await, (200, degraded));
}

#[actix_rt::test]
async fn an_instance_without_its_lease_is_not_ready_and_takes_nothing() {
    let lost = Snapshot {
        lease_lost: true,
        ..snapshot()
    };
    let (ready, start) = asked(lost, Some(Reach::OnlyHere)).await;
    let not_ready = json!({"status": "not_ready", "reasons": ["lease_lost", "event_stream_unavailable"]});
    assert_eq!(ready.expect_status(503), not_ready);
    let refusal = start.expect_error(503, "store_unavailable");
    assert_eq!(start.header("retry-after"), Some("2"));
    assert!(
        !refusal["message"].as_str().unwrap().contains("lease"),
        "it tells no internals"
    );
}

#[actix_rt::test]
async fn a_supervisor_that_is_gone_is_not_taken_for_an_idle_one() {
    let not_ready = json!({"status": "not_ready", "reasons": ["supervisor_unresponsive"]});
    assert_eq!(readiness(Snapshot::default(), None).await, (503, not_ready));
}
