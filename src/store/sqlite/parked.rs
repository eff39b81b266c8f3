//! Runs that no actor has: queued or waiting ones, and those whose actor is gone.

use callboard_actors::encoding::{EncodedEvents, EventEncoder, encode};
use callboard_actors::error::RunError;
use callboard_actors::event::EventBody;
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{ParkedOutcome, ParkedUpdate, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;

use super::claim::append_events;
use super::commit::bind_change;
use super::rows::{self, IdBytes, run_columns, signed};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

const FIND: &str = concat!(
    "SELECT ",
    run_columns!(),
    " FROM runs JOIN run_specs ON run_specs.run_id = runs.id WHERE runs.id = ?"
);

const EXTEND: &str = "UPDATE runs SET next_seq = ?, reserved_seq = 0 WHERE id = ?";

const MOVE: &str = "UPDATE runs SET state = ?, error = ?, waiting = ?, ended_at = ?, next_seq = ?, reserved_seq = 0, \
                           queue_deadline = NULL WHERE id = ?";

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
        let mut record = rows::run_record(&row)?;
        if !matches!(record.state, RunState::Queued | RunState::Waiting) {
            return Ok(ParkedOutcome::NotParked(Box::new(record)));
        }
        check(self, record.state).map_err(WriteFailure::Refused)?;
        let events = self.encode(&record);
        if self.change.is_none() && events.is_none() {
            return Ok(ParkedOutcome::Updated {
                record: Box::new(record),
                events,
            });
        }
        self.apply_to(&mut record, events.as_ref());
        let next_seq = signed(record.next_seq);
        let update = match &self.change {
            None => sqlx::query(EXTEND).bind(next_seq),
            Some(change) => bind_change(sqlx::query(MOVE), change)?.bind(next_seq),
        };
        transaction.execute(update.bind(self.run.id_bytes())).await?;
        if let Some(events) = &events {
            append_events(transaction, self.run, events).await?;
        }
        Ok(ParkedOutcome::Updated {
            record: Box::new(record),
            events,
        })
    }
}

/// The move is legal for a run without an actor, and the event of an ending is left to the store.
fn check(update: &ParkedUpdate, from: RunState) -> Result<(), StoreError> {
    if let Some(change) = &update.change
        && (change.to == RunState::Running || !from.may_become(change.to))
    {
        return Err(StoreError::IllegalMove { from, to: change.to });
    }
    if update.events.iter().any(EventBody::is_terminal) {
        return Err(StoreError::Damaged(
            "the last event of a run comes from its change".into(),
        ));
    }
    Ok(())
}

/// What a [`ParkedUpdate`] makes of a run.
trait Parked {
    fn encode(&self, record: &RunRecord) -> Option<EncodedEvents>;
    fn apply_to(&self, record: &mut RunRecord, events: Option<&EncodedEvents>);
}

impl Parked for ParkedUpdate {
    /// The events, numbered, with the one of the ending.
    fn encode(&self, record: &RunRecord) -> Option<EncodedEvents> {
        let mut encoder = EventEncoder::new(self.run, record.first_free_seq());
        for body in &self.events {
            encoder.push(body.clone());
        }
        let ending = self
            .change
            .as_ref()
            .and_then(|change| EventBody::ending(change.to, change.error.as_ref(), record.progress.usage));
        if let Some(ending) = ending {
            encoder.push(ending);
        }
        encoder.take()
    }

    /// The record as the row will be.
    fn apply_to(&self, record: &mut RunRecord, events: Option<&EncodedEvents>) {
        let unseen = record.first_free_seq();
        record.next_seq = events.map_or(unseen, |events| events.last_seq() + 1);
        record.reserved_seq = 0;
        let Some(change) = &self.change else { return };
        record.state = change.to;
        record.error.clone_from(&change.error);
        record.waiting = change.waiting.filter(|_| change.to == RunState::Waiting);
        record.ended_at = change.to.is_terminal().then_some(change.at);
        record.queue_deadline = None;
    }
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
        let record = rows::run_record(&row)?;
        let recovered = record.lost_events().map(|lost| EventBody::RunRecovered {
            epoch: self.epoch + 1,
            lost: Some(lost),
        });
        let ending = EventBody::ending(RunState::Failed, Some(&self.error), record.progress.usage);
        let events = encode(self.run, record.first_free_seq(), recovered.into_iter().chain(ending));
        let Some(events) = events else { return Ok(None) };
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
