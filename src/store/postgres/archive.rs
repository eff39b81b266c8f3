//! Events of runs that have ended: archived, and forgotten when their time is over. Any number of instances do it at once: a run that one
//! of them has locked the others leave to it. Hardly anything else waits for these locks: a start whose idempotency key names such a run, and
//! the forgetting of keys.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use callboard_actors::time::Timestamp;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{Connection, Postgres};

use super::failure::store_error;
use super::pool::{Pool, within_patience};
use super::reads::Statement;
use super::rows::{self, IdBytes, signed};
use crate::store::activity::Activity;
use crate::store::archive::{ArchivedRow, BYTES_AT_ONCE, Portion};

/// Runs that one transaction locks, and archives if they are small.
const ARCHIVE_AT_ONCE: u32 = 64;
/// Runs whose events one transaction forgets. They may have thousands of rows, if they were not archived before.
const FORGET_AT_ONCE: u32 = 16;

pub(super) const ENDED: &str = "SELECT id FROM runs WHERE history = 0 AND ended_at < $1 ORDER BY ended_at LIMIT $2 \
                                FOR UPDATE SKIP LOCKED";

/// Pages, because a run may have more than fits into memory.
const UNARCHIVED_EVENTS: &str = "SELECT last_seq, frames, CAST(encoding AS BIGINT) AS encoding FROM event_batches \
     WHERE run_id = $1 AND last_seq > $2 AND encoding = 0 ORDER BY last_seq LIMIT $3";
const ROWS_AT_ONCE: i64 = 128;

const REMOVE_REPLACED: &str = "DELETE FROM event_batches \
     USING unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS archived (run_id, first_seq, last_seq) \
     WHERE event_batches.run_id = archived.run_id AND event_batches.encoding = 0 \
       AND event_batches.last_seq BETWEEN archived.first_seq AND archived.last_seq";
const ADD_ARCHIVED: &str = "INSERT INTO event_batches (run_id, first_seq, last_seq, frames, encoding) \
     SELECT archived.*, 1 FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bytea[]) AS archived";
const MARK_ARCHIVED: &str = "UPDATE runs SET history = 1 WHERE id = ANY($1)";
/// No commit can bring them again.
const FORGET_CHARGES: &str = "DELETE FROM usage_entries WHERE run_id = ANY($1) AND folded = 1";

/// In the order of the index: without an order, a scan of the table looks cheap to the planner, and most of the table is forgotten.
pub(super) const TO_FORGET: &str = "SELECT id FROM runs WHERE history < 2 AND ended_at < $1 ORDER BY history, ended_at LIMIT $2 \
                                    FOR UPDATE SKIP LOCKED";
const FORGET: &str = "DELETE FROM event_batches WHERE run_id = ANY($1)";
const MARK_FORGOTTEN: &str = "UPDATE runs SET history = 2 WHERE id = ANY($1)";

/// As [`Store::archive_ended`](callboard_actors::ports::Store::archive_ended).
pub(super) async fn archive_ended(
    pool: &Pool,
    activity: &Activity,
    ended_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut archived = 0;
    while archived < limit {
        let at_most = ARCHIVE_AT_ONCE.min(limit - archived);
        let mut lent = pool.lend().await?;
        let some = within_patience(archive_some(&mut lent, activity, ended_before, at_most)).await;
        match lent.give_back(some)? {
            None => break,
            Some(count) => archived += count,
        }
    }
    Ok(archived.into())
}

/// One transaction: as many runs as fit into [`BYTES_AT_ONCE`], or a part of one. Says how many are done; `None` if nothing is left.
async fn archive_some(
    connection: &mut PgConnection,
    activity: &Activity,
    ended_before: Timestamp,
    limit: u32,
) -> Result<Option<u32>, StoreError> {
    let mut transaction = Counted::begin(connection, activity).await?;
    let ended = sqlx::query(ENDED).bind(ended_before.as_micros()).bind(i64::from(limit));
    let runs = transaction.runs(ended).await?;
    let mut portions: Vec<Portion> = Vec::new();
    let mut bytes = 0;
    for run in &runs {
        let read = transaction.unarchived_events(*run).await;
        let portion = Portion::of(*run, read).await?;
        bytes += portion.bytes;
        portions.push(portion);
        if bytes >= BYTES_AT_ONCE {
            break;
        }
    }
    if portions.is_empty() {
        transaction.roll_back().await?;
        return Ok(None);
    }
    transaction.replace(&portions).await?;
    let mut whole = Vec::new();
    let mut count = 0;
    for portion in portions.iter().filter(|portion| portion.is_last) {
        whole.push(portion.run.id_bytes());
        count += 1;
    }
    transaction
        .execute(sqlx::query(MARK_ARCHIVED).bind(whole.clone()))
        .await?;
    transaction.execute(sqlx::query(FORGET_CHARGES).bind(whole)).await?;
    transaction.commit().await?;
    Ok(Some(count))
}

/// As [`Store::forget_events`](callboard_actors::ports::Store::forget_events).
pub(super) async fn forget_events(
    pool: &Pool,
    activity: &Activity,
    ended_before: Timestamp,
    limit: u32,
) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    while forgotten < limit {
        let at_most = FORGET_AT_ONCE.min(limit - forgotten);
        let mut lent = pool.lend().await?;
        let some = within_patience(forget_some(&mut lent, activity, ended_before, at_most)).await;
        match lent.give_back(some)? {
            0 => break,
            count => forgotten += count,
        }
    }
    Ok(forgotten.into())
}

/// One transaction. Says of how many runs; of none, if none is left.
async fn forget_some(
    connection: &mut PgConnection,
    activity: &Activity,
    ended_before: Timestamp,
    limit: u32,
) -> Result<u32, StoreError> {
    let mut transaction = Counted::begin(connection, activity).await?;
    let find = sqlx::query(TO_FORGET)
        .bind(ended_before.as_micros())
        .bind(i64::from(limit));
    let mut runs = Vec::new();
    let mut count = 0;
    for run in transaction.runs(find).await? {
        runs.push(run.id_bytes());
        count += 1;
    }
    if count == 0 {
        transaction.roll_back().await?;
        return Ok(0);
    }
    for statement in [FORGET, MARK_FORGOTTEN] {
        transaction.execute(sqlx::query(statement).bind(&runs)).await?;
    }
    transaction.commit().await?;
    Ok(count)
}

/// A transaction that counts what it does.
struct Counted<'c> {
    transaction: sqlx::Transaction<'c, Postgres>,
    activity: &'c Activity,
}

impl<'c> Counted<'c> {
    async fn begin(connection: &'c mut PgConnection, activity: &'c Activity) -> Result<Self, StoreError> {
        let transaction = connection.begin().await.map_err(store_error)?;
        Ok(Self { transaction, activity })
    }

    async fn rows(&mut self, statement: Statement<'_>) -> Result<Vec<PgRow>, StoreError> {
        self.activity.count_statements(1);
        let connection: &mut PgConnection = &mut self.transaction;
        statement.fetch_all(connection).await.map_err(store_error)
    }

    /// How many rows it changed.
    async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, StoreError> {
        self.activity.count_statements(1);
        let connection: &mut PgConnection = &mut self.transaction;
        let done = statement.execute(connection).await.map_err(store_error)?;
        Ok(done.rows_affected())
    }

    async fn roll_back(self) -> Result<(), StoreError> {
        self.transaction.rollback().await.map_err(store_error)
    }

    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(store_error)?;
        self.activity.count_commit();
        Ok(())
    }

    async fn runs(&mut self, statement: Statement<'_>) -> Result<Vec<RunId>, StoreError> {
        self.rows(statement).await?.iter().map(rows::run_id).collect()
    }

    /// What of the run is to be archived next.
    async fn unarchived_events(&mut self, run: RunId) -> Result<Vec<EncodedEvents>, StoreError> {
        let (mut batches, mut bytes, mut above) = (Vec::new(), 0, -1_i64);
        loop {
            let page = sqlx::query(UNARCHIVED_EVENTS)
                .bind(run.id_bytes())
                .bind(above)
                .bind(ROWS_AT_ONCE);
            let page = self.rows(page).await?;
            for row in &page {
                above = rows::get(row, "last_seq")?;
                let batch = rows::events(row)?;
                bytes += batch.bytes().len();
                batches.push(batch);
                if bytes >= BYTES_AT_ONCE {
                    return Ok(batches);
                }
            }
            if (page.len() as i64) < ROWS_AT_ONCE {
                return Ok(batches);
            }
        }
    }

    /// Puts the new rows into the place of the old ones.
    async fn replace(&mut self, portions: &[Portion]) -> Result<(), StoreError> {
        let rows: Vec<(RunId, &ArchivedRow)> = portions
            .iter()
            .flat_map(|portion| portion.rows.iter().map(|row| (portion.run, row)))
            .collect();
        let runs: Vec<Vec<u8>> = rows.iter().map(|(run, _)| run.id_bytes()).collect();
        let first_seqs: Vec<i64> = rows.iter().map(|(_, row)| signed(row.first_seq)).collect();
        let last_seqs: Vec<i64> = rows.iter().map(|(_, row)| signed(row.last_seq)).collect();
        let frames: Vec<&[u8]> = rows.iter().map(|(_, row)| &row.frames[..]).collect();
        let remove = sqlx::query(REMOVE_REPLACED)
            .bind(&runs)
            .bind(&first_seqs)
            .bind(&last_seqs);
        let removed = self.execute(remove).await?;
        if removed != portions.iter().map(Portion::replaces).sum::<u64>() {
            return Err(rows::damaged("what was to be archived"));
        }
        let add = sqlx::query(ADD_ARCHIVED)
            .bind(&runs)
            .bind(&first_seqs)
            .bind(&last_seqs)
            .bind(frames);
        self.execute(add).await?;
        Ok(())
    }
}
