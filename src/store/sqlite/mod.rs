//! The embedded store: one SQLite file, nothing to install.
//!
//! SQLite has one writer at a time, so there is one here: a task that owns the only writing connection, commits what has gathered as
//! one transaction and answers each caller after the commit (group commit: one `fsync` for many). Reads have connections of their own.
//! A write that is refused leaves no trace and does not disturb the others of its batch: its first statement is its guard, and all that
//! follow hang on that guard. A write that *breaks* (a bug, damaged data) takes the transaction with it; then each write of the batch
//! gets a transaction of its own, so that only the broken one fails.
//!
//! Not here: Permits, queues, retries. Whoever is answered `Unavailable` decides when to come again.

mod agents;
mod archive;
mod budgets;
mod checkpoint;
mod claim;
mod commit;
mod create;
mod failure;
mod files;
mod keys;
pub(in crate::store) mod open;
mod parked;
mod read;
mod recover;
mod rows;
mod threads;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, InstanceId, KeyId, RunId};
use callboard_actors::item::Item;
use callboard_actors::ports::store::{
    Claim, ClaimRun, Creation, Idempotency, ItemPage, KeyRecord, NewRun, OverduePlace, OverdueRun, ParkedOutcome,
    ParkedUpdate, Recovered, RunCommit, RunQuery, RunRecord, StoreUsage,
};
use callboard_actors::ports::{Store, StoreError};
use callboard_actors::time::Timestamp;
use tokio::runtime::Handle;

use crate::store::activity::Activity;
use crate::store::repeated::answer_fenced;
use crate::store::{api_keys, items, runs};
use checkpoint::Checkpointer;
use keys::{ForgetIdempotencyKeys, Ping, RevokeKey};
use open::DatabaseLock;
pub use open::{SqliteOptions, StoreOpenError, Synchronous};
use parked::FailAbandonedRun;
use read::Readers;
use recover::Recover;
use writer::{Writer, WriterParts};

/// Idempotency keys forgotten in one transaction: a long one would hold up the runs.
const FORGET_AT_ONCE: u32 = 1000;

/// A cheap handle; dropping the last one closes the database, [`SqliteStore::close`] also waits for it.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    activity: Arc<Activity>,
    /// A server has one; a command that works beside it has none.
    checkpointer: Option<Arc<Checkpointer>>,
}

impl SqliteStore {
    /// Opens the database for a server, creating it if it is missing. No other server can have it until this one is closed. All
    /// its work runs on `runtime`, which must also be the one that calls it.
    pub async fn open(options: SqliteOptions, runtime: &Handle) -> Result<Self, StoreOpenError> {
        open::create_directory(&options.path)?;
        open::private_file(&options.path)?;
        let options = open::with_real_path(options)?;
        let lock = DatabaseLock::acquire(&options).await?;
        Self::start(options, Some(lock), runtime).await
    }

    /// Opens the database beside a server that may be running, for the command line. It must not work on runs.
    pub async fn open_shared(options: SqliteOptions, runtime: &Handle) -> Result<Self, StoreOpenError> {
        open::create_directory(&options.path)?;
        open::private_file(&options.path)?;
        Self::start(options, None, runtime).await
    }

    /// The file is there.
    async fn start(
        options: SqliteOptions,
        lock: Option<DatabaseLock>,
        runtime: &Handle,
    ) -> Result<Self, StoreOpenError> {
        let activity = Arc::new(Activity::default());
        let writer_options = open::writer_options(&options);
        let connection = open::connect_writer(&options, &writer_options).await?;
        let checkpointer = lock
            .is_some()
            .then(|| Arc::new(Checkpointer::start(writer_options.clone(), activity.clone(), runtime)));
        let parts = WriterParts {
            connection,
            path: options.path.clone(),
            options: writer_options,
            activity: activity.clone(),
            lock,
            commit_batch: options.commit_batch,
            inbox: options.inbox,
        };
        let writer = Writer::start(parts, runtime);
        // The pool's own tasks belong to the runtime that it is made on.
        let _entered = runtime.enter();
        let readers = Readers::new(open::readers(&options), activity.clone());
        Ok(Self {
            writer,
            readers,
            activity,
            checkpointer,
        })
    }

    /// Writes what was submitted before, closes all connections and lets go of the file. Later writes are `Unavailable`.
    pub async fn close(&self) {
        self.readers.pool().close().await;
        if let Some(checkpointer) = &self.checkpointer {
            checkpointer.close().await;
        }
        self.writer.close().await;
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError> {
        self.writer.submit(run).await
    }

    async fn find_idempotent(
        &self,
        account: &AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<Creation>, StoreError> {
        create::find_idempotent(&self.readers, account, idempotency).await
    }

    async fn claim_run(&self, claim: ClaimRun) -> Result<Claim, StoreError> {
        self.writer.submit(claim).await
    }

    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError> {
        let (run, events) = (commit.run, commit.events.clone());
        match self.writer.submit(commit).await {
            Err(StoreError::Fenced) => answer_fenced(self, run, events).await,
            answer => answer,
        }
    }

    async fn update_parked_run(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        self.writer.submit(update).await
    }

    async fn fail_abandoned_run(
        &self,
        run: RunId,
        epoch: u64,
        error: RunError,
    ) -> Result<Option<EncodedEvents>, StoreError> {
        let at = Timestamp::now();
        self.writer.submit(FailAbandonedRun { run, epoch, error, at }).await
    }

    async fn recover(&self, instance: InstanceId) -> Result<Recovered, StoreError> {
        self.writer.submit(Recover { instance }).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        runs::run(&self.readers, run).await
    }

    async fn list_runs(&self, query: RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        runs::list(&self.readers, &query).await
    }

    async fn runs_with_overdue_calls(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError> {
        runs::with_overdue_calls(&self.readers, now, after, limit).await
    }

    async fn runs_waiting_for_budget(
        &self,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError> {
        runs::waiting_for_budget(&self.readers, after, limit).await
    }

    async fn items(&self, run: RunId, after: Option<u32>, limit: u32) -> Result<ItemPage<(u32, Item)>, StoreError> {
        items::of_run(&self.readers, run, after, limit).await
    }

    async fn newest_items(&self, run: RunId, before: Option<u32>, limit: u32) -> Result<Vec<(u32, Item)>, StoreError> {
        items::newest_of_run(&self.readers, run, before, limit).await
    }

    async fn events(&self, run: RunId, after: Option<u64>, max_bytes: usize) -> Result<Vec<EncodedEvents>, StoreError> {
        self.readers.events(run, after, max_bytes).await
    }

    /// In transactions of at most 1,000 keys: after an error, some may be forgotten.
    async fn forget_idempotency_keys(&self, created_before: Timestamp) -> Result<u64, StoreError> {
        let mut forgotten = 0;
        loop {
            let part = ForgetIdempotencyKeys {
                created_before,
                limit: FORGET_AT_ONCE,
            };
            let count = self.writer.submit(part).await?;
            forgotten += count;
            if count < u64::from(FORGET_AT_ONCE) {
                return Ok(forgotten);
            }
        }
    }

    async fn archive_ended(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        archive::archive_ended(&self.readers, &self.writer, ended_before, limit).await
    }

    async fn forget_events(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        archive::forget_events(&self.writer, ended_before, limit).await
    }

    async fn create_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        self.writer.submit(key).await
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        api_keys::list(&self.readers).await
    }

    async fn revoke_key(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        self.writer.submit(RevokeKey { key, at }).await
    }

    async fn find_key(&self, secret_hash: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        api_keys::find(&self.readers, &secret_hash).await
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        api_keys::are_there(&self.readers).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.writer.submit(Ping).await
    }

    fn usage(&self) -> StoreUsage {
        self.activity.usage(1, self.readers.pool())
    }
}
