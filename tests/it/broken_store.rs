//! A store that panics in the middle of a run: that run ends as `failed{internal}`, once, and nothing else notices.

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
use callboard_actors::ports::{EventLog, StoreError};
use callboard_actors::retry::RetryPolicy;
use callboard_actors::run_state::RunState;
use callboard_actors::services::{Durability, ModelRoute, ModelTimeouts, RunServices, RunSettings};
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::supervisor::messages::{OnLimit, StartRun};
use callboard_actors::supervisor::{SupervisorHandle, SupervisorSettings};
use callboard_actors::time::Timestamp;
use futures::StreamExt;

/// SQLite, but for one commit.
struct BreakingStore {
    inner: SqliteStore,
    commits: AtomicU32,
    /// This commit panics, counted from 0.
    breaks_at: u32,
}

#[async_trait]
impl Store for BreakingStore {
    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError> {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        assert!(number != self.breaks_at, "told to break");
        self.inner.commit(commit).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError> {
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

fn services(store: Arc<dyn Store>, log: Arc<dyn EventLog>, io: tokio::runtime::Handle) -> RunServices {
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
    let tool = callboard::tools::builtin("now").expect("a built-in tool");
    RunServices {
        instance: InstanceId::new(),
        store,
        log,
        models: HashMap::from([("simulated".to_owned(), Arc::new(route))]),
        tools: BTreeMap::from([("now".to_owned(), tool)]),
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
    let options = serde_json::json!({"simulate": {"tokens": 3, "tool_calls": [{"name": "now"}]}});
    StartRun {
        account: AccountId::local(),
        tier: "one".into(),
        spec: RunSpec {
            model: "simulated".into(),
            instructions: None,
            tools: vec!["now".into()],
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

/// Starts a run on a store that breaks at this commit, then a second one, which must find the Slot and the Permit free.
async fn break_at(commit: u32) -> RunState {
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
        breaks_at: commit,
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
    let services = services(store.clone(), log.clone(), io.handle().clone());
    let supervisor = SupervisorHandle::start_supervisor(services, settings, Recovered::default());
    let scenario = {
        let supervisor = supervisor.clone();
        async move {
            let broken = supervisor.start(start()).await.expect("it starts").run.id;
            let healthy = supervisor.start(start()).await.expect("it waits or starts").run.id;
            let mut endings = Vec::new();
            for run in [broken, healthy] {
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
            assert_eq!(endings[1].state, RunState::Completed, "the second run found its room");
            if endings[0].state == RunState::Failed {
                assert_eq!(
                    endings[0].error.as_ref().expect("an error").code,
                    RunErrorCode::Internal
                );
            }
            let recovered = store.recover(InstanceId::new()).await.expect("it recovers");
            assert!(
                recovered.slots.values().all(|slots| *slots == 0),
                "no Slot is lost: {:?}",
                recovered.slots
            );
            endings[0].state
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
    // A run of two steps with a tool makes at least three commits; the last one here is the second run's or nobody's.
    for commit in 0..3 {
        assert_eq!(break_at(commit).await, RunState::Failed, "commit {commit}");
    }
    assert_eq!(break_at(u32::MAX).await, RunState::Completed);
}
