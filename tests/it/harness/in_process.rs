//! A supervisor in the test's own process, over SQLite, whose parts can be told what to do: for what no client can bring about from
//! outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use callboard::files::{FileLimits, FileService, FileStorage, TransferLimits};
use callboard::llm::simulated::SimulatedModel;
use callboard::store::sqlite::{SqliteOptions, SqliteStore};
use callboard::stream::memory::{MemoryEventLog, MemoryLogOptions};
use callboard_actors::encoding::encode;
use callboard_actors::event::{Event, EventBody};
use callboard_actors::ids::{AccountId, InstanceId, RunId};
use callboard_actors::item::{Item, Role};
use callboard_actors::ledger::TierQuota;
use callboard_actors::llm::{ModelRoute, Pictures};
use callboard_actors::ports::files::FileQuota;
use callboard_actors::ports::store::*;
use callboard_actors::ports::{Agents, Budgets, EventLog, Model, Threads, Tool};
use callboard_actors::services::{Durability, RunServices, RunSettings};
use callboard_actors::spec::{HistorySettings, RunLimits, RunSpec};
use callboard_actors::supervisor::messages::{OnLimit, StartRun};
use callboard_actors::supervisor::{Beginning, SupervisorHandle, SupervisorSettings};
use callboard_actors::testing::fixed_tools::FixedTools;
use callboard_actors::thread_lines::ThreadLines;
use callboard_actors::time::Timestamp;
use callboard_actors::tool_use::ToolUse;
use futures::StreamExt;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::scripted::{NoScript, Script, ScriptedLog, ScriptedStore};

/// A directory with a database, on which supervisors are started one after the other.
pub(crate) struct InProcess {
    pub(crate) io: Runtime,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) agents: Arc<dyn Agents>,
    pub(crate) budgets: Arc<dyn Budgets>,
    pub(crate) threads: Arc<dyn Threads>,
    pub(crate) files: FileService,
    pub(crate) log: Arc<dyn EventLog>,
    _directory: TempDir,
}

const AT_ONCE: TransferLimits = TransferLimits {
    most: 4,
    most_per_account: 4,
};

fn file_limits() -> FileLimits {
    FileLimits {
        max_file_bytes: 100_000,
        quota: FileQuota {
            files: 100,
            bytes: 1_000_000,
        },
        uploads: AT_ONCE,
        downloads: AT_ONCE,
        upload_timeout: Duration::from_secs(600),
        max_image_bytes: 10_000,
    }
}

impl InProcess {
    /// One whose parts do what they do.
    pub(crate) async fn plain() -> Self {
        Self::new(Arc::new(NoScript)).await
    }

    pub(crate) async fn new(script: Arc<dyn Script>) -> Self {
        let io = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let directory = tempfile::tempdir().expect("a directory");
        let options = SqliteOptions::new(directory.path().join("runs.db"));
        let handle = io.handle().clone();
        let opened = io.spawn(async move { SqliteStore::open(options, &handle).await });
        let inner = opened.await.expect("no panic").expect("it opens");
        let agents = Arc::new(inner.clone());
        let budgets = Arc::new(inner.clone());
        let threads = Arc::new(inner.clone());
        let storage = FileStorage::in_folder(&directory.path().join("files"));
        let files = FileService::new(Arc::new(inner.clone()), storage, file_limits(), io.handle().clone());
        let store: Arc<dyn Store> = Arc::new(ScriptedStore {
            inner,
            script: script.clone(),
        });
        let inner = MemoryEventLog::new(store.clone(), MemoryLogOptions::default());
        let log = Arc::new(ScriptedLog { inner, script });
        Self {
            io,
            store,
            agents,
            budgets,
            threads,
            files,
            log,
            _directory: directory,
        }
    }

    /// A supervisor of an instance of its own that takes up what there is, with one Permit and one Slot for each account.
    pub(crate) async fn supervisor(&self, model: Arc<dyn Model>, tools: Vec<Arc<dyn Tool>>) -> SupervisorHandle {
        self.supervisor_with(self.services(model, tools), 1).await
    }

    /// The same with these routes, and so many Permits and Slots.
    pub(crate) async fn supervisor_on(&self, routes: &[Arc<ModelRoute>], permits: u32) -> SupervisorHandle {
        let named = routes.iter().map(|route| (route.name.to_string(), route.clone()));
        let services = RunServices {
            models: named.collect(),
            ..self.services(Arc::new(SimulatedModel::default()), Vec::new())
        };
        self.supervisor_with(services, permits).await
    }

    /// The same on these services.
    pub(crate) async fn supervisor_with(&self, services: RunServices, permits: u32) -> SupervisorHandle {
        let instance = InstanceId::new();
        let store = self.store.clone();
        let recovering = self.io.spawn(async move { store.recover(instance).await });
        let recovered = recovering.await.expect("no panic").expect("it recovers");
        let beginning = Beginning::Alone { instance, recovered };
        SupervisorHandle::start_supervisor(services, Self::supervisor_settings(permits), beginning)
    }

    /// So many Permits, and Slots for each account.
    pub(crate) fn supervisor_settings(permits: u32) -> SupervisorSettings {
        SupervisorSettings {
            permits,
            queue_limit: 10,
            queue_deadline: None,
            position_interval: Duration::from_secs(5),
            tiers: BTreeMap::from([(
                "one".to_owned(),
                TierQuota {
                    concurrent_runs: Some(permits),
                    queued_runs: Some(10),
                },
            )]),
            arbiters: 1,
            mailbox: 64,
        }
    }

    /// The route `simulated` to this model.
    pub(crate) fn route(&self, model: Arc<dyn Model>) -> Arc<ModelRoute> {
        Arc::new(ModelRoute::to("simulated", model, super::models::call_settings(1)))
    }

    pub(crate) fn services(&self, model: Arc<dyn Model>, tools: Vec<Arc<dyn Tool>>) -> RunServices {
        let second = Duration::from_secs(1);
        RunServices {
            store: self.store.clone(),
            threads: self.threads.clone(),
            thread_lines: ThreadLines::default(),
            log: self.log.clone(),
            models: HashMap::from([("simulated".to_owned(), self.route(model))]),
            account_budgets: None,
            shared_answers: None,
            pictures: Some(Pictures {
                max_count_per_call: 20,
                files: Arc::new(self.files.clone()),
                max_bytes_per_call: 100_000,
            }),
            toolbox: Arc::new(FixedTools::new(tools)),
            io: self.io.handle().clone(),
            settings: RunSettings {
                durability: Durability::Strict {
                    delta_interval: Duration::ZERO,
                },
                tool_timeout: 600 * second,
                approval_deadline: None,
                tool_max_output: 1000,
                max_parallel_tools: 4,
                max_tool_calls_per_answer: 4,
                max_answer_bytes: 100_000,
                max_history_bytes: 100_000,
                max_recoveries: None,
                max_unwritten_bytes: 100_000,
            },
        }
    }

    /// The run once its log has ended. Checks that there is one ending, that it is the last event, and that it agrees with the state.
    pub(crate) async fn ended(&self, run: RunId) -> RunRecord {
        let (log, store) = (self.log.clone(), self.store.clone());
        let reading = async move {
            let batches: Vec<_> = log.follow(run, None).collect().await;
            let kinds: Vec<String> = batches
                .iter()
                .flat_map(|batch| batch.as_ref().expect("it reads").frames())
                .map(|frame| frame.kind.to_owned())
                .collect();
            let is_end = |kind: &&String| matches!(kind.as_str(), "run.completed" | "run.failed" | "run.cancelled");
            assert_eq!(kinds.iter().filter(is_end).count(), 1, "{kinds:?}");
            let record = store.run(run).await.expect("it reads").expect("it is there");
            assert_eq!(kinds.last().expect("events"), &format!("run.{}", record.state));
            record
        };
        super::patiently("the run to end", self.io.spawn(reading))
            .await
            .expect("no panic")
    }

    /// All events of a run that has ended.
    pub(crate) async fn events(&self, run: RunId) -> Vec<Event> {
        let log = self.log.clone();
        let reading = async move {
            let batches: Vec<_> = log.follow(run, None).collect().await;
            let frames = batches
                .iter()
                .flat_map(|batch| batch.as_ref().expect("it reads").frames());
            frames
                .map(|frame| serde_json::from_str(frame.data).expect("an event"))
                .collect()
        };
        super::patiently("the run to end", self.io.spawn(reading))
            .await
            .expect("no panic")
    }

    /// Waits for an event of this kind and gives the run as it is then.
    pub(crate) async fn run_after(&self, run: RunId, kind: &'static str) -> RunRecord {
        let (log, store) = (self.log.clone(), self.store.clone());
        let reading = async move {
            let mut batches = log.follow(run, None);
            while let Some(batch) = batches.next().await {
                if batch.expect("it reads").frames().any(|frame| frame.kind == kind) {
                    return store.run(run).await.expect("it reads").expect("it is there");
                }
            }
            panic!("the log ended without {kind}");
        };
        super::patiently(kind, self.io.spawn(reading)).await.expect("no panic")
    }

    /// The run's items, input first.
    pub(crate) async fn items(&self, run: RunId) -> Vec<Item> {
        let store = self.store.clone();
        let reading = self.io.spawn(async move { store.items(run, None, 10_000).await });
        let items = reading.await.expect("no panic").expect("it reads");
        items.items.into_iter().map(|(_, item)| item).collect()
    }

    /// The end of a test: all Permits and Slots are back.
    pub(crate) async fn finish(self, supervisor: SupervisorHandle) {
        super::patiently("the drain", supervisor.drain(Duration::from_secs(10))).await;
        assert_eq!(supervisor.snapshot().await.permits_in_use, 0);
        let store = self.store.clone();
        let recovering = self.io.spawn(async move { store.recover(InstanceId::new()).await });
        let running = recovering.await.expect("no panic").expect("it recovers").running;
        assert!(running.is_empty(), "no Slot is lost: {running:?}");
        self.io.shutdown_background();
    }
}

/// The same as `start`, as the store gets it: `running` since `started_at`.
pub(crate) fn running_since(start: StartRun, started_at: Timestamp) -> NewRun {
    let id = RunId::new();
    let created = EventBody::RunCreated {
        spec: start.spec.clone(),
    };
    NewRun {
        id,
        account: start.account,
        tier: start.tier,
        instance: InstanceId::new(),
        idempotency: None,
        spec: start.spec,
        input: start.input,
        thread: None,
        admission: Admission::Start { slot_limit: None },
        events: encode(id, 0, [created, EventBody::RunStarted { epoch: 1 }]).expect("two events"),
        reserved_seq: 0,
        created_at: started_at,
    }
}

/// A run on this model.
pub(crate) fn start_on(model: &str) -> StartRun {
    let mut start = start_of(serde_json::json!({}), &[]);
    Arc::make_mut(&mut start.spec).model = model.into();
    start
}

/// Starts it and gives its name.
pub(crate) async fn started(supervisor: &SupervisorHandle, start: StartRun) -> RunId {
    supervisor.start(start).await.expect("it starts").run.id
}

/// A run that does what `simulate` says, with these tools.
pub(crate) fn start_of(simulate: serde_json::Value, tools: &[&str]) -> StartRun {
    StartRun {
        account: AccountId::local(),
        tier: "one".into(),
        spec: Arc::new(RunSpec {
            agent: None,
            model: "simulated".into(),
            fallback_models: Vec::new(),
            instructions: None,
            tools: tools.iter().map(|tool| ToolUse::named(*tool)).collect(),
            model_options: serde_json::Map::from_iter([("simulate".to_owned(), simulate)]),
            metadata: BTreeMap::new(),
            history: HistorySettings::default(),
            limits: RunLimits {
                max_steps: 5,
                max_output_tokens: None,
                max_total_tokens: None,
                max_cost_usd: None,
                deadline_seconds: 600,
            },
        }),
        input: vec![Item::message(Role::User, "Hello")],
        on_limit: OnLimit::Queue,
        idempotency: None,
        thread: None,
    }
}
