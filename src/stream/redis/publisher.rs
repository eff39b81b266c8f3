//! Brings what was appended here to the other instances. One short-lived task per run that has something to tell: it reads from the local
//! log, so nothing is kept twice and nothing is lost while Redis is away, and goes when everything is out.

use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use tokio::time::Instant;

use super::Shared;
use super::run::Work;
use super::script::{Message, Published};
use crate::redis_client::{Backoff, describe};

/// Events read from the local log at once.
const EVENTS_AT_ONCE: u64 = 512;

enum Step {
    Done,
    Again,
}

/// Publishes until there is nothing left.
pub(super) async fn publish_all(shared: Arc<Shared>, run: RunId) {
    let mut backoff = Backoff::new();
    loop {
        let Some(work) = shared.runs.with(run, |_, used| used.next_work()) else {
            // A run that has ended is followed to its end from the local log; one that was released needs a mirror.
            shared.mirror_if_needed(run);
            shared.published.notify_waiters();
            return;
        };
        // Waits for Redis before it takes one of the places for those that send.
        drop(shared.link.connected().await);
        let started = Instant::now();
        match publish_some(&shared, run, work).await {
            Ok(Step::Done) => {
                shared.published.notify_waiters();
                return;
            }
            Ok(Step::Again) => {
                backoff.reset();
                tokio::time::sleep_until(started + shared.options.coalesce).await;
            }
            Err(trouble) => {
                tracing::debug!(run_id = %run, trouble, "events could not be published yet");
                backoff.pause().await;
            }
        }
    }
}

async fn publish_some(shared: &Arc<Shared>, run: RunId, work: Work) -> Result<Step, String> {
    let Ok(_place) = shared.sending.acquire().await else {
        return Ok(Step::Done);
    };
    let after = work.next.checked_sub(1);
    let batches = shared.local.read(run, after, EVENTS_AT_ONCE).await;
    let batches = batches.map_err(|error| error.to_string())?;
    if batches.is_empty() {
        // Appended and not to be found: the local log counts them as lost, and so must those who follow elsewhere.
        tracing::error!(run_id = %run, seq = work.next, "events that were appended are gone");
        shared.runs.with(run, |_, used| used.published_below(u64::MAX));
        return Ok(Step::Again);
    }
    for events in batches {
        let Some(own) = work.end.checked_sub(events.first_seq()).filter(|own| *own > 0) else {
            // What a later epoch wrote is its writer's to publish; what this one showed and never wrote is lost.
            shared.runs.with(run, |_, used| used.published_below(work.end));
            break;
        };
        let events = events.truncated(own);
        if let Step::Done = publish_batch(shared, run, work, events).await? {
            return Ok(Step::Done);
        }
    }
    Ok(Step::Again)
}

async fn publish_batch(shared: &Arc<Shared>, run: RunId, work: Work, events: EncodedEvents) -> Result<Step, String> {
    let next = events.last_seq() + 1;
    let message = Message {
        epoch: work.epoch,
        durable_below: work.durable_below,
        events,
    };
    let mut connection = shared.link.connected().await;
    let published = shared.commands.publish(&mut connection, run, &message).await;
    shared.link.heard(published.as_ref().err());
    match published {
        Ok(Published::Taken) => shared.runs.with(run, |_, used| used.published_below(next)),
        // An answer was lost and this is the second attempt; or a run that nobody works on was changed by two instances, and then the
        // store has it all.
        Ok(Published::Refused { top_epoch }) if top_epoch <= work.epoch => {
            shared.runs.with(run, |_, used| used.published_below(next));
        }
        Ok(Published::Refused { top_epoch }) => {
            if shared.runs.with(run, |_, used| used.fenced_by(top_epoch)) {
                tracing::info!(run_id = %run, epoch = work.epoch, top_epoch, "a later epoch writes this run elsewhere");
                shared.mirror_if_needed(run);
                return Ok(Step::Done);
            }
            // Written here again, under an epoch that this attempt did not know yet.
        }
        Err(error) => {
            shared.link.report(&error);
            return Err(describe(&error));
        }
    }
    Ok(Step::Again)
}
