//! Reading threads: the same for SQLite and PostgreSQL.

use callboard_actors::ids::ThreadId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::threads::{ThreadExtent, ThreadQuery, ThreadRecord, Turn, TurnPage};
use uuid::Uuid;

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, IdBytes, signed};

/// `$1` the thread.
const THREAD: &str = "SELECT id, account, metadata, created_at FROM threads WHERE id = $1 AND deleted_at IS NULL";

/// `$1` the account, `$2` above, `$3` how many.
const LIST_THREADS: &str = "SELECT id, account, metadata, created_at FROM threads \
     WHERE account = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3";

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
