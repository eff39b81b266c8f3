//! A store and a log that can be told what to do.

use std::sync::Arc;

use async_trait::async_trait;
use callboard::store::sqlite::SqliteStore;
use callboard::stream::memory::MemoryEventLog;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, KeyId, RunId};
use callboard_actors::item::Item;
use callboard_actors::ports::event_log::Reach;
use callboard_actors::ports::store::*;
use callboard_actors::ports::{EventLog, EventLogError, EventStream, LogHead, StoreError};
use callboard_actors::time::Timestamp;

/// What comes between the actors and the store. Each hook may wait, or panic; by itself it does nothing.
#[async_trait]
pub(crate) trait Script: Send + Sync + 'static {
    /// `Some` is the answer, and the store is not asked.
    async fn before_create(&self, _run: &NewRun) -> Option<Result<Creation, StoreError>> {
        None
    }

    async fn before_commit(&self, _commit: &RunCommit) {}

    async fn before_parked_update(&self, _update: &ParkedUpdate) {}

    /// `Some` is the answer, and the store is not asked.
    async fn instead_of_parked_update(&self, _update: &ParkedUpdate) -> Option<StoreError> {
        None
    }

    /// When the store has answered, before anyone hears of it.
    async fn after_parked_update(&self) {}

    /// Before a run is read.
    async fn before_run(&self) {}

    /// Before a page of items is read.
    async fn before_items(&self) {}

    /// What the log says of its reach.
    fn reach(&self) -> Option<Reach> {
        None
    }

    /// `Some` is the answer, and nothing is appended.
    async fn before_append(&self) -> Option<EventLogError> {
        None
    }
}

/// SQLite behind a script.
pub(super) struct ScriptedStore {
    pub(super) inner: SqliteStore,
    pub(super) script: Arc<dyn Script>,
}

/// The log of one instance behind a script.
pub(super) struct ScriptedLog {
    pub(super) inner: MemoryEventLog,
    pub(super) script: Arc<dyn Script>,
}

/// Does nothing.
pub(super) struct NoScript;

impl Script for NoScript {}

#[async_trait]
impl Store for ScriptedStore {
    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError> {
        self.script.before_commit(&commit).await;
        self.inner.commit(commit).await
    }

    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError> {
        match self.script.before_create(&run).await {
            Some(answer) => answer,
            None => self.inner.create_run(run).await,
        }
    }

    async fn find_idempotent(&self, account: &AccountId, key: &Idempotency) -> Result<Option<Creation>, StoreError> {
        self.inner.find_idempotent(account, key).await
    }

    async fn claim_run(&self, claim: ClaimRun) -> Result<Claim, StoreError> {
        self.inner.claim_run(claim).await
    }

    async fn update_parked_run(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        self.script.before_parked_update(&update).await;
        if let Some(error) = self.script.instead_of_parked_update(&update).await {
            return Err(error);
        }
        let answer = self.inner.update_parked_run(update).await;
        self.script.after_parked_update().await;
        answer
    }

    async fn runs_with_overdue_calls(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError> {
        self.inner.runs_with_overdue_calls(now, after, limit).await
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
        self.script.before_run().await;
        self.inner.run(run).await
    }

    async fn list_runs(&self, query: RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        self.inner.list_runs(query).await
    }

    async fn runs_waiting_for_budget(
        &self,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError> {
        self.inner.runs_waiting_for_budget(after, limit).await
    }

    async fn items(&self, run: RunId, after: Option<u32>, limit: u32) -> Result<ItemPage<(u32, Item)>, StoreError> {
        self.script.before_items().await;
        self.inner.items(run, after, limit).await
    }

    async fn newest_items(&self, run: RunId, before: Option<u32>, limit: u32) -> Result<Vec<(u32, Item)>, StoreError> {
        self.inner.newest_items(run, before, limit).await
    }

    async fn events(&self, run: RunId, after: Option<u64>, bytes: usize) -> Result<Vec<EncodedEvents>, StoreError> {
        self.inner.events(run, after, bytes).await
    }

    async fn forget_idempotency_keys(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.forget_idempotency_keys(before).await
    }

    async fn archive_ended(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.inner.archive_ended(ended_before, limit).await
    }

    async fn forget_events(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.inner.forget_events(ended_before, limit).await
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
        Store::usage(&self.inner)
    }
}

#[async_trait]
impl EventLog for ScriptedLog {
    async fn append(&self, run: RunId, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError> {
        match self.script.before_append().await {
            Some(error) => Err(error),
            None => self.inner.append(run, epoch, events).await,
        }
    }

    fn mark_durable(&self, run: RunId, seq: u64) {
        self.inner.mark_durable(run, seq);
    }

    async fn head(&self, run: RunId) -> Result<Option<LogHead>, EventLogError> {
        self.inner.head(run).await
    }

    async fn read(&self, run: RunId, after: Option<u64>, limit: u64) -> Result<Vec<EncodedEvents>, EventLogError> {
        self.inner.read(run, after, limit).await
    }

    fn release(&self, run: RunId) {
        self.inner.release(run);
    }

    fn reach(&self) -> Option<Reach> {
        self.script.reach()
    }

    fn follow(&self, run: RunId, after: Option<u64>) -> EventStream {
        self.inner.follow(run, after)
    }
}
