//! Runs that no actor has: their positions, their deadlines, their cancelling, and their way back into the queue.

use std::sync::Arc;

use actix::prelude::*;

use crate::encoding::{EncodedEvents, encode};
use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, QueuedReason};
use crate::ids::{AccountId, RunId};
use crate::item::ItemStatus;
use crate::ledger::SlotHold;
use crate::ports::StoreError;
use crate::ports::store::{ParkedOutcome, ParkedUpdate, RunCommit, RunRecord, StateChange};
use crate::queue::WaitingRun;
use crate::run::answer::end_item;
use crate::run::{CancelNow, history};
use crate::run_state::RunState;
use crate::services::RunServices;
use crate::store_actor::append_until_answered;
use crate::supervisor::Supervisor;
use crate::supervisor::fleet::cancel_elsewhere;
use crate::supervisor::messages::{CancelReply, CancelRun};
use crate::time::Timestamp;

/// A parked run was to be cancelled.
#[derive(Message)]
#[rtype(result = "()")]
struct CancelTried {
    run: RunId,
    outcome: Result<ParkedOutcome, StoreError>,
    reply: CancelReply,
}

/// A run that was running is in the queue.
#[derive(Message)]
#[rtype(result = "()")]
struct GivenBack {
    record: Box<RunRecord>,
    slot: SlotHold,
    outcome: Result<(), StoreError>,
}

/// Appends what the store numbered. If another writer of the run was faster, under this epoch or a later one, readers get these events
/// from the store and lose nothing: what was committed last is always appended.
pub(super) async fn show(services: &RunServices, run: RunId, epoch: u64, events: EncodedEvents) {
    let last_seq = events.last_seq();
    match append_until_answered(services, run, epoch, events).await {
        Ok(()) => services.log.mark_durable(run, last_seq),
        Err(refusal) => tracing::debug!(run_id = %run, %refusal, "somebody else was faster"),
    }
}

/// The same, for a run that this instance does not have: readers here go on with what others write.
pub(super) async fn show_and_release(services: &RunServices, run: RunId, epoch: u64, events: EncodedEvents) {
    show(services, run, epoch, events).await;
    services.log.release(run);
}

/// Cancels a run that no actor has.
pub(super) async fn cancel_parked(services: &RunServices, run: RunId) -> Result<ParkedOutcome, StoreError> {
    update(services, ending(run, RunState::Cancelled, None)).await
}

/// Changes a parked run and shows what that brought. Nobody has such a run: whoever follows it here hears what happens to it next from
/// whoever takes it then.
pub(super) async fn update(services: &RunServices, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError> {
    let run = update.run;
    let outcome = services.store.update_parked_run(update).await?;
    if let ParkedOutcome::Updated { record, .. } = &outcome
        && record.state.is_terminal()
    {
        // Before anyone can see that the run has ended: whoever sees it may go on with its thread.
        services.thread_lines.ended(run);
    }
    if let ParkedOutcome::Updated {
        record,
        events: Some(events),
    } = &outcome
    {
        show_and_release(services, run, record.epoch, events.clone()).await;
    }
    Ok(outcome)
}

fn ending(run: RunId, to: RunState, error: Option<RunError>) -> ParkedUpdate {
    let change = StateChange {
        to,
        error,
        waiting: None,
        at: Timestamp::now(),
    };
    ParkedUpdate::moving(run, Vec::new(), change)
}

pub(super) fn count_ending(record: &RunRecord) {
    let code = record.error.as_ref().map_or("", |error| error.code.as_str());
    metrics::counter!("callboard_runs_total", "state" => record.state.as_str(), "code" => code).increment(1);
}

impl Supervisor {
    /// Does `work` on the I/O runtime; its result comes back as a message.
    pub(super) fn io_task<M>(&self, ctx: &mut Context<Self>, work: impl Future<Output = M> + Send + 'static)
    where
        M: Message<Result = ()> + Send + 'static,
        Self: Handler<M>,
    {
        let address = ctx.address();
        self.services.io.spawn(async move {
            // A supervisor that is gone has left its state in the store.
            let _ = address.send(work.await).await;
        });
    }

    /// Gives a run that the store has in its queue its place here. In a fleet the store's notice brings it to whoever has a Permit.
    pub(super) fn line_up(&mut self, record: &RunRecord) {
        if self.member.is_some() {
            return;
        }
        self.queue.insert(WaitingRun {
            id: record.id,
            account: record.account.clone(),
            tier: record.tier.as_str().into(),
            deadline: record.queue_deadline,
            told_at: Timestamp::now(),
        });
    }

    /// Tells the runs of an account where they stand now, those for which it is time.
    pub(super) fn tell_positions(&mut self, account: &AccountId) {
        let now = Timestamp::now();
        let interval = i64::try_from(self.settings.position_interval.as_micros()).unwrap_or(i64::MAX);
        let told_before = Timestamp::from_micros(now.as_micros().saturating_sub(interval));
        let told = self.queue.positions_to_tell(account, told_before, now);
        if told.is_empty() {
            return;
        }
        let services = self.services.clone();
        self.services.io.spawn(async move {
            for (run, position) in told {
                let events = vec![EventBody::RunQueuePosition { position }];
                if let Err(error) = update(&services, ParkedUpdate::telling(run, events)).await {
                    tracing::warn!(run_id = %run, %error, "a queue position could not be told");
                }
            }
        });
    }

    /// Wakes when the next queue deadline is over.
    pub(super) fn schedule_expiry(&mut self, ctx: &mut Context<Self>) {
        let next = self.queue.next_deadline();
        if next == self.expiry.map(|(deadline, _)| deadline) {
            return;
        }
        if let Some((_, timer)) = self.expiry.take() {
            ctx.cancel_future(timer);
        }
        if let Some(deadline) = next {
            let delay = deadline.since(Timestamp::now());
            self.expiry = Some((deadline, ctx.run_later(delay, Self::expire)));
        }
    }

    fn expire(&mut self, ctx: &mut Context<Self>) {
        self.expiry = None;
        for run in self.queue.take_expired(Timestamp::now()) {
            let services = self.services.clone();
            self.services.io.spawn(async move { fail_expired(services, run).await });
        }
        self.schedule_expiry(ctx);
    }

    /// A run that was taken over finds no Permit here: it goes back into the queue, its Slot with it.
    pub(super) fn give_back_to_queue(&mut self, record: RunRecord, slot: SlotHold, ctx: &mut Context<Self>) {
        self.resolving.insert(record.id);
        let services = self.services.clone();
        self.io_task(ctx, async move {
            let outcome = give_back(&services, &record).await;
            GivenBack {
                record: Box::new(record),
                slot,
                outcome,
            }
        });
    }

    /// Answers a cancel with the run as the store has it, now that no actor here has it. One that went back into the queue before it heard of
    /// the cancel is cancelled there, one that another instance has taken over is cancelled by that.
    pub(super) fn answer_cancel(&self, run: RunId, reply: CancelReply, ctx: &mut Context<Self>) {
        let services = self.services.clone();
        let address = ctx.address();
        let is_alone = self.member.is_none();
        self.services.io.spawn(async move {
            let goes_on = |record: &RunRecord| record.is_parked() || (!is_alone && !record.state.is_terminal());
            match services.store.run(run).await {
                Ok(Some(record)) if goes_on(&record) => {
                    // A supervisor that is gone answers nobody.
                    let _ = address.send(CancelRun { run, reply }).await;
                }
                answer => {
                    // A client that went away does not need it.
                    let _ = reply.send(answer);
                }
            }
        });
    }

    pub(super) fn cancel(&mut self, run: RunId, reply: CancelReply, ctx: &mut Context<Self>) {
        if let Some(address) = self.registry.get(&run) {
            // One that is gone already is about to be reported.
            let _ = address.try_send(CancelNow);
            self.cancel_replies.entry(run).or_default().push(reply);
            return;
        }
        if self.resolving.contains(&run) {
            self.cancel_replies.entry(run).or_default().push(reply);
            return;
        }
        let services = self.services.clone();
        if let Some(member) = &self.member {
            let fleet = member.fleet.clone();
            self.services.io.spawn(async move {
                // A client that went away does not need it.
                let _ = reply.send(cancel_elsewhere(services, fleet, run).await);
            });
            return;
        }
        self.io_task(ctx, async move {
            let outcome = cancel_parked(&services, run).await;
            CancelTried { run, outcome, reply }
        });
    }
}

async fn fail_expired(services: Arc<RunServices>, run: WaitingRun) {
    let error = RunError::new(
        RunErrorCode::QueueDeadline,
        "the run did not start before its queue deadline",
    );
    let mut delay = std::time::Duration::from_millis(50);
    loop {
        match update(&services, ending(run.id, RunState::Failed, Some(error.clone()))).await {
            Ok(ParkedOutcome::Updated { record, .. }) => return count_ending(&record),
            Ok(_) => return,
            Err(StoreError::Unavailable(_)) => {
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(std::time::Duration::from_secs(2));
            }
            Err(error) => {
                return tracing::error!(run_id = %run.id, %error, "an expired run could not be failed");
            }
        }
    }
}

async fn give_back(services: &RunServices, record: &RunRecord) -> Result<(), StoreError> {
    let queued = EventBody::RunQueued {
        position: 1,
        reason: QueuedReason::HandedOver,
    };
    let history = history::read(services, record.id).await?;
    let mut events = vec![EventBody::RunRecovered {
        epoch: record.epoch,
        lost: record.lost_events(),
    }];
    // What was shown of it is kept now: whoever cancels it in the queue does not look into its log.
    let open = history.open.into_iter();
    let cut_off = open
        .map(|item| end_item(item, ItemStatus::Incomplete, &mut events))
        .collect();
    events.push(queued);
    let events = encode(record.id, record.first_free_seq(), events);
    let change = StateChange {
        to: RunState::Queued,
        error: None,
        waiting: None,
        at: Timestamp::now(),
    };
    let commit = RunCommit {
        run: record.id,
        account: record.account.clone(),
        epoch: record.epoch,
        events: events.clone(),
        reserved_seq: 0,
        items: cut_off,
        progress: None,
        charges: Vec::new(),
        calls: None,
        change: Some(change),
    };
    services.store.commit(commit).await?;
    if let Some(events) = events {
        show(services, record.id, record.epoch, events).await;
    }
    Ok(())
}

impl Handler<CancelRun> for Supervisor {
    type Result = ();

    fn handle(&mut self, cancel: CancelRun, ctx: &mut Self::Context) {
        self.cancel(cancel.run, cancel.reply, ctx);
    }
}

impl Handler<CancelTried> for Supervisor {
    type Result = ();

    fn handle(&mut self, tried: CancelTried, ctx: &mut Self::Context) {
        let answer = match tried.outcome {
            Ok(ParkedOutcome::Updated { record, .. }) => {
                count_ending(&record);
                self.queue.remove(tried.run);
                self.schedule_expiry(ctx);
                Ok(Some(*record))
            }
            // Its turn came in between: its actor is asked instead.
            Ok(ParkedOutcome::NotParked(record)) if record.state == RunState::Running => {
                if self.registry.contains_key(&tried.run) || self.resolving.contains(&tried.run) {
                    return self.cancel(tried.run, tried.reply, ctx);
                }
                // It is gone again since the store was asked.
                return self.answer_cancel(tried.run, tried.reply, ctx);
            }
            Ok(ParkedOutcome::NotParked(record)) => Ok(Some(*record)),
            Ok(ParkedOutcome::NotFound | ParkedOutcome::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        };
        // A client that went away does not need it.
        let _ = tried.reply.send(answer);
    }
}

impl Handler<GivenBack> for Supervisor {
    type Result = ();

    fn handle(&mut self, given: GivenBack, ctx: &mut Self::Context) {
        let record = *given.record;
        match given.outcome {
            Ok(()) => drop(given.slot),
            Err(StoreError::Unavailable(reason)) => {
                tracing::debug!(run_id = %record.id, reason, "a run could not be given back to the queue; trying again");
                let slot = given.slot;
                ctx.run_later(std::time::Duration::from_secs(1), move |supervisor, ctx| {
                    supervisor.give_back_to_queue(record, slot, ctx);
                });
                return;
            }
            Err(error) => {
                tracing::error!(run_id = %record.id, %error, "the store refused to take a run back into the queue");
                drop(given.slot);
                self.resolving.remove(&record.id);
                return self.gone(record.id, &record.account, ctx);
            }
        }
        self.line_up(&record);
        self.resolving.remove(&record.id);
        self.gone(record.id, &record.account, ctx);
    }
}
