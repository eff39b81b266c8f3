//! Port `Threads`. (How a run enters one: [`super::decide`].)

use async_trait::async_trait;
use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::ports::store::ItemPage;
use callboard_actors::ports::threads::{
    NewThread, ThreadExtent, ThreadItem, ThreadItemsQuery, ThreadQuery, ThreadRecord, Turn, TurnPage,
};
use callboard_actors::ports::{StoreError, Threads};
use callboard_actors::time::Timestamp;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::PostgresStore;
use super::failure::store_error;
use super::pool::within_patience;
use super::rows::{self, IdBytes, json};
use crate::store::items;
use crate::store::threads;

const CREATE: &str = "WITH new AS (INSERT INTO threads (id, account, metadata, created_at) VALUES ($1, $2, $3, $4)) \
     INSERT INTO thread_items (thread_id, position, content) \
     SELECT $1, each.place - 1, each.content FROM unnest($5::text[]) WITH ORDINALITY AS each (content, place)";

/// Whoever moves one of its runs, or enters it, holds this.
const LOCK_ACCOUNT: &str =
    "SELECT account FROM accounts WHERE account = (SELECT account FROM threads WHERE id = $1) FOR UPDATE";
const DELETE: &str = "UPDATE threads SET deleted_at = $2, metadata = '{}' WHERE id = $1 AND deleted_at IS NULL";
const DELETE_ITEMS: &str = "DELETE FROM thread_items WHERE thread_id = $1";
/// By id, as the lanes do, so that nobody waits in a circle.
const LOCK_RUNS: &str = "SELECT id, thread_position FROM runs \
     WHERE thread_id = $1 AND state IN ('queued', 'running', 'waiting') ORDER BY id FOR UPDATE";
const MARK: &str = "UPDATE runs SET cancel_requested = TRUE \
                    WHERE thread_id = $1 AND state IN ('queued', 'running', 'waiting')";

async fn delete(connection: &mut PgConnection, thread: ThreadId) -> Result<Option<Vec<RunId>>, StoreError> {
    let thread = thread.id_bytes();
    let mut transaction = connection.begin().await.map_err(store_error)?;
    let lock = sqlx::query(LOCK_ACCOUNT).bind(thread.clone());
    lock.execute(&mut *transaction).await.map_err(store_error)?;
    let delete = sqlx::query(DELETE)
        .bind(thread.clone())
        .bind(Timestamp::now().as_micros());
    let deleted = delete.execute(&mut *transaction).await.map_err(store_error)?;
    if deleted.rows_affected() == 0 {
        transaction.rollback().await.map_err(store_error)?;
        return Ok(None);
    }
    let items = sqlx::query(DELETE_ITEMS).bind(thread.clone());
    items.execute(&mut *transaction).await.map_err(store_error)?;
    let lock = sqlx::query(LOCK_RUNS).bind(thread.clone());
    let mut to_cancel = Vec::new();
    for row in lock.fetch_all(&mut *transaction).await.map_err(store_error)? {
        to_cancel.push((rows::unsigned(&row, "thread_position")?, rows::run_id(&row)?));
    }
    to_cancel.sort_unstable();
    if !to_cancel.is_empty() {
        let mark = sqlx::query(MARK).bind(thread);
        mark.execute(&mut *transaction).await.map_err(store_error)?;
    }
    transaction.commit().await.map_err(store_error)?;
    Ok(Some(to_cancel.into_iter().map(|(_, run)| run).collect()))
}

#[async_trait]
impl Threads for PostgresStore {
    async fn create_thread(&self, thread: NewThread) -> Result<(), StoreError> {
        let items = thread.items.iter().map(json).collect::<Result<Vec<_>, _>>()?;
        let create = sqlx::query(CREATE)
            .bind(thread.id.id_bytes())
            .bind(thread.account.as_str().to_owned())
            .bind(json(&thread.metadata)?)
            .bind(thread.created_at.as_micros())
            .bind(items);
        self.activity.count_statements(1);
        self.readers.pool().execute(create).await?;
        Ok(())
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<ThreadRecord>, StoreError> {
        threads::thread(&self.readers, thread).await
    }

    async fn list_threads(&self, query: ThreadQuery) -> Result<Vec<ThreadRecord>, StoreError> {
        threads::list(&self.readers, &query).await
    }

    async fn delete_thread(&self, thread: ThreadId) -> Result<Option<Vec<RunId>>, StoreError> {
        let mut lent = self.readers.pool().lend().await?;
        let deleted = within_patience(delete(&mut lent, thread)).await;
        lent.give_back(deleted)
    }

    async fn thread_items(&self, query: ThreadItemsQuery) -> Result<ItemPage<ThreadItem>, StoreError> {
        items::of_thread(&self.readers, query).await
    }

    async fn turns_before(&self, thread: ThreadId, position: u64, page: TurnPage) -> Result<Vec<Turn>, StoreError> {
        threads::turns_before(&self.readers, thread, position, page).await
    }

    async fn extent_before(&self, thread: ThreadId, position: u64) -> Result<ThreadExtent, StoreError> {
        threads::extent_before(&self.readers, thread, position).await
    }
}
