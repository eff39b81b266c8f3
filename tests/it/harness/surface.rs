//! The HTTP surface in the test's own process, over parts that the test chooses: for answers to what no client can bring about from
//! outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::dev::ServerHandle;
use callboard::agent_directory::AgentDirectory;
use callboard::auth::{Authenticator, RateLimiters};
use callboard::blocking::BlockingPool;
use callboard::config::LOCAL_TIER;
use callboard::http::{
    CapacityReport, Catalog, HttpOptions, HttpParts, HttpState, InstanceIdentity, Runs, listen, server,
};
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::ports::Fleet;
use callboard_actors::testing::fixed_tools::FixedTools;
use callboard_actors::time::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Client, InProcess};

/// A listening surface without keys. End it with [`Surface::stop`].
pub(crate) struct Surface {
    url: String,
    handle: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    close_streams: watch::Sender<bool>,
}

impl Surface {
    /// Over the store, the log and the I/O runtime of `behind`. Must be called on the thread of an actix system.
    pub(crate) fn start(
        behind: &InProcess,
        runs: Arc<dyn Runs>,
        fleet: Option<Arc<dyn Fleet>>,
        options: HttpOptions,
    ) -> Self {
        let io = behind.io.handle().clone();
        let (close_streams, streams_closed) = watch::channel(false);
        let simulated = behind.route(Arc::new(SimulatedModel::default()));
        let parts = HttpParts {
            runs,
            store: behind.store.clone(),
            agents: AgentDirectory::new(behind.agents.clone()),
            threads: behind.threads.clone(),
            budgets: behind.budgets.clone(),
            files: behind.files.clone(),
            event_log: behind.log.clone(),
            fleet,
            instance: InstanceIdentity {
                name: "in-process".into(),
                version: "0.0.0".into(),
                started_at: Timestamp::now(),
            },
            catalog: Catalog::new(
                BTreeMap::from([("simulated".to_owned(), simulated)]),
                Arc::new(FixedTools::new([])),
            ),
            model_directory: Default::default(),
            tier_budgets: Default::default(),
            authenticator: Authenticator::new(behind.store.clone(), io.clone(), LOCAL_TIER),
            rate_limiters: RateLimiters::new(std::iter::empty()),
            capacity: CapacityReport {
                inputs: Value::Null,
                limits: Value::Null,
                tiers: Value::Null,
            },
            metrics: None,
            blocking_pool: BlockingPool::new(io.clone(), 1),
            close_streams: streams_closed,
            io,
        };
        let listener = listen(([127, 0, 0, 1], 0).into(), 16).expect("it listens");
        let address = listener.local_addr().expect("it has an address");
        let server = server(HttpState::new(parts, options), listener).expect("it serves");
        Self {
            url: format!("http://{address}"),
            handle: server.handle(),
            serving: actix_rt::spawn(server),
            close_streams,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, None).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.close_streams.send(true).expect("somebody listens");
        self.handle.stop(true).await;
        super::patiently("the surface to stop", self.serving)
            .await
            .expect("no panic")
            .expect("it ends well");
    }
}
