//! Runs that leave the queue to run.

use callboard_actors::encoding::encode;
use callboard_actors::event::EventBody;
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::{Claim, ClaimRun};
use callboard_actors::run_state::RunState;

use super::create::{count_running, slot_bounds};
use super::rows::{self, IdBytes, returned_run_columns, signed};
use super::transaction::{WriteFailure, WriteTransaction};
use super::writer::Write;

/// Changes nothing if the run is not queued, may not begin or no Slot is free. `run.started` gets the first seq that nobody can have seen.
const CLAIM: &str = concat!(
    "UPDATE runs SET state = 'running', epoch = epoch + 1, instance = ?, waiting = NULL, queue_deadline = NULL, \
            started_at = COALESCE(started_at, ?), next_seq = max(next_seq, reserved_seq) + 1, \
            reserved_seq = CASE WHEN ? THEN max(next_seq, reserved_seq) + 1 + ? ELSE 0 END \
     WHERE id = ? AND state = 'queued' AND NOT cancel_requested \
       AND (SELECT count(*) FROM (SELECT 1 FROM runs AS held \
            WHERE held.account = runs.account AND held.state = 'running' LIMIT ?)) < ? \
       AND (thread_id IS NULL OR NOT EXISTS (SELECT 1 FROM runs AS ahead \
            WHERE ahead.thread_id = runs.thread_id AND ahead.thread_position < runs.thread_position \
              AND ahead.state IN ('queued', 'running', 'waiting'))) \
     RETURNING ",
    returned_run_columns!()
);

pub(super) const APPEND_EVENTS: &str =
    "INSERT INTO event_batches (run_id, first_seq, last_seq, frames) VALUES (?, ?, ?, ?)";

const FIND_QUEUED: &str = "SELECT account, EXISTS (SELECT 1 FROM runs AS ahead \
        WHERE ahead.thread_id = runs.thread_id AND ahead.thread_position < runs.thread_position \
          AND ahead.state IN ('queued', 'running', 'waiting')) AS thread_busy, cancel_requested \
     FROM runs WHERE id = ? AND state = 'queued'";

impl Write for ClaimRun {
    type Answer = Claim;

    async fn apply(&self, transaction: &mut WriteTransaction<'_>) -> Result<Claim, WriteFailure> {
        let (look_at, fewer_than) = slot_bounds(self.slot_limit);
        let claim = sqlx::query(CLAIM)
            .bind(self.instance.id_bytes())
            .bind(self.at.as_micros())
            .bind(self.reserve_seqs > 0)
            .bind(signed(self.reserve_seqs))
            .bind(self.run.id_bytes())
            .bind(look_at)
            .bind(fewer_than);
        let Some(row) = transaction.row(claim).await? else {
            return refusal(self.run, transaction).await;
        };
        let record = rows::run_record(&row)?;
        let started = EventBody::RunStarted { epoch: record.epoch };
        let seq = record.next_seq.saturating_sub(1);
        let events = encode(record.id, seq, [started]).ok_or_else(|| rows::damaged("an event"))?;
        append_events(transaction, self.run, &events).await?;
        debug_assert_eq!(record.state, RunState::Running);
        Ok(Claim::Claimed {
            record: Box::new(record),
            events,
        })
    }
}

async fn refusal(run: RunId, transaction: &mut WriteTransaction<'_>) -> Result<Claim, WriteFailure> {
    let found = transaction.row(sqlx::query(FIND_QUEUED).bind(run.id_bytes())).await?;
    let Some(row) = found else {
        return Ok(Claim::NotQueued);
    };
    if rows::get::<bool>(&row, "thread_busy")? {
        return Ok(Claim::ThreadBusy);
    }
    if rows::get::<bool>(&row, "cancel_requested")? {
        return Ok(Claim::ToBeCancelled);
    }
    let running = count_running(transaction, &rows::account(&row)?).await?;
    Ok(Claim::QuotaExceeded { running })
}

pub(super) async fn append_events(
    transaction: &mut WriteTransaction<'_>,
    run: RunId,
    events: &callboard_actors::encoding::EncodedEvents,
) -> Result<(), WriteFailure> {
    let append = sqlx::query(APPEND_EVENTS)
        .bind(run.id_bytes())
        .bind(signed(events.first_seq()))
        .bind(signed(events.last_seq()))
        .bind(&events.bytes()[..]);
    transaction.execute(append).await?;
    Ok(())
}
