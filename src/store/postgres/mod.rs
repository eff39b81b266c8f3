//! The shared store: one Postgres database for any number of instances.
//!
//! Writes of runs go through lanes: each gathers what has come, locks the rows it needs (accounts by name, then runs by id: one order
//! everywhere, so that lanes wait for each other and never in a circle), decides each write in memory, and writes all of them with a few
//! statements. A quota is exact because the account's counters change under its row's lock. Plain SQL: no functions, no triggers.

mod agents;
mod archive;
mod budgets;
mod decide;
mod direct;
mod failure;
mod files;
mod fleet;
mod lane;
pub(in crate::store) mod open;
mod picture;
mod pool;
mod read_set;
mod reads;
mod rows;
mod threads;
mod write;
mod write_set;

#[cfg(test)]
mod tests;

use std::hash::{DefaultHasher, Hash, Hasher};
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
use tokio::sync::{mpsc, oneshot};

use crate::store::activity::{Activity, WaitingWrite};
use crate::store::repeated::answer_fenced;
use crate::store::{api_keys, items, runs};
use budgets::Desks;
use fleet::notices::Notices;
use lane::Lane;
pub use open::{PostgresOpenError, PostgresOptions, check_url};
use pool::{Pool, within_patience};
use reads::Readers;
use write::{Answer, FailAbandonedRun, PendingWrite, Write};

/// A cheap handle; the lanes end when the last one is dropped.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    lanes: Arc<[mpsc::Sender<PendingWrite>]>,
    readers: Readers,
    /// Connections for leases, claims and whatever else must not wait behind readers.
    control: Pool,
    notices: Notices,
    desks: Desks,
    activity: Arc<Activity>,
}

impl PostgresStore {
    /// Connects, migrates the database if it must, and starts the lanes on `runtime`, which must also be the one that calls it.
    pub async fn open(options: PostgresOptions, runtime: &Handle) -> Result<Self, PostgresOpenError> {
        let activity = Arc::new(Activity::default());
        let opened = open::open(&options, &activity).await?;
        let notices = Notices::start(opened.channel, opened.control.clone(), opened.connect.clone(), runtime);
        let lanes = (0..opened.lanes).map(|_| {
            let (sender, inbox) = mpsc::channel(options.inbox.max(1));
            let lane = Lane::new(
                opened.connect.clone(),
                notices.clone(),
                activity.clone(),
                options.commit_batch,
            );
            runtime.spawn(lane.serve(inbox));
            sender
        });
        Ok(Self {
            lanes: lanes.collect(),
            readers: Readers::new(opened.readers, activity.clone()),
            control: opened.control,
            notices,
            desks: Desks::new(),
            activity,
        })
    }

    /// Closes the connections that no lane has. Lanes end with the last handle.
    pub async fn close(&self) {
        tokio::join!(self.control.inner().close(), self.readers.pool().inner().close());
    }

    /// Returns when the write is durable or refused. `Unavailable` at once if too many are waiting.
    async fn submit(&self, write: Write) -> Result<Answer, StoreError> {
        let mut hasher = DefaultHasher::new();
        match write.account() {
            Some(account) => account.hash(&mut hasher),
            None => write.run().hash(&mut hasher),
        }
        let lane = usize::try_from(hasher.finish() % self.lanes.len() as u64).unwrap_or(0);
        let (reply, answer) = oneshot::channel();
        let pending = PendingWrite {
            write,
            reply,
            waiting: WaitingWrite::new(self.activity.clone()),
        };
        self.lanes[lane].try_send(pending).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => self.activity.has_no_room("too many writes wait"),
            mpsc::error::TrySendError::Closed(_) => closed(),
        })?;
        self.activity.roomy.succeeds();
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

fn unexpected<T>() -> Result<T, StoreError> {
    Err(StoreError::Damaged("a write was answered as another kind".into()))
}

#[async_trait]
impl Store for PostgresStore {
    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError> {
        match self.submit(Write::Create(Box::new(run))).await? {
            Answer::Creation(creation) => Ok(creation),
            _ => unexpected(),
        }
    }

    async fn find_idempotent(
        &self,
        account: &AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<Creation>, StoreError> {
        self.readers.find_idempotent(account, idempotency).await
    }

    async fn claim_run(&self, claim: ClaimRun) -> Result<Claim, StoreError> {
        match self.submit(Write::Claim(claim)).await? {
            Answer::Claim(claim) => Ok(claim),
            _ => unexpected(),
        }
    }

    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError> {
        let (run, events) = (commit.run, commit.events.clone());
        match self.submit(Write::Commit(Box::new(commit))).await {
            Ok(Answer::Committed) => Ok(()),
            Ok(_) => unexpected(),
            Err(StoreError::Fenced) => answer_fenced(self, run, events).await,
            Err(error) => Err(error),
        }
    }

    async fn update_parked_run(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
        match self.submit(Write::Parked(update)).await? {
            Answer::Parked(outcome) => Ok(outcome),
            _ => unexpected(),
        }
    }

    async fn fail_abandoned_run(
        &self,
        run: RunId,
        epoch: u64,
        error: RunError,
    ) -> Result<Option<EncodedEvents>, StoreError> {
        let at = Timestamp::now();
        let fail = FailAbandonedRun { run, epoch, error, at };
        match self.submit(Write::FailAbandoned(fail)).await? {
            Answer::Abandoned(events) => Ok(events),
            _ => unexpected(),
        }
    }

    async fn recover(&self, instance: InstanceId) -> Result<Recovered, StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let recovered = direct::recover(&mut lent, instance).await;
        lent.give_back(recovered)
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

    async fn forget_idempotency_keys(&self, created_before: Timestamp) -> Result<u64, StoreError> {
        direct::forget_idempotency_keys(self.readers.pool(), created_before).await
    }

    async fn archive_ended(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        archive::archive_ended(self.readers.pool(), &self.activity, ended_before, limit).await
    }

    async fn forget_events(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        archive::forget_events(self.readers.pool(), &self.activity, ended_before, limit).await
    }

    async fn create_key(&self, key: KeyRecord) -> Result<(), StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let created = within_patience(direct::create_key(&mut lent, &key)).await;
        lent.give_back(created)?;
        self.notices.keys_changed().await;
        // The account may be of another tier now.
        self.notices.claimable();
        Ok(())
    }

    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        api_keys::list(&self.readers).await
    }

    async fn revoke_key(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError> {
        let revoked = direct::revoke_key(self.readers.pool(), key, at).await?;
        self.notices.keys_changed().await;
        Ok(revoked)
    }

    async fn find_key(&self, secret_hash: [u8; 32]) -> Result<Option<KeyRecord>, StoreError> {
        api_keys::find(&self.readers, &secret_hash).await
    }

    async fn has_keys(&self) -> Result<bool, StoreError> {
        api_keys::are_there(&self.readers).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let answer = within_patience(direct::ping(&mut lent, &self.activity)).await;
        lent.give_back(answer)
    }

    fn usage(&self) -> StoreUsage {
        let lanes = u32::try_from(self.lanes.len()).unwrap_or(u32::MAX);
        self.activity.usage(lanes, self.readers.pool().inner())
    }
}
