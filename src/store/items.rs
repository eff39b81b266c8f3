//! Reading items of runs and threads, in pages that are bounded in entries and in bytes: the same for SQLite and PostgreSQL.

use callboard_actors::ids::RunId;
use callboard_actors::item::Item;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{FULL_ITEM_PAGE, ItemPage};
use callboard_actors::ports::threads::{ThreadItem, ThreadItemsQuery};

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, IdBytes, signed};

/// A statement that measures the items that a page may have before it reads any. `$1` the bytes that make a page full, `$2` how many items, one
/// more than the page may have. In each row `measured` is how many there are of these, and `bytes_until` what they make up to this one.
macro_rules! page {
    ($run:literal, $from:literal, $of:literal, $places:literal) => {
        concat!(
            "SELECT ",
            $run,
            " AS run_id, page.run_position, page.position, said.content, page.measured, \
             page.bytes_until FROM \
             (SELECT sized.*, count(*) OVER () AS measured, CAST(sum(sized.bytes) OVER \
             (ORDER BY sized.run_position, sized.position) AS BIGINT) AS bytes_until FROM (",
            $places,
            " LIMIT $2) AS sized) AS page JOIN ",
            $from,
            " AS said ON said.",
            $of,
            " = page.owner AND said.position = page.position \
             WHERE page.bytes_until - page.bytes < $1 ORDER BY page.run_position, page.position"
        )
    };
}

/// `$3` the run, `$4` after this place.
const OF_RUN: &str = page!(
    "page.owner",
    "items",
    "run_id",
    "SELECT run_id AS owner, CAST(0 AS BIGINT) AS run_position, position, octet_length(content) AS bytes \
     FROM items WHERE run_id = $3 AND position > $4 ORDER BY position"
);

/// What a thread began with. `$3` the thread, `$4` after this place.
const FIRST_OF_THREAD: &str = page!(
    "NULL",
    "thread_items",
    "thread_id",
    "SELECT thread_id AS owner, CAST(0 AS BIGINT) AS run_position, position, octet_length(content) AS bytes \
     FROM thread_items WHERE thread_id = $3 AND position > $4 ORDER BY position"
);

/// The rest of one run of a thread. `$3` the thread, `$4` the run's place, `$5` after this place.
const OF_RUN_OF_THREAD: &str = page!(
    "page.owner",
    "items",
    "run_id",
    "SELECT runs.id AS owner, runs.thread_position AS run_position, items.position, octet_length(items.content) AS bytes \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $3 AND runs.thread_position = $4 AND NOT runs.hidden AND items.position > $5 \
     ORDER BY items.position"
);

/// Those of the runs of a thread after a place. `$3` the thread, `$4` the place.
const OF_LATER_RUNS_OF_THREAD: &str = page!(
    "page.owner",
    "items",
    "run_id",
    "SELECT runs.id AS owner, runs.thread_position AS run_position, items.position, octet_length(items.content) AS bytes \
     FROM runs JOIN items ON items.run_id = runs.id \
     WHERE runs.thread_id = $3 AND runs.thread_position > $4 AND NOT runs.hidden \
     ORDER BY runs.thread_position, items.position"
);

/// As [`Store::items`](callboard_actors::ports::Store::items).
pub(super) async fn of_run(
    readers: &impl ReadRows,
    run: RunId,
    after: Option<u32>,
    limit: u32,
) -> Result<ItemPage<(u32, Item)>, StoreError> {
    let after = Value::Number(after.map_or(-1, i64::from));
    let values = [Value::Bytes(run.id_bytes()), after];
    let part = read(readers, OF_RUN, values, limit, FULL_ITEM_PAGE, rows::placed_item).await?;
    Ok(part.page)
}

/// `$1` the run, `$2` before this place, `$3` how many.
const NEWEST_OF_RUN: &str =
    "SELECT position, content FROM items WHERE run_id = $1 AND position < $2 ORDER BY position DESC LIMIT $3";

/// As [`Store::newest_items`](callboard_actors::ports::Store::newest_items).
pub(super) async fn newest_of_run(
    readers: &impl ReadRows,
    run: RunId,
    before: Option<u32>,
    limit: u32,
) -> Result<Vec<(u32, Item)>, StoreError> {
    let before = before.map_or(i64::MAX, i64::from);
    let values = vec![
        Value::Bytes(run.id_bytes()),
        Value::Number(before),
        Value::Number(limit.into()),
    ];
    let newest = readers.read_rows(NEWEST_OF_RUN, values).await?;
    newest.iter().map(rows::placed_item).collect()
}

/// As [`Threads::thread_items`](callboard_actors::ports::Threads::thread_items).
pub(super) async fn of_thread(
    readers: &impl ReadRows,
    query: ThreadItemsQuery,
) -> Result<ItemPage<ThreadItem>, StoreError> {
    let thread = || Value::Bytes(query.thread.id_bytes());
    let position = query.after.map_or(0, |after| after.position);
    let run = || Value::Number(signed(position));
    let after_item = Value::Number(query.after.map_or(-1, |after| i64::from(after.item)));
    let (statement, values) = if position == 0 {
        (FIRST_OF_THREAD, vec![thread(), after_item])
    } else {
        (OF_RUN_OF_THREAD, vec![thread(), run(), after_item])
    };
    let first = read(
        readers,
        statement,
        values,
        query.limit,
        FULL_ITEM_PAGE,
        rows::thread_item,
    )
    .await?;
    let mut page = first.page;
    if page.has_more {
        return Ok(page);
    }
    let is_full = first.bytes >= FULL_ITEM_PAGE;
    let missing = query.limit.saturating_sub(page.items.len() as u32);
    // Nothing of what is behind a full page; but whether there is something.
    let (missing, bytes) = if is_full {
        (0, FULL_ITEM_PAGE)
    } else {
        (missing, FULL_ITEM_PAGE - first.bytes)
    };
    let values = vec![thread(), run()];
    let later = read(
        readers,
        OF_LATER_RUNS_OF_THREAD,
        values,
        missing,
        bytes,
        rows::thread_item,
    )
    .await?;
    page.items.extend(later.page.items);
    page.has_more = later.page.has_more;
    Ok(page)
}

/// What one statement gives of a page.
struct Part<Placed> {
    page: ItemPage<Placed>,
    /// Of the items in it, as JSON.
    bytes: u64,
}

/// `full` is how many bytes make the page full, one at least.
async fn read<'a, Readers: ReadRows, Placed>(
    readers: &Readers,
    statement: &'static str,
    which: impl IntoIterator<Item = Value<'a>>,
    limit: u32,
    full: u64,
    placed: impl Fn(&Readers::Row) -> Result<Placed, StoreError>,
) -> Result<Part<Placed>, StoreError> {
    let mut values = vec![Value::Number(signed(full)), Value::Number(i64::from(limit) + 1)];
    values.extend(which);
    let found = readers.read_rows(statement, values).await?;
    let measured = match found.first() {
        Some(row) => rows::unsigned(row, "measured")?,
        None => 0,
    };
    let shown = &found[..found.len().min(limit as usize)];
    let bytes = match shown.last() {
        Some(row) => rows::unsigned(row, "bytes_until")?,
        None => 0,
    };
    let items: Vec<Placed> = shown.iter().map(placed).collect::<Result<_, _>>()?;
    let has_more = measured > items.len() as u64;
    Ok(Part {
        page: ItemPage { items, has_more },
        bytes,
    })
}
