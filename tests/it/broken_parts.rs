//! A store or a tool that breaks in the middle of a run: that run ends as `failed{internal}`, once, and nothing else notices. A store
//! that does not take a run: nothing was admitted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard::store::sqlite::{SqliteOptions, SqliteStore};
use callboard::stream::memory::{MemoryEventLog, MemoryLogOptions};
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::{RunError, RunErrorCode};
use callboard_actors::ids::{AccountId, InstanceId, KeyId, RunId};
use callboard_actors::item::{Item, Role};
use callboard_actors::ledger::TierQuota;
use callboard_actors::ports::store::*;
use callboard_actors::ports::{EventLog, StoreError, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::retry::RetryPolicy;
use callboard_actors::run_state::RunState;
use callboard_actors::services::{Durability, ModelRoute, ModelTimeouts, RunServices, RunSettings};
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::supervisor::messages::{OnLimit, StartError, StartRun};
use callboard_actors::supervisor::{SupervisorHandle, SupervisorSettings};
use callboard_actors::time::Timestamp;
use futures::StreamExt;

/// What breaks, once.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    /// This commit panics, counted from 0.
    CommitPanics(u32),
    /// The first run is not taken.
    CreateUnavailable,
    /// The first call of the tool panics.
    ToolPanics,
}

/// SQLite, but for the fault.
struct BreakingStore {
    inner: SqliteStore,
    commits: AtomicU32,
    creations: AtomicU32,
    fault: Fault,
}

/// A tool that does nothing, but for the fault.
struct BreakingTool {
    calls: AtomicU32,
    fault: Fault,
}

#[async_trait]
impl Tool for BreakingTool {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "nothing".into(),
            description: "Does nothing.".into(),
            parameters: serde_json::json!({"type": "object"}),
        }
    }

    async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(number != 0 || self.fault != Fault::ToolPanics, "told to break");
        Ok("done".into())
    }
}

#[async_trait]
impl Store for BreakingStore {
    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        assert!(self.fault != Fault::CommitPanics(number), "told to break");
        self.inner.commit(commit).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError> {
        let number = self.creations.fetch_add(1, Ordering::SeqCst);
        if number == 0 && self.fault == Fault::CreateUnavailable {
            return Err(StoreError::Unavailable("told to be away".into()));
        }
        self.inner.create_run(run).await
    }

    async fn find_idempotent(&self, account: &AccountId, key: &Idempotency) -> Result<Option<Creation>, StoreError> {
        self.inner.find_idempotent(account, key).await
    }

    async fn claim_run(&self, claim: ClaimRun) -> Result<Claim, StoreError> {
        self.inner.claim_run(claim).await
    }

    async fn update_parked_run(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        self.inner.update_parked_run(update).await
    }

    async fn fail_abandoned_run(
        &self,
        run: RunId,
        epoch: u64,
        error: RunError,
    ) -> Result<Option<EncodedEvents>, StoreError> {
        self.inner.fail_abandoned_run(run, epoch, error).await
    }

    async fn recover(&self, instance: InstanceId) -> Result<Recovered, StoreError> {
        self.inner.recover(instance).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.inner.run(run).await
    }

    async fn list_runs(&self, query: RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_runs(query).await
    }

    async fn items(&self, run: RunId, after: Option<u32>, limit: u32) -> Result<Vec<(u32, Item)>, StoreError> {
        self.inner.items(run, after, limit).await
    }

    async fn events(&self, run: RunId, after: Option<u64>, bytes: usize) -> Result<Vec<EncodedEvents>, StoreError> {
        self.inner.events(run, after, bytes).await
    }

    async fn forget_idempotency_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.forget_idempotency_keys(before).await
    }

    async fn create_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        self.inner.create_key(key).await
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        self.inner.list_keys().await
    }

    async fn revoke_key(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        self.inner.revoke_key(key, at).await
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        self.inner.find_key(hash).await
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        self.inner.has_keys().await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.inner.ping().await
    }

    fn usage(&self) -> StoreUsage {
        self.inner.usage()
    }
}

fn services(store: Arc<dyn Store>, log: Arc<dyn EventLog>, io: tokio::runtime::Handle, fault: Fault) -> RunServices {
    let second = Duration::from_secs(1);
    let route = ModelRoute {
        model: Arc::new(SimulatedModel::default()),
        timeouts: ModelTimeouts {
            first_byte: 60 * second,
            idle: 60 * second,
            call: 60 * second,
        },
        retry: RetryPolicy {
            max_attempts: 1,
            initial_backoff: second,
            maximum_backoff: second,
        },
    };
    let tool: Arc<dyn Tool> = Arc::new(BreakingTool {
        calls: AtomicU32::new(0),
        fault,
    });
    RunServices {
        instance: InstanceId::new(),
        store,
        log,
        models: HashMap::from([("simulated".to_owned(), Arc::new(route))]),
        tools: BTreeMap::from([("nothing".to_owned(), tool)]),
        io,
        settings: RunSettings {
            durability: Durability::Strict {
                delta_interval: Duration::ZERO,
            },
            tool_timeout: 10 * second,
            tool_max_output: 1000,
            max_parallel_tools: 4,
            max_tool_calls_per_answer: 4,
            max_answer_bytes: 100_000,
            max_unwritten_bytes: 100_000,
        },
    }
}

fn start() -> StartRun {
    let options = serde_json::json!({"simulate": {"tokens": 3, "tool_calls": [{"name": "nothing"}]}});
    StartRun {
        account: AccountId::local(),
        tier: "one".into(),
        spec: RunSpec {
            model: "simulated".into(),
            instructions: None,
            tools: vec!["nothing".into()],
            model_options: options.as_object().expect("an object").clone(),
            metadata: BTreeMap::new(),
            limits: RunLimits {
                max_steps: 5,
                max_output_tokens: None,
                deadline_seconds: 60,
            },
        },
        input: vec![Item::message(Role::User, "Hello")],
        on_limit: OnLimit::Queue,
        idempotency: None,
    }
}

/// Starts a run that meets the fault, then a second one, which must find the Slot and the Permit free. Says how the first one ended,
/// `None` if it was not taken.
async fn first_run_with(fault: Fault) -> Option<RunState> {
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
    let store: Arc<dyn Store> = Arc::new(BreakingStore {
        inner,
        commits: AtomicU32::new(0),
        creations: AtomicU32::new(0),
        fault,
    });
    let log: Arc<dyn EventLog> = Arc::new(MemoryEventLog::new(store.clone(), MemoryLogOptions::default()));
    let settings = SupervisorSettings {
        permits: 1,
        queue_limit: 10,
        queue_deadline: None,
        position_interval: Duration::from_secs(5),
        tiers: BTreeMap::from([(
            "one".to_owned(),
            TierQuota {
                concurrent_runs: Some(1),
                queued_runs: Some(10),
            },
        )]),
        arbiters: 1,
        mailbox: 64,
    };
    let services = services(store.clone(), log.clone(), io.handle().clone(), fault);
    let supervisor = SupervisorHandle::start_supervisor(services, settings, Recovered::default());
    let scenario = {
        let supervisor = supervisor.clone();
        async move {
            let first = match supervisor.start(start()).await {
                Ok(started) => Some(started.run.id),
                Err(error) => {
                    assert!(
                        matches!(error, StartError::Store(StoreError::Unavailable(_))),
                        "{error}"
                    );
                    None
                }
            };
            let healthy = supervisor.start(start()).await.expect("it waits or starts").run.id;
            let mut endings = Vec::new();
            for run in first.into_iter().chain([healthy]) {
                let batches: Vec<_> = log.follow(run, None).collect().await;
                let kinds: Vec<String> = batches
                    .iter()
                    .flat_map(|batch| {
                        batch
                            .as_ref()
                            .expect("it reads")
                            .frames()
                            .map(|frame| frame.kind.to_owned())
                    })
                    .collect();
                let is_end = |kind: &&String| matches!(kind.as_str(), "run.completed" | "run.failed" | "run.cancelled");
                assert_eq!(kinds.iter().filter(is_end).count(), 1, "{kinds:?}");
                let record = store.run(run).await.expect("it reads").expect("it is there");
                assert_eq!(kinds.last().expect("events"), &format!("run.{}", record.state));
                endings.push(record);
            }
            let healthy = endings.pop().expect("it ended");
            assert_eq!(healthy.state, RunState::Completed, "the second run found its room");
            let first = endings.pop();
            if let Some(error) = first.as_ref().and_then(|run| run.error.as_ref()) {
                assert_eq!(error.code, RunErrorCode::Internal);
            }
            let recovered = store.recover(InstanceId::new()).await.expect("it recovers");
            assert!(
                recovered.slots.values().all(|slots| *slots == 0),
                "no Slot is lost: {:?}",
                recovered.slots
            );
            first.map(|run| run.state)
        }
    };
    let state = io.spawn(scenario).await.expect("no panic");
    supervisor.drain(Duration::from_secs(10)).await;
    assert_eq!(supervisor.snapshot().await.permits_in_use, 0);
    io.shutdown_background();
    state
}

#[actix_rt::test]
async fn a_panic_in_any_commit_ends_that_run_only() {
    for commit in 0..3 {
        let ended = first_run_with(Fault::CommitPanics(commit)).await;
        assert_eq!(ended, Some(RunState::Failed), "commit {commit}");
    }
    assert_eq!(first_run_with(Fault::Nothing).await, Some(RunState::Completed));
}

#[actix_rt::test]
async fn a_tool_that_panics_ends_its_run_only() {
    assert_eq!(first_run_with(Fault::ToolPanics).await, Some(RunState::Failed));
}

#[actix_rt::test]
async fn a_run_that_the_store_does_not_take_was_never_admitted() {
    assert_eq!(first_run_with(Fault::CreateUnavailable).await, None);
}
