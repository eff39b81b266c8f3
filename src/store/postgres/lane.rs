//! A writer lane: takes what has gathered, commits it as one transaction, then answers each caller.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use callboard_actors::ports::StoreError;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::decide::decide;
use super::failure::store_error;
use super::fleet::notices::Notices;
use super::open::Connector;
use super::pool::within_patience;
use super::write::{Answer, PendingWrite, Write};
use super::{read_set, write_set};
use crate::store::activity::Activity;

/// How often a batch is tried before each of its writes is tried alone.
const BATCH_ATTEMPTS: u32 = 3;

const ADD_ACCOUNTS: &str = "INSERT INTO accounts (account, tier, slot_limit) \
     SELECT new.account, new.tier, (SELECT concurrent_runs FROM tiers WHERE tiers.name = new.tier) \
     FROM unnest($1::text[], $2::text[]) AS new (account, tier) ORDER BY new.account ON CONFLICT (account) DO NOTHING";
const ADD_LANE: &str = "INSERT INTO writer_lanes (id, batch) VALUES ($1, 0) ON CONFLICT (id) DO NOTHING";
/// The row may have been forgotten, if the lane had nothing to do for days.
const NAME_BATCH: &str = "INSERT INTO writer_lanes (id, batch, written_at) VALUES ($1, $2, clock_timestamp()) \
                          ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, written_at = excluded.written_at";
/// Waits for a transaction whose answer was lost, if it still runs.
const LAST_BATCH: &str = "SELECT batch FROM writer_lanes WHERE id = $1 FOR UPDATE";
const REMOVE_LANE: &str = "DELETE FROM writer_lanes WHERE id = $1";

/// Accounts that a lane remembers as known to the database.
const KNOWN_ACCOUNTS: usize = 10_000;

type Outcome = Result<Answer, StoreError>;

/// What a lane's task owns.
pub(super) struct Lane {
    id: Uuid,
    connect: Connector,
    connection: Option<PgConnection>,
    notices: Notices,
    activity: Arc<Activity>,
    commit_batch: usize,
    batch: i64,
    /// Accounts that have a row: they are never removed.
    known: BTreeSet<String>,
}

/// How a transaction failed.
enum Failure {
    /// Nothing of it was kept.
    RolledBack(StoreError),
    /// It may have been kept: the answer to its `COMMIT` was lost.
    Unknown(StoreError, Vec<Outcome>),
}

impl Lane {
    pub(super) fn new(connect: Connector, notices: Notices, activity: Arc<Activity>, commit_batch: usize) -> Self {
        Self {
            id: Uuid::now_v7(),
            connect,
            connection: None,
            notices,
            activity,
            commit_batch: commit_batch.max(1),
            batch: 0,
            known: BTreeSet::new(),
        }
    }

    /// Until the inbox is closed and empty.
    pub(super) async fn serve(mut self, mut inbox: mpsc::Receiver<PendingWrite>) {
        let mut pending = Vec::new();
        while inbox.recv_many(&mut pending, self.commit_batch).await > 0 {
            self.activity.writers_busy.fetch_add(1, Ordering::Relaxed);
            let taken = std::mem::take(&mut pending);
            let (writes, waiting): (Vec<_>, Vec<_>) = taken
                .into_iter()
                .map(|write| (write.write, (write.reply, write.waiting)))
                .unzip();
            let outcomes = self.write_all(&writes.iter().collect::<Vec<_>>()).await;
            self.activity.writers_busy.fetch_sub(1, Ordering::Relaxed);
            for ((reply, _waiting), outcome) in waiting.into_iter().zip(outcomes) {
                // Whoever asked may be gone; the write stands.
                let _ = reply.send(outcome);
            }
        }
        self.leave().await;
    }

    async fn write_all(&mut self, writes: &[&Write]) -> Vec<Outcome> {
        let written = self.write_batch(writes).await;
        match &written {
            Ok(_) => self.activity.written.succeeds(),
            // While nobody can connect, that is said instead.
            Err(StoreError::Unavailable(reason))
                if self.connection.is_some() || self.activity.reached.reason().is_none() =>
            {
                self.activity.written.fails(reason);
            }
            Err(_) => {}
        }
        match written {
            Ok(outcomes) => outcomes,
            Err(error) if writes.len() == 1 || matches!(error, StoreError::Unavailable(_)) => {
                writes.iter().map(|_| Err(error.clone())).collect()
            }
            Err(_) => {
                let mut outcomes = Vec::with_capacity(writes.len());
                for write in writes {
                    let alone = self.write_batch(&[*write]).await;
                    outcomes.push(alone.and_then(|mut one| one.pop().unwrap_or_else(|| Err(lost()))));
                }
                outcomes
            }
        }
    }

    /// Tries again after a conflict with another lane, and finds out what became of a commit whose answer was lost.
    async fn write_batch(&mut self, writes: &[&Write]) -> Result<Vec<Outcome>, StoreError> {
        let mut last = lost();
        for _ in 0..BATCH_ATTEMPTS {
            match self.transaction(writes).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(Failure::RolledBack(error)) => last = error,
                Err(Failure::Unknown(error, outcomes)) => {
                    if self.was_committed().await? {
                        return Ok(outcomes);
                    }
                    last = error;
                }
            }
        }
        Err(last)
    }

    async fn transaction(&mut self, writes: &[&Write]) -> Result<Vec<Outcome>, Failure> {
        self.batch += 1;
        let batch = self.batch;
        self.connect().await.map_err(Failure::RolledBack)?;
        self.add_accounts(writes).await.map_err(Failure::RolledBack)?;
        let connection = self.connection.as_mut().ok_or_else(|| Failure::RolledBack(lost()))?;
        let mut decided = None;
        let running = run(self.id, batch, writes, connection, &mut decided, &self.activity);
        let error = match within_patience(running).await {
            Ok(()) => {
                let decided = decided.ok_or_else(|| Failure::RolledBack(lost()))?;
                if decided.claimable {
                    self.notices.claimable();
                }
                return Ok(decided.outcomes);
            }
            Err(error) => error,
        };
        // So that a transaction that failed half way is never gone on with.
        self.give_up_connection();
        Err(match decided {
            Some(decided) if decided.is_unknown => Failure::Unknown(error, decided.outcomes),
            _ => Failure::RolledBack(error),
        })
    }

    async fn connect(&mut self) -> Result<(), StoreError> {
        if self.connection.is_some() {
            return Ok(());
        }
        let mut connection = self.connect.connect().await.map_err(store_error)?;
        let add = sqlx::query(ADD_LANE).bind(self.id.as_bytes().to_vec());
        within_patience(async { add.execute(&mut connection).await.map_err(store_error) }).await?;
        self.activity.writers_open.fetch_add(1, Ordering::Relaxed);
        self.connection = Some(connection);
        Ok(())
    }

    /// In a transaction of their own: a new row waits for another that adds the same, and must hold no lock meanwhile.
    async fn add_accounts(&mut self, writes: &[&Write]) -> Result<(), StoreError> {
        let mut missing = BTreeMap::new();
        for write in writes {
            if let Some((account, tier)) = write.newcomer()
                && !self.known.contains(account.as_str())
            {
                missing.insert(account.as_str().to_owned(), tier.to_owned());
            }
        }
        let Some(connection) = self.connection.as_mut().filter(|_| !missing.is_empty()) else {
            return Ok(());
        };
        let (accounts, tiers): (Vec<String>, Vec<String>) = missing.into_iter().unzip();
        self.activity.count_statements(1);
        let add = sqlx::query(ADD_ACCOUNTS).bind(&accounts).bind(&tiers);
        let added = within_patience(async { add.execute(connection).await.map_err(store_error) }).await;
        if let Err(error) = added {
            self.give_up_connection();
            return Err(error);
        }
        if self.known.len() > KNOWN_ACCOUNTS {
            self.known.clear();
        }
        self.known.extend(accounts);
        Ok(())
    }

    async fn was_committed(&mut self) -> Result<bool, StoreError> {
        self.connect().await?;
        let connection = self.connection.as_mut().ok_or_else(lost)?;
        let last = sqlx::query_scalar(LAST_BATCH).bind(self.id.as_bytes().to_vec());
        let last = within_patience(async { last.fetch_optional(connection).await.map_err(store_error) }).await;
        if last.is_err() {
            self.give_up_connection();
        }
        let last: Option<i64> = last?;
        Ok(last == Some(self.batch))
    }

    /// Dropped, not closed: closing well may take as long as what failed. The server rolls back.
    fn give_up_connection(&mut self) {
        if self.connection.take().is_some() {
            self.activity.writers_open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn leave(mut self) {
        if let Some(mut connection) = self.connection.take() {
            self.activity.writers_open.fetch_sub(1, Ordering::Relaxed);
            let remove = sqlx::query(REMOVE_LANE).bind(self.id.as_bytes().to_vec());
            // The lane's row is of no use to anyone and does no harm.
            let _ = remove.execute(&mut connection).await;
            let _ = connection.close().await;
        }
    }
}

/// What a transaction has come to.
struct Decided {
    outcomes: Vec<Outcome>,
    /// Some queued run may be able to start because of it.
    claimable: bool,
    /// The server was told to commit and has not answered.
    is_unknown: bool,
}

/// A transaction. `decided` is filled on the way, for whoever loses patience.
async fn run(
    lane: Uuid,
    batch: i64,
    writes: &[&Write],
    connection: &mut PgConnection,
    decided: &mut Option<Decided>,
    activity: &Activity,
) -> Result<(), StoreError> {
    let started = Instant::now();
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let mut picture = read_set::read(writes, &mut transaction, activity).await?;
    let decided = decided.insert(Decided {
        outcomes: writes.iter().map(|write| decide(write, &mut picture)).collect(),
        claimable: picture.makes_claimable(),
        is_unknown: false,
    });
    if write_set::is_empty(&picture) {
        transaction.rollback().await.map_err(store_error)?;
        return Ok(());
    }
    write_set::write(&picture, &mut transaction, activity).await?;
    activity.count_statements(1);
    let name = sqlx::query(NAME_BATCH).bind(lane.as_bytes().to_vec()).bind(batch);
    name.execute(&mut *transaction).await.map_err(store_error)?;
    decided.is_unknown = true;
    if let Err(error) = transaction.commit().await {
        decided.is_unknown = !says_it_has_not_committed(&error);
        return Err(store_error(error));
    }
    activity.count_commit();
    metrics::histogram!("callboard_store_commit_seconds").record(started.elapsed().as_secs_f64());
    metrics::histogram!("callboard_store_batch_size").record(writes.len() as f64);
    Ok(())
}

/// A server that is being stopped (class 57) may have committed before it says so.
fn says_it_has_not_committed(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| !code.starts_with("57"))
}

fn lost() -> StoreError {
    StoreError::Unavailable("the database did not take the write".into())
}
