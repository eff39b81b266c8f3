//! Runs that no actor has: queued or waiting ones, and those whose actor is gone.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::ids::RunId;
use callboard_actors::item::Item;
use callboard_actors::ports::Parked;
use callboard_actors::ports::store::{ParkedOutcome, ParkedUpdate};
use callboard_actors::time::Timestamp;

use super::budgets::charge_holds_of;
use super::claim::append_events;
use super::commit::bind_calls;
use super::rows::{self, IdBytes, run_columns, signed};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

const FIND: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = ?"
);

const EXTEND: &str = "UPDATE runs SET next_seq = ?, reserved_seq = 0 WHERE id = ?";

const CHANGE: &str = "UPDATE runs SET state = ?, error = ?, waiting = ?, ended_at = ?, calls = ?, calls_deadline = ?, next_seq = ?, \
                             reserved_seq = 0, queue_deadline = NULL WHERE id = ?";

const APPEND_ITEMS: &str = "INSERT INTO items (run_id, position, content) \
    SELECT ?, base.position + each.key, each.value FROM json_each(?) AS each, \
           (SELECT COALESCE(max(position) + 1, 0) AS position FROM items WHERE run_id = ?) AS base";

const FIND_ABANDONED: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id \
     WHERE runs.id = ? AND runs.state = 'running' AND runs.epoch = ?"
);

const FAIL_ABANDONED: &str = "UPDATE runs SET state = 'failed', error = ?, ended_at = ?, epoch = epoch + 1, \
                                     next_seq = ?, reserved_seq = 0 WHERE id = ?";

impl Write for ParkedUpdate {
    type Answer = ParkedOutcome;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<ParkedOutcome, WriteFailure> {
        let found = transaction.row(sqlx::query(FIND).bind(self.run.id_bytes())).await?;
        let Some(row) = found else {
            return Ok(ParkedOutcome::NotFound);
        };
        let ends = self.change.as_ref().is_some_and(|change| change.to.is_terminal());
        let mut record = if ends {
            rows::shown_run_record(&row)?
        } else {
            rows::run_record(&row)?
        };
        if !record.is_parked() {
            return Ok(ParkedOutcome::NotParked(Box::new(record)));
        }
        let parked = self.apply_to(&mut record).map_err(WriteFailure::Refused)?;
        let (events, items, change) = match parked {
            Parked::Changed { events, items, change } => (events, items, change),
            Parked::Refused(problem) => return Ok(ParkedOutcome::Refused(problem)),
            Parked::NotWaiting => return Ok(ParkedOutcome::NotParked(Box::new(record))),
        };
        if change.is_none() && events.is_none() {
            return Ok(ParkedOutcome::Updated {
                record: Box::new(record),
                events,
            });
        }
        let update = if change.is_none() && self.resolutions.is_empty() {
            sqlx::query(EXTEND)
        } else {
            let update = sqlx::query(CHANGE)
                .bind(record.state.as_str())
                .bind(record.error.as_ref().map(rows::json).transpose()?)
                .bind(record.waiting.as_ref().map(rows::json).transpose()?)
                .bind(record.ended_at.map(|at| at.as_micros()));
            bind_calls(update, &record.calls)?
        };
        let update = update.bind(signed(record.next_seq)).bind(self.run.id_bytes());
        transaction.execute(update).await?;
        if !items.is_empty() {
            append_items(transaction, self.run, &items).await?;
        }
        if let Some(events) = &events {
            append_events(transaction, self.run, events).await?;
        }
        Ok(ParkedOutcome::Updated {
            record: Box::new(record),
            events,
        })
    }
}

async fn append_items(transaction: &mut WriteTransaction<'_>, run: RunId, items: &[Item]) -> Result<(), WriteFailure> {
    let append = sqlx::query(APPEND_ITEMS)
        .bind(run.id_bytes())
        .bind(rows::json(&items)?)
        .bind(run.id_bytes());
    transaction.execute(append).await?;
    Ok(())
}

/// As [`Store::fail_abandoned_run`](callboard_actors::ports::Store::fail_abandoned_run).
#[derive(Debug)]
pub(super) struct FailAbandonedRun {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) error: RunError,
    pub(super) at: Timestamp,
}

impl Write for FailAbandonedRun {
    type Answer = Option<EncodedEvents>;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Self::Answer, WriteFailure> {
        let find = sqlx::query(FIND_ABANDONED)
            .bind(self.run.id_bytes())
            .bind(signed(self.epoch));
        let Some(row) = transaction.row(find).await? else {
            return Ok(None);
        };
        let record = rows::shown_run_record(&row)?;
        let events = record.abandoned_events(&self.error)?;
        charge_holds_of(transaction, self.run).await?;
        let fail = sqlx::query(FAIL_ABANDONED)
            .bind(rows::json(&self.error)?)
            .bind(self.at.as_micros())
            .bind(signed(events.last_seq() + 1))
            .bind(self.run.id_bytes());
        transaction.execute(fail).await?;
        append_events(transaction, self.run, &events).await?;
        Ok(Some(events))
    }
}
