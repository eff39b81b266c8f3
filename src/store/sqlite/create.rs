//! New runs.

use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{Admission, Creation, Idempotency, NewRun};
use callboard_actors::run_state::RunState;
use sqlx::Row;

use super::rows::{self, IdBytes, json, run_columns, signed};
use super::threads::enter_thread;
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

/// The first statement is the guard: it adds no row if no Slot is free or if the idempotency key was used.
const CREATE: &str = "
INSERT INTO runs (id, account, tier, state, epoch, instance, next_seq, reserved_seq, created_at, started_at,
                  queue_deadline, idempotency_key, request_hash)
SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?
WHERE (SELECT count(*) FROM (SELECT 1 FROM runs WHERE account = ? AND state = 'running' LIMIT ?)) < ?
ON CONFLICT DO NOTHING;
INSERT INTO run_specs (run_id, spec) SELECT ?, ? WHERE changes() > 0;
INSERT INTO event_batches (run_id, first_seq, last_seq, frames) SELECT ?, ?, ?, ? WHERE changes() > 0;
INSERT INTO items (run_id, position, content)
SELECT ?, each.key, each.value FROM json_each(?) AS each WHERE changes() > 0";

pub(super) const FIND_IDEMPOTENT: &str = concat!(
    "SELECT ",
    run_columns!(),
    ", runs.request_hash FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.account = ? AND runs.idempotency_key = ?"
);

const COUNT_RUNNING: &str = "SELECT count(*) AS running FROM runs WHERE account = ? AND state = 'running'";

/// How many rows of an account to look at, and how many must be fewer than what. Without a limit none is looked at.
pub(super) fn slot_bounds(limit: Option<u32>) -> (i64, i64) {
    limit.map_or((0, 1), |limit| (i64::from(limit), i64::from(limit)))
}

impl Write for NewRun {
    type Answer = Creation;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Creation, WriteFailure> {
        if let Some(enter) = self.thread {
            return enter_thread(self, enter, transaction).await;
        }
        self.write(transaction).await
    }
}

/// A new run into the tables.
pub(super) trait WriteRun {
    /// Writes it, unless its idempotency key was used or no Slot is free.
    fn write(
        &self,
        transaction: &mut WriteTransaction<'_>,
    ) -> impl Future<Output = Result<Creation, WriteFailure>> + Send;
}

impl WriteRun for NewRun {
    async fn write(&self, transaction: &mut WriteTransaction<'_>) -> Result<Creation, WriteFailure> {
        let (state, epoch, limit, deadline, started_at) = match self.admission {
            Admission::Start { slot_limit } => (RunState::Running, 1, slot_limit, None, Some(self.created_at)),
            Admission::Queue { deadline } => (RunState::Queued, 0, None, deadline, None),
        };
        let (look_at, fewer_than) = slot_bounds(limit);
        let id = self.id.id_bytes();
        let idempotency = self.idempotency.as_ref();
        let statements = sqlx::query(CREATE)
            .bind(id.clone())
            .bind(self.account.as_str())
            .bind(&self.tier)
            .bind(state.as_str())
            .bind(epoch)
            .bind(self.instance.id_bytes())
            .bind(signed(self.events.last_seq() + 1))
            .bind(signed(self.reserved_seq))
            .bind(self.created_at.as_micros())
            .bind(started_at.map(|at| at.as_micros()))
            .bind(deadline.map(|at| at.as_micros()))
            .bind(idempotency.map(|idempotency| idempotency.key.as_str()))
            .bind(idempotency.map(|idempotency| &idempotency.request_hash[..]))
            .bind(self.account.as_str())
            .bind(look_at)
            .bind(fewer_than)
            .bind(id.clone())
            .bind(json(&self.spec)?)
            .bind(id.clone())
            .bind(signed(self.events.first_seq()))
            .bind(signed(self.events.last_seq()))
            .bind(&self.events.bytes()[..])
            .bind(id)
            .bind(json(&self.input)?);
        if transaction.guarded(statements).await? {
            return Ok(Creation::Created);
        }
        self.refusal(transaction).await
    }
}

/// Why the guard let nothing through.
trait Refusal {
    fn refusal(
        &self,
        transaction: &mut WriteTransaction<'_>,
    ) -> impl Future<Output = Result<Creation, WriteFailure>> + Send;
}

impl Refusal for NewRun {
    async fn refusal(&self, transaction: &mut WriteTransaction<'_>) -> Result<Creation, WriteFailure> {
        if let Some(idempotency) = &self.idempotency {
            let query = sqlx::query(FIND_IDEMPOTENT)
                .bind(self.account.as_str())
                .bind(&idempotency.key);
            if let Some(row) = transaction.row(query).await? {
                return Ok(rows::earlier(&row, idempotency)?);
            }
        }
        if let Admission::Start {
            slot_limit: Some(limit),
        } = self.admission
        {
            let running = count_running(transaction, &self.account).await?;
            if running >= limit {
                return Ok(Creation::QuotaExceeded { running });
            }
        }
        Err(WriteFailure::Refused(already_there(self.id)))
    }
}

fn already_there(run: RunId) -> StoreError {
    StoreError::Damaged(format!("{run} is already there"))
}

pub(super) async fn count_running(
    transaction: &mut WriteTransaction<'_>,
    account: &AccountId,
) -> Result<u32, WriteFailure> {
    let row = transaction
        .row(sqlx::query(COUNT_RUNNING).bind(account.as_str()))
        .await?;
    let row = row.ok_or_else(|| rows::damaged("a count"))?;
    Ok(row.try_get("running")?)
}

/// As [`Store::find_idempotent`](callboard_actors::ports::Store::find_idempotent), on a reader's connection.
pub(super) async fn find_idempotent(
    readers: &super::read::Readers,
    account: &AccountId,
    idempotency: &Idempotency,
) -> Result<Option<Creation>, StoreError> {
    let query = sqlx::query(FIND_IDEMPOTENT)
        .bind(account.as_str())
        .bind(&idempotency.key);
    let row = readers.row(query).await?;
    row.map(|row| rows::earlier(&row, idempotency)).transpose()
}
