//! Port `Threads`, and the way of a new run into its thread.

use async_trait::async_trait;
use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::ports::store::{Admission, Creation, ItemPage, NewRun};
use callboard_actors::ports::threads::{
    EnterThread, NewThread, OnBusy, RunThread, ThreadExtent, ThreadItem, ThreadItemsQuery, ThreadQuery, ThreadRecord,
    Turn, TurnPage,
};
use callboard_actors::ports::{StoreError, Threads};
use callboard_actors::time::Timestamp;

use super::SqliteStore;
use super::create::{FIND_IDEMPOTENT, WriteRun};
use super::rows::{self, IdBytes, json, signed};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;
use crate::store::items;
use crate::store::threads;

const CREATE: &str = "INSERT INTO threads (id, account, metadata, created_at) VALUES (?, ?, ?, ?); \
     INSERT INTO thread_items (thread_id, position, content) SELECT ?, each.key, each.value FROM json_each(?) AS each";

const FIND: &str = "SELECT next_position FROM threads WHERE id = ? AND account = ? AND deleted_at IS NULL";

/// The condition of its index, word for word.
const WITHOUT_END: &str = "SELECT id FROM runs WHERE thread_id = ? AND state IN ('queued', 'running', 'waiting') \
                           ORDER BY thread_position";

const MARK: &str = "UPDATE runs SET cancel_requested = 1, hidden = max(hidden, ?) \
                    WHERE thread_id = ? AND state IN ('queued', 'running', 'waiting')";

const TAKE_PLACE: &str = "UPDATE runs SET thread_id = ?, thread_position = ? WHERE id = ?";
const NEXT_PLACE: &str = "UPDATE threads SET next_position = next_position + 1 WHERE id = ?";

const DELETE: &str = "UPDATE threads SET deleted_at = ?, metadata = '{}' WHERE id = ? AND deleted_at IS NULL; \
                      DELETE FROM thread_items WHERE thread_id = ? AND changes() > 0";

impl Write for NewThread {
    type Answer = ();

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
        let create = sqlx::query(CREATE)
            .bind(self.id.id_bytes())
            .bind(self.account.as_str())
            .bind(json(&self.metadata)?)
            .bind(self.created_at.as_micros())
            .bind(self.id.id_bytes())
            .bind(json(&self.items)?);
        transaction.guarded(create).await?;
        Ok(())
    }
}

/// The first statements only look; whatever refuses the run leaves no trace.
pub(super) async fn enter_thread(
    new: &NewRun,
    enter: EnterThread,
    transaction: &mut WriteTransaction<'_>,
) -> Result<Creation, WriteFailure> {
    if let Some(idempotency) = &new.idempotency {
        let query = sqlx::query(FIND_IDEMPOTENT)
            .bind(new.account.as_str())
            .bind(&idempotency.key);
        if let Some(row) = transaction.row(query).await? {
            return Ok(rows::earlier(&row, idempotency)?);
        }
    }
    let thread = enter.thread.id_bytes();
    let find = sqlx::query(FIND).bind(thread.clone()).bind(new.account.as_str());
    let Some(row) = transaction.row(find).await? else {
        return Ok(Creation::ThreadNotFound);
    };
    let position = rows::unsigned(&row, "next_position")?;
    let ahead = without_end(enter.thread, transaction).await?;
    let may_wait = enter.on_busy != OnBusy::Refuse && matches!(new.admission, Admission::Queue { .. });
    if let Some(active) = ahead.first().filter(|_| !may_wait) {
        return Ok(Creation::ThreadBusy { active: *active });
    }
    match new.write(transaction).await? {
        Creation::Created => {}
        refusal => return Ok(refusal),
    }
    let displaced = if enter.on_busy.displaces() { ahead } else { Vec::new() };
    if !displaced.is_empty() {
        // The new run is in no thread yet.
        mark(enter.thread, enter.on_busy == OnBusy::Replace, transaction).await?;
    }
    let take = sqlx::query(TAKE_PLACE)
        .bind(thread.clone())
        .bind(signed(position))
        .bind(new.id.id_bytes());
    transaction.execute(take).await?;
    transaction.execute(sqlx::query(NEXT_PLACE).bind(thread)).await?;
    let mut record = new.record();
    record.thread = Some(RunThread {
        id: enter.thread,
        position,
    });
    Ok(Creation::InThread {
        record: Box::new(record),
        displaced,
    })
}

async fn without_end(thread: ThreadId, transaction: &mut WriteTransaction<'_>) -> Result<Vec<RunId>, WriteFailure> {
    let found = transaction
        .rows(sqlx::query(WITHOUT_END).bind(thread.id_bytes()))
        .await?;
    Ok(found.iter().map(rows::run_id).collect::<Result<_, _>>()?)
}

async fn mark(thread: ThreadId, hide: bool, transaction: &mut WriteTransaction<'_>) -> Result<(), WriteFailure> {
    transaction
        .execute(sqlx::query(MARK).bind(hide).bind(thread.id_bytes()))
        .await?;
    Ok(())
}

/// As [`Threads::delete_thread`].
#[derive(Debug)]
struct DeleteThread {
    thread: ThreadId,
    at: Timestamp,
}

impl Write for DeleteThread {
    type Answer = Option<Vec<RunId>>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Self::Answer, WriteFailure> {
        let thread = self.thread.id_bytes();
        let delete = sqlx::query(DELETE)
            .bind(self.at.as_micros())
            .bind(thread.clone())
            .bind(thread);
        if !transaction.guarded(delete).await? {
            return Ok(None);
        }
        let to_cancel = without_end(self.thread, transaction).await?;
        if !to_cancel.is_empty() {
            mark(self.thread, false, transaction).await?;
        }
        Ok(Some(to_cancel))
    }
}

#[async_trait]
impl Threads for SqliteStore {
    async fn create_thread(&self, thread: NewThread) -> Result<(), StoreError> {
        self.writer.submit(thread).await
    }

    async fn thread(&self, thread: ThreadId) -> Result<Option<ThreadRecord>, StoreError> {
        threads::thread(&self.readers, thread).await
    }

    async fn list_threads(&self, query: ThreadQuery) -> Result<Vec<ThreadRecord>, StoreError> {
        threads::list(&self.readers, &query).await
    }

    async fn delete_thread(&self, thread: ThreadId) -> Result<Option<Vec<RunId>>, StoreError> {
        let at = Timestamp::now();
        self.writer.submit(DeleteThread { thread, at }).await
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
