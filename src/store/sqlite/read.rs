//! Everything that only looks: on connections of its own, so that no reader waits for a commit and no commit for a reader.

use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use futures::TryStreamExt;
use sqlx::sqlite::{SqlitePool, SqliteRow};

use super::failure::store_error;
use super::rows::{self, IdBytes, signed};
use super::transaction::Statement;
use crate::store::activity::Activity;
use crate::store::archive;
use crate::store::reading::reads_rows;

const EVENTS: &str =
    "SELECT last_seq, frames, encoding FROM event_batches WHERE run_id = ? AND last_seq > ? ORDER BY last_seq";

const UNARCHIVED_EVENTS: &str = "SELECT last_seq, frames, encoding FROM event_batches \
                                 WHERE run_id = ? AND last_seq > ? AND encoding = 0 ORDER BY last_seq";

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
}
