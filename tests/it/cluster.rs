//! The instances of an installation, over HTTP and on the command line.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard::http::HttpOptions;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, RunId};
use callboard_actors::ports::fleet::*;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::ports::{Fleet, StoreError};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use futures::stream::BoxStream;
use serde_json::{Value, json};

use crate::harness::{InProcess, Reply, Script, Server, Surface, run_to_end, until_some};
use crate::openapi::{Checker, document_of};

struct NothingBreaks;

impl Script for NothingBreaks {}

/// A fleet that can be looked at and no more.
struct SeenFleet(Result<FleetOverview, StoreError>);

const NOT_ASKED: &str = "nobody asks this for an overview";

#[async_trait]
impl Fleet for SeenFleet {
    async fn overview(&self) -> Result<FleetOverview, StoreError> {
        self.0.clone()
    }

    async fn join(&self, _: NewInstance) -> Result<Timestamp, JoinError> {
        panic!("{NOT_ASKED}")
    }

    async fn heartbeat(&self, _: Heartbeat) -> Result<Beat, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn leave(&self, _: InstanceId) -> Result<(), StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn disown_unknown(&self, _: InstanceId, _: Vec<RunId>, _: RunId) -> Result<u64, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn take_over(&self, _: InstanceId, _: u32) -> Result<Vec<RunRecord>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn admit(&self, _: FleetAdmission) -> Result<Admitted, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn claim_next(&self, _: ClaimNext) -> Result<Vec<ClaimedRun>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn ask_to_cancel(&self, _: RunId) -> Result<Option<RunState>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn expire_queued(&self, _: RunError, _: u32) -> Result<Vec<ExpiredRun>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn queue_position(&self, _: RunId) -> Result<Option<u64>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn tell_positions(&self, _: &AccountId, _: Duration, _: u32) -> Result<Vec<ToldPosition>, StoreError> {
        panic!("{NOT_ASKED}")
    }

    async fn set_tier_limits(&self, _: Vec<(String, Option<u32>)>) -> Result<(), StoreError> {
        panic!("{NOT_ASKED}")
    }

    fn notices(&self) -> BoxStream<'static, Notice> {
        panic!("{NOT_ASKED}")
    }
}

/// Asks an instance of this fleet for `/api/v1/cluster`; gives its id, the answer, and the document of the interface.
async fn cluster_of(seen: impl FnOnce(InstanceId) -> Result<FleetOverview, StoreError>) -> (InstanceId, Reply, Value) {
    let behind = InProcess::new(Arc::new(NothingBreaks)).await;
    let supervisor = behind.supervisor(Arc::new(SimulatedModel::default()), vec![]).await;
    let this = supervisor.snapshot().await.instance.unwrap();
    let fleet = Arc::new(SeenFleet(seen(this)));
    let surface = Surface::start(
        &behind,
        Arc::new(supervisor.clone()),
        Some(fleet),
        HttpOptions::default(),
    );
    let client = surface.client();
    let reply = client.get("/api/v1/cluster").await;
    let document = document_of(&client).await;
    surface.stop().await;
    behind.finish(supervisor).await;
    (this, reply, document)
}

fn instance(id: InstanceId, lease_left: Option<Duration>, draining: bool) -> InstanceView {
    InstanceView {
        id,
        name: "web".into(),
        version: "0.1.0".into(),
        started_at: Timestamp::now(),
        heartbeat_age: Duration::from_millis(300),
        lease_left,
        load: InstanceLoad {
            permits_limit: 100,
            permits_in_use: 7,
            draining,
        },
        runs: 7,
    }
}

#[tokio::test]
async fn a_server_that_is_alone_shows_itself() {
    let server = Server::start("[fleet]\nname = \"web-1\"\n[capacity]\nmax_concurrent_runs = 1\n").await;
    let client = server.client();
    let stall = json!({"fail": {"kind": "stall"}});
    let runs = [
        client.start_simulated(stall.clone()).await,
        client.start_simulated(stall).await,
    ];
    let cluster = client.get("/api/v1/cluster").await.expect_status(200);
    Checker(&document_of(&client).await).check("Cluster", &cluster);
    assert_eq!(
        (&cluster["object"], &cluster["mode"]),
        (&json!("cluster"), &json!("alone"))
    );
    let mut instance = cluster["instances"][0].clone();
    let id = instance["id"].take();
    assert!(id.as_str().unwrap().starts_with("inst_"), "{id}");
    assert!(instance["started_at"].take().is_string());
    assert_eq!(
        instance,
        json!({
            "id": null, "name": "web-1", "version": env!("CARGO_PKG_VERSION"), "started_at": null, "state": "live",
            "answering": true, "heartbeat_age_ms": 0, "lease_left_ms": null,
            "permits": {"limit": 1, "in_use": 1}, "runs": 1
        })
    );
    assert_eq!(
        cluster["totals"],
        json!({
            "instances": {"live": 1, "draining": 0, "lost": 0},
            "permits": {"limit": 1, "in_use": 1},
            "runs": {"running": 1, "queued": 1, "waiting": null},
            "versions": {env!("CARGO_PKG_VERSION"): 1}
        })
    );
    client
        .get("/api/v1/cluster?all=1")
        .await
        .expect_error(400, "unknown_parameter");
    let metrics = client.get("/metrics").await.text;
    for line in ["callboard_fleet_instances 1", "callboard_lease_held 1"] {
        assert!(
            metrics.lines().any(|shown| shown == line),
            "{line} is not in\n{metrics}"
        );
    }
    assert!(!metrics.contains("callboard_events_reach "), "{metrics}");
    for run in runs {
        client.cancel(&run).await;
    }

    // An operator's key opens it, and no other.
    let key = server.site.create_admin_key("operator", "free").await;
    let keyed = server.client_with(&key);
    keyed.get("/api/v1/cluster").await.expect_status(200);
    let tenant = server.client_with(&server.site.create_key("acme", "free").await);
    for path in ["/api/v1/cluster", "/api/v1/cluster?all=1", "/api/v1/models/keys"] {
        tenant.get(path).await.expect_error(403, "admin_required");
    }
    keyed.get("/api/v1/models/keys").await.expect_status(200);
    for path in ["/api/v1/capacity", "/api/v1/models"] {
        tenant.get(path).await.expect_status(200);
    }
    let refusal = until_some("the key to count", || async {
        let reply = client.get("/api/v1/cluster").await;
        (reply.status != 200).then_some(reply)
    })
    .await;
    refusal.expect_error(401, "missing_api_key");
    server.finish_as(&keyed).await;
}

#[tokio::test]
async fn the_command_sends_whoever_has_one_instance_to_it() {
    let server = Server::start("").await;
    let output = run_to_end(server.site.path(), &["cluster"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("GET /api/v1/cluster"), "{said}");
    server.finish().await;
}

#[actix_rt::test]
async fn an_instance_of_a_fleet_shows_all_of_it_and_which_one_answers() {
    let second = Some(Duration::from_secs(1));
    let others = [InstanceId::new(), InstanceId::new()];
    let (this, reply, document) = cluster_of(|this| {
        Ok(FleetOverview {
            instances: vec![
                instance(others[0], None, false),
                instance(this, second, false),
                instance(others[1], second, true),
            ],
            queued: 4,
            running: 21,
            waiting: 2,
        })
    })
    .await;
    let cluster = reply.expect_status(200);
    Checker(&document).check("Cluster", &cluster);
    assert_eq!(cluster["mode"], "fleet");
    let instances = cluster["instances"].as_array().unwrap();
    let shown: Vec<Value> = instances
        .iter()
        .map(|instance| {
            json!([
                instance["id"],
                instance["state"],
                instance["answering"],
                instance["lease_left_ms"]
            ])
        })
        .collect();
    assert_eq!(
        shown,
        [
            json!([others[0].to_string(), "lost", false, null]),
            json!([this.to_string(), "live", true, 1000]),
            json!([others[1].to_string(), "draining", false, 1000]),
        ]
    );
    assert_eq!(
        cluster["totals"],
        json!({
            "instances": {"live": 1, "draining": 1, "lost": 1},
            "permits": {"limit": 100, "in_use": 7},
            "runs": {"running": 21, "queued": 4, "waiting": 2},
            "versions": {"0.1.0": 2}
        })
    );
}

#[actix_rt::test]
async fn without_its_store_nobody_knows_the_fleet() {
    let (_, reply, document) = cluster_of(|_| Err(StoreError::Unavailable("told to be away".into()))).await;
    reply.expect_error(503, "store_unavailable");
    assert!(reply.header("retry-after").is_some());
    Checker(&document).check("ErrorAnswer", &reply.json());
    assert!(!reply.text.contains("told to"), "{}", reply.text);
}
