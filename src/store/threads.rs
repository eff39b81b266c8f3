//! Reading threads: the same for SQLite and PostgreSQL.

use callboard_actors::ids::ThreadId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::threads::{
    ThreadExtent, ThreadItem, ThreadItemsQuery, ThreadQuery, ThreadRecord, Turn, TurnPage,
};
use uuid::Uuid;

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, IdBytes, signed};

/// `$1` the thread.
const THREAD: &str = "SELECT id, account, metadata, created_at FROM threads WHERE id = $1 AND deleted_at IS NULL";

/// `$1` the account, `$2` above, `$3` how many.
const LIST_THREADS: &str = "SELECT id, account, metadata, created_at FROM threads \
     WHERE account = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3";

/// What the thread began with. `$1` the thread, `$2` after this place, `$3` how many.
const FIRST_ITEMS: &str = "SELECT NULL AS run_id, CAST(0 AS BIGINT) AS run_position, position, content FROM thread_items \
     WHERE thread_id = $1 AND position > $2 ORDER BY position LIMIT $3";

/// The items of one run of a thread after a place: the rest of it. `$1` the thread, `$2` the run's place, `$3` after this place, `$4` how many.
const ITEMS_OF_RUN: &str = "SELECT runs.id AS run_id, runs.thread_position AS run_position, items.position, items.content \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $1 AND runs.thread_position = $2 AND NOT runs.hidden AND items.position > $3 \
     ORDER BY items.position LIMIT $4";

/// The items of the runs after a place. `$1` the thread, `$2` the place, `$3` how many.
const ITEMS_OF_LATER_RUNS: &str = "SELECT runs.id AS run_id, runs.thread_position AS run_position, items.position, items.content \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $1 AND runs.thread_position > $2 AND NOT runs.hidden \
     ORDER BY runs.thread_position, items.position LIMIT $3";

/// They are measured before any is read. `$1` the thread, `$2` before this place, `$3` how many turns, `$4` after how many bytes no more.
const TURNS_BEFORE: &str = "SELECT turn.thread_position AS run_position, items.content \
     FROM (SELECT id, thread_position, CAST(sum(bytes) OVER (ORDER BY thread_position DESC) AS BIGINT) - bytes AS newer_bytes \
           FROM (SELECT id, thread_position, \
                        (SELECT COALESCE(sum(octet_length(content)), 0) FROM items WHERE run_id = runs.id) AS bytes \
                 FROM runs WHERE thread_id = $1 AND thread_position < $2 AND NOT hidden \
                 ORDER BY thread_position DESC LIMIT $3) AS sized) AS turn \
     LEFT JOIN items ON items.run_id = turn.id WHERE turn.newer_bytes < $4 \
     ORDER BY turn.thread_position DESC, items.position";

/// `$1` the thread.
const FIRST_TURN: &str =
    "SELECT CAST(0 AS BIGINT) AS run_position, content FROM thread_items WHERE thread_id = $1 ORDER BY position";

/// Turns and their bytes. `$1` the thread, `$2` before this place.
const EXTENT_BEFORE: &str = "SELECT \
     (SELECT count(*) FROM runs WHERE thread_id = $1 AND thread_position < $2 AND NOT hidden) \
     + (SELECT count(*) FROM (SELECT 1 FROM thread_items WHERE thread_id = $1 LIMIT 1) AS first) AS turns, \
     CAST((SELECT COALESCE(sum(octet_length(items.content)), 0) FROM runs JOIN items ON items.run_id = runs.id \
           WHERE runs.thread_id = $1 AND runs.thread_position < $2 AND NOT runs.hidden) \
     + (SELECT COALESCE(sum(octet_length(content)), 0) FROM thread_items WHERE thread_id = $1) AS BIGINT) AS bytes";

/// As [`Threads::thread`](callboard_actors::ports::Threads::thread).
pub(super) async fn thread(readers: &impl ReadRows, thread: ThreadId) -> Result<Option<ThreadRecord>, StoreError> {
    let row = readers.read_row(THREAD, vec![Value::Bytes(thread.id_bytes())]).await?;
    row.as_ref().map(rows::thread_record).transpose()
}

/// As [`Threads::list_threads`](callboard_actors::ports::Threads::list_threads).
pub(super) async fn list(readers: &impl ReadRows, query: &ThreadQuery) -> Result<Vec<ThreadRecord>, StoreError> {
    // Above every id there can be.
    let before = query.before.unwrap_or(ThreadId::from_uuid(Uuid::max()));
    let values = vec![
        Value::Text(query.account.as_str()),
        Value::Bytes(before.id_bytes()),
        Value::Number(query.limit.into()),
    ];
    let found = readers.read_rows(LIST_THREADS, values).await?;
    found.iter().map(rows::thread_record).collect()
}

/// As [`Threads::thread_items`](callboard_actors::ports::Threads::thread_items).
pub(super) async fn items(readers: &impl ReadRows, query: ThreadItemsQuery) -> Result<Vec<ThreadItem>, StoreError> {
    let thread = || Value::Bytes(query.thread.id_bytes());
    let position = query.after.map_or(0, |after| after.position);
    let run = Value::Number(signed(position));
    let after_item = Value::Number(query.after.map_or(-1, |after| i64::from(after.item)));
    let limit = Value::Number(query.limit.into());
    let (text, values) = if position == 0 {
        (FIRST_ITEMS, vec![thread(), after_item, limit])
    } else {
        (ITEMS_OF_RUN, vec![thread(), run, after_item, limit])
    };
    let mut found = readers.read_rows(text, values).await?;
    let missing = query.limit.saturating_sub(found.len() as u32);
    if missing > 0 {
        let values = vec![thread(), Value::Number(signed(position)), Value::Number(missing.into())];
        found.extend(readers.read_rows(ITEMS_OF_LATER_RUNS, values).await?);
    }
    found.iter().map(rows::thread_item).collect()
}

/// As [`Threads::turns_before`](callboard_actors::ports::Threads::turns_before).
pub(super) async fn turns_before(
    readers: &impl ReadRows,
    thread: ThreadId,
    position: u64,
    page: TurnPage,
) -> Result<Vec<Turn>, StoreError> {
    if position == 0 {
        return Ok(Vec::new());
    }
    let mut values = before(thread, position);
    values.push(Value::Number(page.turns.into()));
    values.push(Value::Number(signed(page.bytes.max(1))));
    let turns = rows::turns(&readers.read_rows(TURNS_BEFORE, values).await?)?;
    if !turns.is_empty() {
        return Ok(turns);
    }
    let first = vec![Value::Bytes(thread.id_bytes())];
    rows::turns(&readers.read_rows(FIRST_TURN, first).await?)
}

/// As [`Threads::extent_before`](callboard_actors::ports::Threads::extent_before).
pub(super) async fn extent_before(
    readers: &impl ReadRows,
    thread: ThreadId,
    position: u64,
) -> Result<ThreadExtent, StoreError> {
    let row = readers.read_row(EXTENT_BEFORE, before(thread, position)).await?;
    let row = row.ok_or_else(|| rows::damaged("a count"))?;
    Ok(ThreadExtent {
        turns: rows::unsigned(&row, "turns")?,
        bytes: rows::unsigned(&row, "bytes")?,
    })
}

/// What statements about the turns before a place bind first.
fn before(thread: ThreadId, position: u64) -> Vec<Value<'static>> {
    vec![Value::Bytes(thread.id_bytes()), Value::Number(signed(position))]
}
