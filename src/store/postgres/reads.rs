//! Everything that only looks, on pooled connections.

use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::{AccountId, RunId, ThreadId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{Creation, Idempotency, KeyRecord, OverduePlace, OverdueRun, RunQuery, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use futures::TryStreamExt;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use uuid::Uuid;

use super::failure::store_error;
use super::pool::{Pool, within_patience};
use super::rows::{self, IdBytes, run_columns, signed};
use crate::store::activity::Activity;
use crate::store::reading::reads_rows;

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

const RUN: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = $1"
);

const FIND_IDEMPOTENT: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", runs.request_hash FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = $1 AND runs.idempotency_key = $2"
);

/// One text for each state, because a partial index serves only a query that names its state.
macro_rules! list_runs {
    ($filter:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.account = $1 AND runs.id < $2",
            $filter,
            " ORDER BY runs.id DESC LIMIT $3"
        )
    };
}

/// In the order of the thread, which is that of its index. The cursor is a run of it, or above all there are.
const LIST_RUNS_OF_THREAD: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = $1 AND runs.thread_id = $2 AND runs.state = COALESCE($4, runs.state) \
       AND runs.thread_position < COALESCE((SELECT thread_position FROM runs WHERE id = $3), 9223372036854775807) \
     ORDER BY runs.thread_position DESC LIMIT $5"
);

/// The condition of its index, word for word.
pub(super) const WAITING_FOR_BUDGET: &str = "SELECT id, account FROM runs WHERE state = 'waiting' AND waiting = '\"budget\"' \
                                  AND id > $1 ORDER BY id LIMIT $2";

/// The condition of its index, word for word.
pub(super) const WITH_CALLS_DUE: &str = "SELECT id, calls, calls_deadline FROM runs \
     WHERE state = 'waiting' AND calls_deadline IS NOT NULL AND calls_deadline <= $1 AND (calls_deadline, id) > ($2, $3) \
     ORDER BY calls_deadline, id LIMIT $4";

/// Pages, because a row-by-row read that stops early makes the server send all the rest. The first one is small: of an archived run one
/// row is most often enough.
const EVENTS: &str = "SELECT last_seq, frames, CAST(encoding AS BIGINT) AS encoding FROM event_batches \
                      WHERE run_id = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3";
const EVENT_BATCHES_AT_FIRST: i64 = 4;
const EVENT_BATCHES_AT_ONCE: i64 = 64;

macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT api_keys.id, api_keys.account, accounts.tier, api_keys.secret_hash, api_keys.last_four, \
             CAST(api_keys.is_admin AS BIGINT) AS is_admin, api_keys.created_at, api_keys.revoked_at \
             FROM api_keys JOIN accounts ON accounts.account = api_keys.account ",
            $rest
        )
    };
}

const HAS_KEYS: &str = "SELECT 1 FROM api_keys LIMIT 1";

/// The pool of connections that read.
#[derive(Debug, Clone)]
pub(super) struct Readers {
    pool: Pool,
    activity: Arc<Activity>,
}

reads_rows!(Readers, PgRow);

impl Readers {
    pub(super) fn new(pool: Pool, activity: Arc<Activity>) -> Self {
        Self { pool, activity }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.pool
    }

    pub(super) async fn row(&self, statement: Statement<'_>) -> Result<Option<PgRow>, StoreError> {
        self.activity.count_statements(1);
        self.pool.row(statement).await
    }

    pub(super) async fn rows(&self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        self.activity.count_statements(1);
        self.pool.rows(statement).await
    }

    pub(super) async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = self.row(sqlx::query(RUN).bind(run.id_bytes())).await?;
        row.as_ref().map(rows::shown_run_record).transpose()
    }

    pub(super) async fn find_idempotent(
        &self,
        account: &AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<Creation>, StoreError> {
        let query = sqlx::query(FIND_IDEMPOTENT)
            .bind(account.as_str())
            .bind(&idempotency.key);
        let row = self.row(query).await?;
        row.map(|row| rows::earlier(&row, idempotency)).transpose()
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
            .bind(i64::from(query.limit));
        self.rows(statement).await?.iter().map(rows::shown_run_record).collect()
    }

    async fn list_runs_of_thread(&self, thread: ThreadId, query: &RunQuery) -> Result<Vec<RunRecord>, StoreError> {
        let before = query.before.unwrap_or(RunId::from_uuid(Uuid::max()));
        let state = query.state.map(RunState::as_str);
        let statement = sqlx::query(LIST_RUNS_OF_THREAD)
            .bind(query.account.as_str())
            .bind(thread.id_bytes())
            .bind(before.id_bytes())
            .bind(state)
            .bind(i64::from(query.limit));
        self.rows(statement).await?.iter().map(rows::shown_run_record).collect()
    }

    pub(super) async fn runs_waiting_for_budget(
        &self,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError> {
        // Below every id there is.
        let after = after.unwrap_or(RunId::from_uuid(Uuid::nil()));
        let statement = sqlx::query(WAITING_FOR_BUDGET)
            .bind(after.id_bytes())
            .bind(i64::from(limit));
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
            .bind(i64::from(limit));
        self.rows(statement).await?.iter().map(rows::overdue_run).collect()
    }

    /// Whole batches; only the first is cut, if `after` lies within it.
    pub(super) async fn events(
        &self,
        run: RunId,
        after: Option<u64>,
        max_bytes: usize,
    ) -> Result<Vec<EncodedEvents>, StoreError> {
        let mut lent = self.pool.lend().await?;
        let batches = within_patience(self.event_batches(&mut lent, run, after, max_bytes)).await;
        lent.give_back(batches)
    }

    async fn event_batches(
        &self,
        connection: &mut PgConnection,
        run: RunId,
        after: Option<u64>,
        max_bytes: usize,
    ) -> Result<Vec<EncodedEvents>, StoreError> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        let (mut above, mut seen) = (after.map_or(-1, signed), after);
        let mut limit = EVENT_BATCHES_AT_FIRST;
        loop {
            self.activity.count_statements(1);
            let mut stored = sqlx::query(EVENTS)
                .bind(run.id_bytes())
                .bind(above)
                .bind(limit)
                .fetch(&mut *connection);
            let mut count = 0;
            while let Some(row) = stored.try_next().await.map_err(store_error)? {
                count += 1;
                above = rows::get(&row, "last_seq")?;
                // Archived between two pages, a row has what was read before it and what was not.
                let Some(batch) = rows::events(&row)?.after(seen) else {
                    continue;
                };
                seen = Some(batch.last_seq());
                bytes += batch.bytes().len();
                batches.push(batch);
                if bytes >= max_bytes {
                    return Ok(batches);
                }
            }
            if count < limit {
                return Ok(batches);
            }
            limit = EVENT_BATCHES_AT_ONCE;
        }
    }

    pub(super) async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        let statement = sqlx::query(select_keys!("ORDER BY api_keys.id"));
        self.rows(statement).await?.iter().map(rows::key_record).collect()
    }

    pub(super) async fn find_key(&self, secret_hash: &[u8]) -> Result<Option<KeyRecord>, StoreError> {
        let statement = sqlx::query(select_keys!("WHERE api_keys.secret_hash = $1")).bind(secret_hash);
        self.row(statement).await?.as_ref().map(rows::key_record).transpose()
    }

    pub(super) async fn has_keys(&self) -> Result<bool, StoreError> {
        Ok(self.row(sqlx::query(HAS_KEYS)).await?.is_some())
    }
}
