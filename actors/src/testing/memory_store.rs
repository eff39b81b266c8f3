//! A store of events only, in memory: what an event log reads old events from in its tests. Runs are written to it directly, as if a
//! run actor had committed; every other method says that it is not there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::call_ledger::CallLedger;
use crate::encoding::EncodedEvents;
use crate::error::RunError;
use crate::ids::{AccountId, InstanceId, KeyId, RunId};
use crate::item::Item;
use crate::ports::store::{
    Claim, ClaimRun, Creation, Idempotency, ItemPage, KeyRecord, NewRun, OverduePlace, OverdueRun, ParkedOutcome,
    ParkedUpdate, Recovered, RunCommit, RunProgress, RunQuery, RunRecord, StoreUsage,
};
use crate::ports::{Store, StoreError};
use crate::run_state::RunState;
use crate::spec::{RunLimits, RunSpec};
use crate::time::Timestamp;

/// Events of runs, as if committed.
#[derive(Debug, Default)]
pub struct MemoryStore {
    runs: Mutex<HashMap<RunId, StoredRun>>,
    broken: AtomicBool,
    reads: AtomicU64,
    gate: Mutex<Option<Arc<Gate>>>,
}

#[derive(Debug)]
struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

/// Reads that have their answer and do not give it yet: the moment between a look and what is made of it, stretched.
#[derive(Debug)]
pub struct HeldReads {
    gate: Arc<Gate>,
}

impl HeldReads {
    /// Waits until one more read is held.
    pub async fn one_more(&self) {
        if let Ok(permit) = self.gate.arrived.acquire().await {
            permit.forget();
        }
    }

    /// Lets them go.
    pub fn release(self) {
        self.gate.open.close();
    }
}

#[derive(Debug, Default)]
struct StoredRun {
    epoch: u64,
    batches: Vec<EncodedEvents>,
    events_forgotten: bool,
}

impl StoredRun {
    fn has_ended(&self) -> bool {
        self.batches.last().is_some_and(EncodedEvents::is_terminal)
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Commits events under an epoch. A batch need not touch the one before: the writer may have jumped.
    ///
    /// # Panics
    /// If the events or the epoch go backwards: the test is wrong.
    pub fn commit_events(&self, run: RunId, epoch: u64, events: EncodedEvents) {
        let mut runs = self.runs();
        let stored = runs.entry(run).or_default();
        let next_seq = stored.batches.last().map_or(0, |batch| batch.last_seq() + 1);
        assert!(
            events.first_seq() >= next_seq && epoch >= stored.epoch,
            "a test commits in order"
        );
        stored.epoch = epoch;
        stored.batches.push(events);
    }

    /// Whether reads fail from now on.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// Holds every read from now on until the answer's release: each answers what was true when it was asked.
    pub fn hold_reads(&self) -> HeldReads {
        let gate = Arc::new(Gate {
            arrived: Semaphore::new(0),
            open: Semaphore::new(0),
        });
        *self.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&gate));
        HeldReads { gate }
    }

    /// Calls of [`Store::run`] and [`Store::events`] so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, StoredRun>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass_gate(&self) {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(gate) = gate {
            gate.arrived.add_permits(1);
            // Closed is open.
            let _ = gate.open.acquire().await;
        }
    }

    fn stored_events(&self, run: RunId, after: Option<u64>, max_bytes: usize) -> Vec<EncodedEvents> {
        let runs = self.runs();
        let Some(stored) = runs.get(&run).filter(|stored| !stored.events_forgotten) else {
            return Vec::new();
        };
        let next = after.map_or(0, |after| after + 1);
        let from = stored.batches.partition_point(|batch| batch.last_seq() < next);
        let mut bytes = 0;
        let mut page = Vec::new();
        for batch in stored.batches[from..].iter().filter_map(|batch| batch.after(after)) {
            bytes += batch.bytes().len();
            page.push(batch);
            if bytes >= max_bytes {
                break;
            }
        }
        page
    }

    fn count_read(&self) -> Result<(), StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("the test has broken it".into()));
        }
        Ok(())
    }
}

fn record(id: RunId, stored: &StoredRun) -> RunRecord {
    let next_seq = stored.batches.last().map_or(0, |batch| batch.last_seq() + 1);
    RunRecord {
        id,
        account: AccountId::local(),
        tier: "local".into(),
        state: if stored.has_ended() {
            RunState::Completed
        } else {
            RunState::Running
        },
        epoch: stored.epoch,
        spec: Arc::new(RunSpec {
            agent: None,
            model: "none".into(),
            fallback_models: Vec::new(),
            instructions: None,
            tools: Vec::new(),
            model_options: serde_json::Map::new(),
            metadata: std::collections::BTreeMap::new(),
            history: crate::spec::HistorySettings::default(),
            limits: RunLimits {
                max_steps: 1,
                max_output_tokens: None,
                max_total_tokens: None,
                max_cost_usd: None,
                deadline_seconds: 1,
            },
        }),
        thread: None,
        error: None,
        waiting: None,
        calls: CallLedger::default(),
        progress: RunProgress::default(),
        next_seq,
        reserved_seq: next_seq,
        created_at: Timestamp::from_micros(0),
        started_at: None,
        ended_at: None,
        queue_deadline: None,
        events_forgotten: stored.events_forgotten,
    }
}

fn events_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("this store has events only".into()))
}

#[async_trait]
impl Store for MemoryStore {
    async fn create_run(&self, _run: NewRun) -> Result<Creation, StoreError> {
        events_only()
    }

    async fn find_idempotent(
        &self,
        _account: &AccountId,
        _idempotency: &Idempotency,
    ) -> Result<Option<Creation>, StoreError> {
        events_only()
    }

    async fn claim_run(&self, _claim: ClaimRun) -> Result<Claim, StoreError> {
        events_only()
    }

    async fn commit(&self, _commit: RunCommit) -> Result<(), StoreError> {
        events_only()
    }

    async fn update_parked_run(&self, _update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        events_only()
    }

    async fn runs_with_overdue_calls(
        &self,
        _now: Timestamp,
        _after: Option<OverduePlace>,
        _limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError> {
        events_only()
    }

    async fn fail_abandoned_run(
        &self,
        _run: RunId,
        _epoch: u64,
        _error: RunError,
    ) -> Result<Option<EncodedEvents>, StoreError> {
        events_only()
    }

    async fn recover(&self, _instance: InstanceId) -> Result<Recovered, StoreError> {
        events_only()
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        self.count_read()?;
        let found = self.runs().get(&run).map(|stored| record(run, stored));
        self.pass_gate().await;
        Ok(found)
    }

    async fn list_runs(&self, _query: RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        events_only()
    }

    async fn runs_waiting_for_budget(
        &self,
        _after: Option<RunId>,
        _limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError> {
        events_only()
    }

    async fn items(&self, _run: RunId, _after: Option<u32>, _limit: u32) -> Result<ItemPage<(u32, Item)>, StoreError> {
        events_only()
    }

    async fn newest_items(
        &self,
        _run: RunId,
        _before: Option<u32>,
        _limit: u32,
    ) -> Result<Vec<(u32, Item)>, StoreError> {
        events_only()
    }

    async fn events(&self, run: RunId, after: Option<u64>, max_bytes: usize) -> Result<Vec<EncodedEvents>, StoreError> {
        self.count_read()?;
        let page = self.stored_events(run, after, max_bytes);
        self.pass_gate().await;
        Ok(page)
    }

    async fn forget_idempotency_keys(&self, _created_before: Timestamp) -> Result<u64, StoreError> {
        events_only()
    }

    async fn archive_ended(&self, _ended_before: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        events_only()
    }

    /// Of all runs that have ended, whenever that was.
    async fn forget_events(&self, _ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut runs = self.runs();
        let kept = runs
            .values_mut()
            .filter(|stored| stored.has_ended() && !stored.events_forgotten);
        let mut forgotten = 0;
        for stored in kept.take(limit as usize) {
            stored.events_forgotten = true;
            forgotten += 1;
        }
        Ok(forgotten)
    }

    async fn create_key(&self, _key: KeyRecord) -> Result<(), StoreError> {
        events_only()
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        events_only()
    }

    async fn revoke_key(&self, _key: KeyId, _at: Timestamp) -> Result<bool, StoreError> {
        events_only()
    }

    async fn find_key(&self, _secret_hash: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        events_only()
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        events_only()
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.count_read()
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage::default()
    }
}
