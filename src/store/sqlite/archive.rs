//! Events of runs that have ended: archived, and forgotten when their time is over.
//!
//! What is archived is read and compressed beside the writer, which only puts the new rows into the place of the old ones. Between
//! the two somebody else may have done it: then the old rows are not there any more, and nothing is changed.

use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use callboard_actors::time::Timestamp;
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::Row;

use super::read::Readers;
use super::rows::{self, IdBytes, signed};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::{Write, Writer};
use crate::store::archive::Portion;

/// Runs that are archived at the same moment: their writes share commits.
const ARCHIVE_AT_ONCE: usize = 16;
/// Runs, and rows of them, that are forgotten in one transaction: a long one would hold up the runs.
const FORGET_RUNS_AT_ONCE: u32 = 100;
const FORGET_ROWS_AT_ONCE: u64 = 2000;

/// SQLite serves a partial index only to a query that says the index's condition word for word.
macro_rules! in_history_index {
    () => {
        "history < 2"
    };
}

pub(super) const ENDED: &str = concat!(
    "SELECT id FROM runs WHERE history = 0 AND ",
    in_history_index!(),
    " AND ended_at < ? ORDER BY ended_at LIMIT ?"
);

const COUNT_REPLACED: &str = "SELECT count(*) AS count FROM event_batches \
                              WHERE run_id = ? AND last_seq BETWEEN ? AND ? AND encoding = 0";
const REMOVE_REPLACED: &str =
    "DELETE FROM event_batches WHERE run_id = ? AND last_seq BETWEEN ? AND ? AND encoding = 0";
const ADD_ARCHIVED: &str =
    "INSERT INTO event_batches (run_id, first_seq, last_seq, frames, encoding) VALUES (?, ?, ?, ?, 1)";
const MARK_ARCHIVED: &str = "UPDATE runs SET history = 1 WHERE id = ? AND history = 0";
/// No commit can bring them again.
const FORGET_CHARGES: &str = "DELETE FROM usage_entries WHERE run_id = ? AND folded = 1";

pub(super) const TO_FORGET: &str = concat!(
    "SELECT id FROM runs WHERE history IN (0, 1) AND ",
    in_history_index!(),
    " AND ended_at < ? LIMIT ?"
);

const MARK_FORGOTTEN: &str = "UPDATE runs SET history = 2 WHERE id = ?";
const FORGET: &str = "DELETE FROM event_batches WHERE run_id = ?";

/// As [`Store::archive_ended`](callboard_actors::ports::Store::archive_ended).
pub(super) async fn archive_ended(
    readers: &Readers,
    writer: &Writer,
    ended_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let ended = sqlx::query(ENDED).bind(ended_before.as_micros()).bind(limit);
    let runs = readers.rows(ended).await?;
    let runs = runs.iter().map(rows::run_id).collect::<Result<Vec<_>, _>>()?;
    stream::iter(runs)
        .map(|run| archive_run(readers, writer, run))
        .buffer_unordered(ARCHIVE_AT_ONCE)
        .try_fold(0, async |count, was_archived| Ok(count + u64::from(was_archived)))
        .await
}

/// `false` if somebody else is at it.
async fn archive_run(readers: &Readers, writer: &Writer, run: RunId) -> Result<bool, StoreError> {
    let mut after = None;
    loop {
        let portion = Portion::of(run, readers.unarchived_events(run, after).await).await?;
        after = portion.rows.last().map(|row| row.last_seq);
        let is_last = portion.is_last;
        if !writer.submit(portion).await? {
            return Ok(false);
        }
        if is_last {
            return Ok(true);
        }
    }
}

impl Write for Portion {
    /// Whether it was written: not if somebody else was faster.
    type Answer = bool;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<bool, WriteFailure> {
        let run = self.run.id_bytes();
        if let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) {
            let range = |text| {
                let statement = sqlx::query(text).bind(run.clone());
                statement.bind(signed(first.first_seq)).bind(signed(last.last_seq))
            };
            let found = transaction.row(range(COUNT_REPLACED)).await?;
            let found: i64 = found.ok_or_else(|| rows::damaged("a count"))?.try_get("count")?;
            if found != signed(self.replaces()) {
                return Ok(false);
            }
            transaction.execute(range(REMOVE_REPLACED)).await?;
        }
        for row in &self.rows {
            let add = sqlx::query(ADD_ARCHIVED)
                .bind(run.clone())
                .bind(signed(row.first_seq))
                .bind(signed(row.last_seq))
                .bind(&row.frames[..]);
            transaction.execute(add).await?;
        }
        if !self.is_last {
            return Ok(true);
        }
        transaction
            .execute(sqlx::query(FORGET_CHARGES).bind(run.clone()))
            .await?;
        let mark = sqlx::query(MARK_ARCHIVED).bind(run);
        Ok(transaction.execute(mark).await? > 0)
    }
}

/// As [`Store::forget_events`](callboard_actors::ports::Store::forget_events).
pub(super) async fn forget_events(writer: &Writer, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    while forgotten < limit {
        let some = ForgetSomeEvents {
            ended_before,
            limit: FORGET_RUNS_AT_ONCE.min(limit - forgotten),
        };
        match writer.submit(some).await? {
            0 => break,
            count => forgotten += count,
        }
    }
    Ok(forgotten.into())
}

/// Forgets the events of at most `limit` runs and says of how many; of none, if none is left.
#[derive(Debug)]
struct ForgetSomeEvents {
    ended_before: Timestamp,
    limit: u32,
}

impl Write for ForgetSomeEvents {
    type Answer = u32;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<u32, WriteFailure> {
        let find = sqlx::query(TO_FORGET)
            .bind(self.ended_before.as_micros())
            .bind(self.limit);
        let (mut runs, mut removed) = (0, 0);
        for row in transaction.rows(find).await? {
            let run = rows::run_id(&row)?.id_bytes();
            transaction
                .execute(sqlx::query(MARK_FORGOTTEN).bind(run.clone()))
                .await?;
            removed += transaction.execute(sqlx::query(FORGET).bind(run)).await?;
            runs += 1;
            if removed >= FORGET_ROWS_AT_ONCE {
                break;
            }
        }
        Ok(runs)
    }
}
