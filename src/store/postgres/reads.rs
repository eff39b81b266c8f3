//! Everything that only looks, on pooled connections.

use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{Creation, Idempotency};
use futures::TryStreamExt;
use sqlx::Postgres;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;

use super::failure::store_error;
use super::pool::{Pool, within_patience};
use super::rows::{self, IdBytes, run_columns, signed};
use crate::store::activity::Activity;
use crate::store::reading::reads_rows;

pub(super) type Statement<'q> = Query<'q, Postgres, PgArguments>;

const FIND_IDEMPOTENT: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", runs.request_hash FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = $1 AND runs.idempotency_key = $2"
);

/// Pages, because a row-by-row read that stops early makes the server send all the rest. The first one is small: of an archived run one
/// row is most often enough.
const EVENTS: &str = "SELECT last_seq, frames, CAST(encoding AS BIGINT) AS encoding FROM event_batches \
                      WHERE run_id = $1 AND last_seq > $2 ORDER BY last_seq LIMIT $3";
const EVENT_BATCHES_AT_FIRST: i64 = 4;
const EVENT_BATCHES_AT_ONCE: i64 = 64;

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
}
