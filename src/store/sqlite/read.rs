//! Everything that only looks: on connections of its own, so that no reader waits for a commit and no commit for a reader.

use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::{AccountId, RunId, ThreadId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{KeyRecord, OverduePlace, OverdueRun, RunQuery, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use futures::TryStreamExt;
use sqlx::sqlite::{SqlitePool, SqliteRow};
use uuid::Uuid;

use super::failure::store_error;
use super::rows::{self, IdBytes, run_columns, signed};
use super::transaction::Statement;
use crate::store::activity::Activity;
use crate::store::archive;
use crate::store::reading::reads_rows;

const RUN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = ?"
);

/// One text for each state, because a partial index serves only a query that names its state.
macro_rules! list_runs {
    ($filter:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.account = ? AND runs.id < ?",
            $filter,
            " ORDER BY runs.id DESC LIMIT ?"
        )
    };
}

/// In the order of the thread, which is that of its index. The cursor is a run of it, or above all there are.
const LIST_RUNS_OF_THREAD: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = ?1 AND runs.thread_id = ?2 AND runs.state = COALESCE(?4, runs.state) \
       AND runs.thread_position < COALESCE((SELECT thread_position FROM runs WHERE id = ?3), 9223372036854775807) \
     ORDER BY runs.thread_position DESC LIMIT ?5"
);

/// The condition of its index, word for word.
pub(super) const WAITING_FOR_BUDGET: &str = "SELECT id, account FROM runs WHERE state = 'waiting' AND waiting = '\"budget\"' \
                                  AND id > ? ORDER BY id LIMIT ?";

/// The condition of its index, word for word.
pub(super) const WITH_CALLS_DUE: &str = "SELECT id, calls, calls_deadline FROM runs \
     WHERE state = 'waiting' AND calls_deadline IS NOT NULL AND calls_deadline <= ? AND (calls_deadline, id) > (?, ?) \
     ORDER BY calls_deadline, id LIMIT ?";

const EVENTS: &str =
    "SELECT last_seq, frames, encoding FROM event_batches WHERE run_id = ? AND last_seq > ? ORDER BY last_seq";

const UNARCHIVED_EVENTS: &str = "SELECT last_seq, frames, encoding FROM event_batches \
                                 WHERE run_id = ? AND last_seq > ? AND encoding = 0 ORDER BY last_seq";

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT api_keys.id, api_keys.account, accounts.tier, api_keys.secret_hash, api_keys.last_four, \
             api_keys.is_admin, api_keys.created_at, api_keys.revoked_at \
             FROM api_keys JOIN accounts ON accounts.account = api_keys.account ",
            $rest
        )
    };
}

const HAS_KEYS: &str = "SELECT 1 FROM api_keys LIMIT 1";

/// The pool of connections that only read.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    pool: SqlitePool,
    activity: Arc<Activity>,
}

reads_rows!(Readers, SqliteRow);

impl Readers {
    pub(super) fn new(pool: SqlitePool, activity: Arc<Activity>) -> Self {
        Self { pool, activity }
    }

    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<SqliteRow>, StoreError> {
        self.activity.count_statements(1);
        self.told(statement.fetch_optional(&self.pool).await)
    }

    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<SqliteRow>, StoreError> {
        self.activity.count_statements(1);
        self.told(statement.fetch_all(&self.pool).await)
    }

    fn told<T>(&self, answer: sqlx::Result<T>) -> Result<T, StoreError> {
        match answer {
            Err(sqlx::Error::PoolTimedOut) => {
                Err(self.activity.has_no_room("no reader connection became free in time"))
            }
            answer => {
                self.activity.roomy.succeeds();
                let answer = answer.map_err(store_error);
                match &answer {
                    Ok(_) => self.activity.answered.succeeds(),
                    Err(StoreError::Unavailable(reason)) => self.activity.answered.fails(reason),
                    Err(_) => {}
                }
                answer
            }
        }
    }

    pub(super) async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = self.row(sqlx::query(RUN).bind(run.id_bytes())).await?;
        row.as_ref().map(rows::run_record).transpose()
    }

    pub(super) async fn list_runs(&self, query: &RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        let text = match query.state {
            None => list_runs!(""),
            Some(RunState::Queued) => list_runs!(" AND runs.state = 'queued'"),
            Some(RunState::Running) => list_runs!(" AND runs.state = 'running'"),
            Some(RunState::Waiting) => list_runs!(" AND runs.state = 'waiting'"),
            Some(RunState::Completed) => list_runs!(" AND runs.state = 'completed'"),
            Some(RunState::Failed) => list_runs!(" AND runs.state = 'failed'"),
            Some(RunState::Cancelled) => list_runs!(" AND runs.state = 'cancelled'"),
        };
        if let Some(thread) = query.thread {
            return self.list_runs_of_thread(thread, query).await;
        }
        // Above every id there can be.
        let before = query.before.unwrap_or(RunId::from_uuid(Uuid::max()));
        let statement = sqlx::query(text)
            .bind(query.account.as_str())
            .bind(before.id_bytes())
            .bind(query.limit);
        self.rows(statement).await?.iter().map(rows::run_record).collect()
    }

    async fn list_runs_of_thread(&self, thread: ThreadId, query: &RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        let before = query.before.unwrap_or(RunId::from_uuid(Uuid::max()));
        let state = query.state.map(RunState::as_str);
        let statement = sqlx::query(LIST_RUNS_OF_THREAD)
            .bind(query.account.as_str())
            .bind(thread.id_bytes())
            .bind(before.id_bytes())
            .bind(state)
            .bind(query.limit);
        self.rows(statement).await?.iter().map(rows::run_record).collect()
    }

    pub(super) async fn runs_waiting_for_budget(
        &self,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError> {
        // Below every id there is.
        let after = after.unwrap_or(RunId::from_uuid(Uuid::nil()));
        let statement = sqlx::query(WAITING_FOR_BUDGET).bind(after.id_bytes()).bind(limit);
        let found = self.rows(statement).await?;
        let runs = found.iter().map(|row| Ok((rows::run_id(row)?, rows::account(row)?)));
        runs.collect()
    }

    pub(super) async fn runs_with_overdue_calls(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError> {
        // Before every place there is.
        let first = (i64::MIN, RunId::from_uuid(Uuid::nil()));
        let (deadline, run) = after.map_or(first, |after| (after.deadline.as_micros(), after.run));
        let statement = sqlx::query(WITH_CALLS_DUE)
            .bind(now.as_micros())
            .bind(deadline)
            .bind(run.id_bytes())
            .bind(limit);
        self.rows(statement).await?.iter().map(rows::overdue_run).collect()
    }

    /// Whole batches; only the first is cut, if `after` lies within it.
    pub(super) async fn events(
        &self,
        run: RunId,
        after: Option<u64>,
        max_bytes: usize,
    ) -> Result<Vec<EncodedEvents>, StoreError> {
        self.batches(EVENTS, run, after, max_bytes).await
    }

    /// What of the run is to be archived next, above `after`.
    pub(super) async fn unarchived_events(
        &self,
        run: RunId,
        after: Option<u64>,
    ) -> Result<Vec<EncodedEvents>, StoreError> {
        self.batches(UNARCHIVED_EVENTS, run, after, archive::BYTES_AT_ONCE)
            .await
    }

    async fn batches(
        &self,
        text: &'static str,
        run: RunId,
        after: Option<u64>,
        max_bytes: usize,
    ) -> Result<Vec<EncodedEvents>, StoreError> {
        self.activity.count_statements(1);
        let mut batches = Vec::new();
        let mut bytes = 0;
        let mut stored = sqlx::query(text)
            .bind(run.id_bytes())
            .bind(after.map_or(-1, signed))
            .fetch(&self.pool);
        while let Some(row) = stored.try_next().await.map_err(store_error)? {
            let Some(batch) = rows::events(&row)?.after(after) else {
                continue;
            };
            bytes += batch.bytes().len();
            batches.push(batch);
            if bytes >= max_bytes {
                break;
            }
        }
        Ok(batches)
    }

    pub(super) async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let statement = sqlx::query(select_keys!("ORDER BY api_keys.id"));
        self.rows(statement).await?.iter().map(rows::key_record).collect()
    }

    pub(super) async fn find_key(&self, secret_hash: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
        let statement = sqlx::query(select_keys!("WHERE api_keys.secret_hash = ?")).bind(secret_hash);
        self.row(statement).await?.as_ref().map(rows::key_record).transpose()
    }

    pub(super) async fn has_keys(&self) -> Result<bool, StoreError> {
        Ok(self.row(sqlx::query(HAS_KEYS)).await?.is_some())
    }
}
