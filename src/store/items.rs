//! Reading items of runs and threads, in pages that are bounded in entries and in bytes: the same for SQLite and PostgreSQL.

use callboard_actors::ids::RunId;
use callboard_actors::item::Item;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{FULL_ITEM_PAGE, ItemPage};
use callboard_actors::ports::threads::{ThreadItem, ThreadItemsQuery};

use crate::store::reading::{ReadRows, Value};
use crate::store::rows::{self, IdBytes, signed};

/// A statement that measures the items that a page may have before it reads any. `$1` the bytes that make a page full, `$2` how many items, one
/// more than the page may have; `measured`, in each row, is how many there are of these.
macro_rules! page {
    ($run:literal, $from:literal, $of:literal, $places:literal) => {
        concat!(
            "SELECT ",
            $run,
            " AS run_id, page.run_position, page.position, said.content, page.measured FROM \
             (SELECT sized.*, count(*) OVER () AS measured, CAST(sum(sized.bytes) OVER \
             (ORDER BY sized.run_position, sized.position) AS BIGINT) - sized.bytes AS bytes_before FROM (",
            $places,
            " LIMIT $2) AS sized) AS page JOIN ",
            $from,
            " AS said ON said.",
            $of,
            " = page.owner AND said.position = page.position \
             WHERE page.bytes_before < $1 ORDER BY page.run_position, page.position"
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
    read(readers, OF_RUN, values, limit, rows::placed_item).await
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
    let mut page = if position == 0 {
        let values = [thread(), after_item];
        read(readers, FIRST_OF_THREAD, values, query.limit, rows::thread_item).await?
    } else {
        let values = [thread(), run(), after_item];
        read(readers, OF_RUN_OF_THREAD, values, query.limit, rows::thread_item).await?
    };
    if page.has_more {
        return Ok(page);
    }
    let missing = query.limit.saturating_sub(page.items.len() as u32);
    let values = [thread(), run()];
    let later = read(readers, OF_LATER_RUNS_OF_THREAD, values, missing, rows::thread_item).await?;
    page.items.extend(later.items);
    page.has_more = later.has_more;
    Ok(page)
}

async fn read<'a, Readers: ReadRows, Placed>(
    readers: &Readers,
    statement: &'static str,
    which: impl IntoIterator<Item = Value<'a>>,
    limit: u32,
    placed: impl Fn(&Readers::Row) -> Result<Placed, StoreError>,
) -> Result<ItemPage<Placed>, StoreError> {
    let mut values = vec![
        Value::Number(signed(FULL_ITEM_PAGE)),
        Value::Number(i64::from(limit) + 1),
    ];
    values.extend(which);
    let found = readers.read_rows(statement, values).await?;
    let measured = match found.first() {
        Some(row) => rows::unsigned(row, "measured")?,
        None => 0,
    };
    let items = found.iter().take(limit as usize).map(placed);
    let items: Vec<Placed> = items.collect::<Result<_, _>>()?;
    Ok(ItemPage {
        has_more: measured > items.len() as u64,
        items,
    })
}
