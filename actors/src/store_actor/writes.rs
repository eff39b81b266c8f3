//! The writes of a run, as they happen on the I/O runtime: into the store first, then into the log.

use std::sync::Arc;
use std::time::Duration;

use super::{Hold, Log, OpenFailure, OpenedRun, Opening, WriteDone, WriteLoss};
use crate::encoding::EncodedEvents;
use crate::ids::RunId;
use crate::ledger::SlotHold;
use crate::ports::store::{Claim, Creation, RunCommit};
use crate::ports::{EventLogError, StoreError};
use crate::services::RunServices;

/// A run's writer: what it writes with, and whether it still may.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) services: Arc<RunServices>,
    pub(super) run: RunId,
    pub(super) hold: Arc<Hold>,
}

pub(super) async fn open(writer: Writer, opening: Opening) -> Result<WriteDone, WriteLoss> {
    let services = &writer.services;
    let opened = match opening {
        Opening::Adopt { .. } => Ok((OpenedRun::Adopted, None)),
        Opening::Show { epoch, events, .. } => {
            writer.append(epoch, events).await?;
            Ok((OpenedRun::Shown, None))
        }
        Opening::Create(new_run) => {
            let events = new_run.events.clone();
            match services.store.create_run(*new_run).await {
                Ok(Creation::Created) => {
                    writer.append(1, events).await?;
                    Ok((OpenedRun::Created, None))
                }
                Ok(Creation::InThread { record, .. }) => {
                    writer.append(1, events).await?;
                    Ok((OpenedRun::CreatedInThread(record), None))
                }
                Ok(Creation::ThreadBusy { active }) => Err(OpenFailure::ThreadBusy { active }),
                Ok(Creation::ThreadNotFound) => Err(OpenFailure::ThreadNotFound),
                Ok(Creation::Existing(record)) => Err(OpenFailure::Existing(record)),
                Ok(Creation::IdempotencyConflict) => Err(OpenFailure::IdempotencyConflict),
                Ok(Creation::QuotaExceeded { running }) => Err(OpenFailure::QuotaExceeded { running }),
                Err(error) => Err(OpenFailure::Store(error)),
            }
        }
        Opening::Claim(claim) => match services.store.claim_run(*claim).await {
            Ok(Claim::Claimed { record, events }) => {
                let log = Log {
                    epoch: record.epoch,
                    next_seq: record.next_seq,
                    reserved_seq: record.reserved_seq,
                };
                writer.append(record.epoch, events).await?;
                Ok((OpenedRun::Claimed(record), Some(log)))
            }
            Ok(Claim::ThreadBusy | Claim::ToBeCancelled) => Err(OpenFailure::NotItsTurn),
            Ok(Claim::NotQueued) => Err(OpenFailure::NotQueued),
            Ok(Claim::QuotaExceeded { running }) => Err(OpenFailure::QuotaExceeded { running }),
            Err(error) => Err(OpenFailure::Store(error)),
        },
    };
    Ok(WriteDone::Opened(opened))
}

pub(super) async fn write(
    writer: Writer,
    commit: RunCommit,
    slot: Option<SlotHold>,
    fresh: Option<EncodedEvents>,
    notices: u64,
) -> Result<WriteDone, WriteLoss> {
    let epoch = commit.epoch;
    let is_end = commit.change.as_ref().is_some_and(|change| change.to.is_terminal());
    let shown_before = commit
        .events
        .as_ref()
        .map(EncodedEvents::last_seq)
        .filter(|_| fresh.is_none());
    writer.commit_until_answered(commit).await?;
    // Before anyone can see that the run has ended: whoever sees it may start the next one.
    drop(slot);
    if is_end {
        writer.services.thread_lines.ended(writer.run);
    }
    if let Some(events) = fresh {
        writer.append(epoch, events).await?;
    }
    if let Some(seq) = shown_before {
        writer.services.log.mark_durable(writer.run, seq);
    }
    Ok(WriteDone::Committed { notices })
}

impl Writer {
    /// Shows events that are durable.
    async fn append(&self, epoch: u64, events: EncodedEvents) -> Result<(), WriteLoss> {
        let last_seq = events.last_seq();
        self.show(epoch, events).await?;
        self.services.log.mark_durable(self.run, last_seq);
        Ok(())
    }

    /// Shows events. Not those of a run that was let go of: by an append this instance would take the run back, and its readers here
    /// would wait for what another instance writes.
    pub(super) async fn show(&self, epoch: u64, events: EncodedEvents) -> Result<(), WriteLoss> {
        self.hold.check()?;
        let appended = append_until_answered(&self.services, self.run, epoch, events).await;
        if let Err(loss) = self.hold.check() {
            // It was let go of meanwhile: whoever released it may have been faster than the append.
            self.services.log.release(self.run);
            return Err(loss);
        }
        appended.map_err(|error| log_loss(self.run, &error))
    }

    /// Commits; while the store does not answer, again and again, for as long as the run is this instance's.
    async fn commit_until_answered(&self, commit: RunCommit) -> Result<(), WriteLoss> {
        let run = self.run;
        let mut delay = Duration::from_millis(50);
        loop {
            self.hold.check()?;
            match self.services.store.commit(commit.clone()).await {
                Ok(()) => return Ok(()),
                Err(StoreError::Unavailable(reason)) => {
                    tracing::debug!(run_id = %run, reason, ?delay, "the store is unavailable; the run waits for it");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(2));
                }
                Err(StoreError::Fenced) => return Err(WriteLoss::Fenced),
                Err(error) => {
                    tracing::error!(run_id = %run, %error, "the store refused a commit");
                    return Err(WriteLoss::Broken);
                }
            }
        }
    }
}

/// Appends; while the log does not answer, again and again: an append that fails has changed nothing.
pub(crate) async fn append_until_answered(
    services: &RunServices,
    run: RunId,
    epoch: u64,
    events: EncodedEvents,
) -> Result<(), EventLogError> {
    let mut delay = Duration::from_millis(50);
    loop {
        match services.log.append(run, epoch, events.clone()).await {
            Err(EventLogError::Unavailable(reason)) => {
                tracing::debug!(run_id = %run, reason, ?delay, "the event log is unavailable; the run's events wait for it");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(Duration::from_secs(2));
            }
            answer => return answer,
        }
    }
}

fn log_loss(run: RunId, error: &EventLogError) -> WriteLoss {
    if *error == EventLogError::Fenced {
        return WriteLoss::Fenced;
    }
    tracing::error!(run_id = %run, %error, "the event log refused an append");
    WriteLoss::Broken
}
