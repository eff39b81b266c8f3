//! What every handler shares.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::call_ledger::CallResolution;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::llm::{AccountBudget, ModelRoute};
use callboard_actors::ports::store::{ParkedOutcome, RunRecord};
use callboard_actors::ports::toolbox::{InvalidTool, ToolsOpening, ToolsWish};
use callboard_actors::ports::{Budgets, EventLog, Fleet, Store, StoreError, Threads, Toolbox};
use callboard_actors::supervisor::SupervisorHandle;
use callboard_actors::supervisor::messages::{Snapshot, StartError, StartRun, Started};
use callboard_actors::tool_use::ToolUse;
use tokio::sync::watch;
use tracing::Instrument;

use super::capacity::CapacityReport;
use super::error::ApiError;
use super::options::HttpOptions;
use super::process_usage::{ProcessSample, ProcessUsage};
use super::readiness::Readiness;
use crate::agent_directory::AgentDirectory;
use crate::auth::{Authenticator, RateLimiters};
use crate::blocking::BlockingPool;
use crate::cluster_view::InstanceIdentity;
use crate::files::FileService;
use crate::model_directory::ModelDirectory;
use crate::telemetry::MetricsHandle;

/// What this surface asks of the supervisor: a seam, so that its tests can script the answers.
#[async_trait]
pub trait Runs: Send + Sync + 'static {
    /// Starts or queues a run; answers when it is durable.
    async fn start(&self, start: StartRun) -> Result<Started, StartError>;
    /// Ends a run; answers when it has ended. `None` if there is no such run.
    async fn cancel(&self, run: RunId) -> Result<Option<RunRecord>, StoreError>;
    /// Ends runs that are marked in the store, as soon as that can be done. Nobody waits for it.
    async fn cancel_marked(&self, runs: Vec<RunId>);
    /// Takes in what is said of tool calls that a run waits for.
    async fn resolve_calls(&self, run: RunId, resolutions: Vec<CallResolution>) -> Result<ParkedOutcome, StoreError>;
    /// A run's place in its account's line.
    async fn queue_position(&self, run: RunId) -> Option<u64>;
    /// How things stand.
    async fn snapshot(&self) -> Snapshot;
}

#[async_trait]
impl Runs for SupervisorHandle {
    async fn start(&self, start: StartRun) -> Result<Started, StartError> {
        Self::start(self, start).await
    }

    async fn cancel(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        Self::cancel(self, run).await
    }

    async fn cancel_marked(&self, runs: Vec<RunId>) {
        Self::cancel_marked(self, runs).await;
    }

    async fn resolve_calls(&self, run: RunId, resolutions: Vec<CallResolution>) -> Result<ParkedOutcome, StoreError> {
        Self::resolve_calls(self, run, resolutions).await
    }

    async fn queue_position(&self, run: RunId) -> Option<u64> {
        Self::queue_position(self, run).await
    }

    async fn snapshot(&self) -> Snapshot {
        Self::snapshot(self).await
    }
}

/// The models and tools that a run may name.
#[derive(Clone)]
pub struct Catalog {
    models: BTreeMap<String, Arc<ModelRoute>>,
    toolbox: Arc<dyn Toolbox>,
}

impl Catalog {
    /// A catalog of these models, by name, and tools.
    pub fn new(models: BTreeMap<String, Arc<ModelRoute>>, toolbox: Arc<dyn Toolbox>) -> Self {
        Self { models, toolbox }
    }

    /// The model with this name.
    pub fn model(&self, name: &str) -> Option<&Arc<ModelRoute>> {
        self.models.get(name)
    }

    /// Checks the tools of a run of this account.
    pub fn check_tools(&self, account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool> {
        self.toolbox.check(account, tools)
    }

    /// Every model, by name.
    pub fn models(&self) -> impl Iterator<Item = &Arc<ModelRoute>> {
        self.models.values()
    }

    /// Every model's name, sorted.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// The tools of a run.
    pub fn open_tools(&self, run: &RunRecord) -> ToolsOpening {
        self.toolbox.open(ToolsWish {
            account: run.account.clone(),
            run: run.id,
            tools: run.spec.tools.clone(),
        })
    }

    /// The name of every tool of this server, sorted.
    pub fn tool_names(&self) -> Vec<String> {
        self.toolbox.names()
    }
}

/// What the composition root gives to this surface.
pub struct HttpParts {
    /// The supervisor.
    pub runs: Arc<dyn Runs>,
    /// Where runs are read from.
    pub store: Arc<dyn Store>,
    /// Stored agents.
    pub agents: AgentDirectory,
    /// The conversations.
    pub threads: Arc<dyn Threads>,
    /// What accounts have used.
    pub budgets: Arc<dyn Budgets>,
    /// Uploaded files.
    pub files: FileService,
    /// Where events are read from.
    pub event_log: Arc<dyn EventLog>,
    /// The other instances; `None` on one that is alone.
    pub fleet: Option<Arc<dyn Fleet>>,
    /// What this instance is.
    pub instance: InstanceIdentity,
    /// Models and tools.
    pub catalog: Catalog,
    /// The providers of the models, and their keys.
    pub model_directory: ModelDirectory,
    /// What accounts may use, by tier; a tier that is not here has no budget.
    pub tier_budgets: HashMap<String, AccountBudget>,
    /// Who may call.
    pub authenticator: Authenticator,
    /// How often.
    pub rate_limiters: RateLimiters,
    /// How the limits of this instance came about.
    pub capacity: CapacityReport,
    /// Renders `/metrics`; `None` answers 404 there.
    pub metrics: Option<MetricsHandle>,
    /// For what blocks, such as reading `/proc`.
    pub blocking_pool: BlockingPool,
    /// Turns true when open event streams and long polls must end.
    pub close_streams: watch::Receiver<bool>,
    /// The shared I/O runtime.
    pub io: tokio::runtime::Handle,
}

/// What every handler shares; cheap to clone.
#[derive(Clone)]
pub struct HttpState(Arc<Shared>);

/// The insides of [`HttpState`].
pub struct Shared {
    pub(super) parts: HttpParts,
    pub(super) options: HttpOptions,
    pub(super) process: Arc<ProcessUsage>,
    pub(super) readiness: Readiness,
}

impl std::ops::Deref for HttpState {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl HttpState {
    /// Puts the parts together.
    pub fn new(parts: HttpParts, options: HttpOptions) -> Self {
        Self(Arc::new(Shared {
            parts,
            options,
            process: Arc::new(ProcessUsage::new()),
            readiness: Readiness::default(),
        }))
    }

    /// What this process uses of the machine. Read on the blocking pool: the kernel takes its time over `/proc`.
    pub(super) async fn process_sample(&self) -> Result<ProcessSample, ApiError> {
        self.on_pool(&self.parts.blocking_pool, |state| state.process.sample())
            .await
    }

    /// Runs work that blocks, or computes for long, on the pool for it, in this account's share.
    pub(super) async fn on_blocking_pool<T: Send + 'static>(
        &self,
        account: &AccountId,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        self.on_pool(&self.parts.blocking_pool.for_account(account), work).await
    }

    async fn on_pool<T: Send + 'static>(
        &self,
        pool: &BlockingPool,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let state = self.clone();
        let done = pool.run(move || work(&state)).await;
        done.map_err(|error| {
            tracing::error!(%error, "work for a request did not end");
            ApiError::internal()
        })
    }

    /// Runs a piece of work on the shared I/O runtime and waits for it. The work goes on when the client goes away, so that
    /// nothing is left half done; a panic in it is ours and becomes `internal`.
    pub(super) async fn on_io<Work>(&self, work: Work) -> Result<Work::Output, ApiError>
    where
        Work: Future + Send + 'static,
        Work::Output: Send + 'static,
    {
        // What it logs is the request's too.
        self.parts.io.spawn(work.in_current_span()).await.map_err(|error| {
            tracing::error!(%error, "work for a request did not end");
            ApiError::internal()
        })
    }
}
