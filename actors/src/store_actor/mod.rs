//! A run's ordered, bounded share of the store: numbers its events, gathers what comes while a write is under way, and shows
//! events when they may be shown.
//!
//! One write at a time, in order. `Strict`: commit, then append to the log; deltas alone commit now and then, not one by one. `Relaxed`: deltas are appended first and committed
//! within the flush interval; everything else as in `Strict`. A store that does not answer holds the run up and loses nothing:
//! the write is tried again until it succeeds or is refused.

mod hold;
mod writes;

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;

use crate::call_ledger::CallLedger;
use crate::encoding::{EncodedEvents, EventEncoder};
use crate::event::EventBody;
use crate::ids::{AccountId, RunId};
use crate::item::Item;
use crate::ledger::SlotHold;
use crate::ports::StoreError;
use crate::ports::budgets::Charge;
use crate::ports::store::{ClaimRun, NewRun, RunCommit, RunProgress, StateChange};
use crate::run::RunActor;
use crate::services::{Durability, RunServices};
use crate::store_actor::writes::Writer;
pub(crate) use hold::{Backlog, Hold};
pub(crate) use writes::append_until_answered;

/// How the run comes into this actor's hands. The first write.
#[derive(Debug)]
pub(crate) enum Opening {
    /// It is new.
    Create(Box<NewRun>),
    /// It was in the queue.
    Claim(Box<ClaimRun>),
    /// The store has it `running` for this instance; these events, its last, are to be shown.
    Show {
        epoch: u64,
        reserved_seq: u64,
        events: EncodedEvents,
    },
    /// It was found `running` and taken over: its log goes on at `next_seq`.
    Adopt {
        epoch: u64,
        next_seq: u64,
        reserved_seq: u64,
    },
}

/// Write this, after everything before it.
#[derive(Debug, Default, Message)]
#[rtype(result = "()")]
pub(crate) struct Record {
    pub(crate) events: Vec<EventBody>,
    pub(crate) items: Vec<Item>,
    pub(crate) progress: Option<RunProgress>,
    /// What model calls used.
    pub(crate) charges: Vec<Charge>,
    /// The ledger of the run's tool calls from now on.
    pub(crate) calls: Option<CallLedger>,
    /// The run leaves `running`; its Slot is given back with the commit, before anyone can see the event.
    pub(crate) leave: Option<(StateChange, Option<SlotHold>)>,
    /// Tell the run when it is durable.
    pub(crate) notify: bool,
}

/// What the run's actor hears from its store actor.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum StoreReport {
    /// The first write is done, or was refused.
    Opened(Result<OpenedRun, OpenFailure>),
    /// So many of the records that asked for it are durable, in all.
    Durable(u64),
    /// Nothing more can be written.
    Lost(WriteLoss),
}

/// What the first write brought.
#[derive(Debug)]
pub(crate) enum OpenedRun {
    Created,
    Claimed(Box<crate::ports::store::RunRecord>),
    Shown,
    Adopted,
}

/// Why the first write was refused.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    Existing(Box<crate::ports::store::RunRecord>),
    IdempotencyConflict,
    QuotaExceeded { running: u32 },
    NotQueued,
    Store(StoreError),
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteLoss {
    /// Another instance has the run.
    Fenced,
    /// The store refused or broke in a way that another try would not mend.
    Broken,
}

pub(crate) struct StoreActor {
    run: RunId,
    account: AccountId,
    epoch: u64,
    services: Arc<RunServices>,
    owner: Addr<RunActor>,
    opening: Option<Opening>,
    encoder: EventEncoder,
    reserved_seq: u64,
    /// Shown but not yet committed (`Relaxed`).
    shown: Vec<EncodedEvents>,
    gathered: Gathered,
    /// Records durable that asked to be told.
    durable: u64,
    busy: bool,
    flush_scheduled: bool,
    lost: bool,
    /// When the last commit began.
    committed_at: Option<Instant>,
    backlog: Arc<Backlog>,
    hold: Arc<Hold>,
}

/// What waits for the next commit, besides events.
#[derive(Debug, Default)]
struct Gathered {
    items: Vec<Item>,
    progress: Option<RunProgress>,
    charges: Vec<Charge>,
    calls: Option<CallLedger>,
    leave: Option<(StateChange, Option<SlotHold>)>,
    notices: u64,
    /// Something that may not be shown before it is committed.
    must_commit: bool,
}

/// A write has ended.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct WriteEnded {
    outcome: Result<WriteDone, WriteLoss>,
}

#[derive(Debug)]
enum WriteDone {
    Opened(Result<(OpenedRun, Option<Log>), OpenFailure>),
    Committed { notices: u64 },
    Shown(EncodedEvents),
}

/// Where the log of a claimed run goes on.
#[derive(Debug, Clone, Copy)]
struct Log {
    epoch: u64,
    next_seq: u64,
    reserved_seq: u64,
}

impl StoreActor {
    pub(crate) fn new(
        run: RunId,
        account: AccountId,
        services: Arc<RunServices>,
        owner: Addr<RunActor>,
        opening: Opening,
        backlog: Arc<Backlog>,
        hold: Arc<Hold>,
    ) -> Self {
        let (epoch, next_seq, reserved_seq) = match &opening {
            Opening::Create(new_run) => (1, new_run.events.last_seq() + 1, new_run.reserved_seq),
            // Known when the store has answered; nothing is recorded before that.
            Opening::Claim(_) => (0, 0, 0),
            Opening::Show {
                epoch,
                reserved_seq,
                events,
            } => (*epoch, events.last_seq() + 1, *reserved_seq),
            Opening::Adopt {
                epoch,
                next_seq,
                reserved_seq,
            } => (*epoch, *next_seq, *reserved_seq),
        };
        Self {
            run,
            account,
            epoch,
            services,
            owner,
            opening: Some(opening),
            encoder: EventEncoder::new(run, next_seq),
            reserved_seq,
            shown: Vec::new(),
            gathered: Gathered::default(),
            durable: 0,
            busy: false,
            flush_scheduled: false,
            lost: false,
            committed_at: None,
            backlog,
            hold,
        }
    }

    fn report(&self, report: StoreReport) {
        // The run's mailbox has room for all its children can have under way; if it is gone, nobody needs to know.
        if let Err(SendError::Full(_)) = self.owner.try_send(report) {
            tracing::error!(run_id = %self.run, "the run's mailbox was full; a report of its store was lost");
        }
    }

    /// Begins the next write if there is something to write and none is under way.
    fn write_next(&mut self, ctx: &mut Context<Self>) {
        if self.busy || self.lost {
            return;
        }
        if let Some(opening) = self.opening.take() {
            self.spawn(ctx, writes::open(self.writer(), opening));
            return;
        }
        if !self.gathered.must_commit {
            match self.services.settings.durability {
                Durability::Strict { delta_interval } => self.commit_deltas(delta_interval, ctx),
                Durability::Relaxed { flush_interval } => self.show_deltas(flush_interval, ctx),
            }
            return;
        }
        self.committed_at = Some(Instant::now());
        let fresh = self.encoder.take();
        let shown = std::mem::take(&mut self.shown);
        let all = EncodedEvents::join_all(shown.iter().chain(fresh.as_ref()));
        let gathered = std::mem::take(&mut self.gathered);
        self.backlog.set(0);
        let mut commit = RunCommit {
            run: self.run,
            account: self.account.clone(),
            epoch: self.epoch,
            events: all,
            reserved_seq: 0,
            items: gathered.items,
            progress: gathered.progress,
            charges: gathered.charges,
            calls: gathered.calls,
            change: None,
        };
        let mut slot = None;
        if let Some((change, held)) = gathered.leave {
            commit.change = Some(change);
            slot = held;
        } else if matches!(self.services.settings.durability, Durability::Relaxed { .. }) {
            commit.reserved_seq = self.encoder.next_seq() + self.services.settings.durability.reservation();
            self.reserved_seq = commit.reserved_seq;
        }
        self.spawn(ctx, writes::write(self.writer(), commit, slot, fresh, gathered.notices));
    }

    /// `Strict` only: commits deltas, a while after the commit before.
    fn commit_deltas(&mut self, interval: Duration, ctx: &mut Context<Self>) {
        let buffered = self.encoder.buffered_bytes();
        if buffered == 0 {
            return;
        }
        let since_last = self.committed_at.map_or(interval, |at| at.elapsed());
        if since_last >= interval || buffered >= self.services.settings.max_unwritten_bytes {
            self.gathered.must_commit = true;
            self.write_next(ctx);
            return;
        }
        self.schedule_flush(interval - since_last, ctx);
    }

    /// Commits what there is after this time, whatever it is.
    fn schedule_flush(&mut self, after: Duration, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.flush_scheduled, true) {
            return;
        }
        ctx.run_later(after, |actor, ctx| {
            actor.flush_scheduled = false;
            actor.gathered.must_commit |= !actor.shown.is_empty() || actor.encoder.buffered_bytes() > 0;
            actor.write_next(ctx);
        });
    }

    /// `Relaxed` only: shows deltas now, and sees to it that they are committed soon.
    fn show_deltas(&mut self, flush_interval: Duration, ctx: &mut Context<Self>) {
        if self.encoder.next_seq() > self.reserved_seq {
            self.gathered.must_commit = true;
            self.write_next(ctx);
            return;
        }
        let Some(events) = self.encoder.take() else { return };
        self.schedule_flush(flush_interval, ctx);
        let (writer, epoch) = (self.writer(), self.epoch);
        self.spawn(ctx, async move {
            writer.show(epoch, events.clone()).await?;
            Ok(WriteDone::Shown(events))
        });
    }

    fn writer(&self) -> Writer {
        Writer {
            services: self.services.clone(),
            run: self.run,
            hold: self.hold.clone(),
        }
    }

    fn spawn(
        &mut self,
        ctx: &mut Context<Self>,
        work: impl Future<Output = Result<WriteDone, WriteLoss>> + Send + 'static,
    ) {
        self.busy = true;
        let address = ctx.address();
        let run = self.run;
        // Never aborted: between a commit and its append lies what readers wait for. A write that outlives its run is fenced.
        self.services.io.spawn(async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_panic| {
                tracing::error!(run_id = %run, "a write panicked");
                Err(WriteLoss::Broken)
            });
            // A closed mailbox means that the run is gone.
            let _ = address.send(WriteEnded { outcome }).await;
        });
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(crate::run::CHILD_MAILBOX);
        self.write_next(ctx);
    }
}

impl Handler<Record> for StoreActor {
    type Result = ();

    fn handle(&mut self, record: Record, ctx: &mut Self::Context) {
        let gathered = &mut self.gathered;
        let deltas_only = record.items.is_empty()
            && record.progress.is_none()
            && record.charges.is_empty()
            && record.calls.is_none()
            && record.leave.is_none()
            && !record.notify
            && record.events.iter().all(EventBody::is_delta);
        gathered.must_commit |= !deltas_only;
        for event in record.events {
            self.encoder.push(event);
        }
        gathered.items.extend(record.items);
        gathered.charges.extend(record.charges);
        gathered.progress = record.progress.or(gathered.progress);
        if record.calls.is_some() {
            gathered.calls = record.calls;
        }
        gathered.notices += u64::from(record.notify);
        if gathered.leave.is_none() {
            gathered.leave = record.leave;
        }
        self.backlog.set(self.encoder.buffered_bytes());
        self.write_next(ctx);
    }
}

impl Handler<WriteEnded> for StoreActor {
    type Result = ();

    fn handle(&mut self, ended: WriteEnded, ctx: &mut Self::Context) {
        self.busy = false;
        match ended.outcome {
            Ok(WriteDone::Opened(Ok((opened, log)))) => {
                if let Some(log) = log {
                    self.epoch = log.epoch;
                    self.reserved_seq = log.reserved_seq;
                    self.encoder.skip_to(log.next_seq);
                }
                self.report(StoreReport::Opened(Ok(opened)));
            }
            Ok(WriteDone::Opened(Err(failure))) => {
                self.lost = true;
                self.report(StoreReport::Opened(Err(failure)));
            }
            Ok(WriteDone::Committed { notices }) => {
                self.durable += notices;
                if notices > 0 {
                    self.report(StoreReport::Durable(self.durable));
                }
            }
            Ok(WriteDone::Shown(events)) => {
                self.shown.push(events);
                let unwritten: usize = self.shown.iter().map(|events| events.bytes().len()).sum();
                self.gathered.must_commit |= unwritten > self.services.settings.max_unwritten_bytes;
            }
            Err(loss) => {
                self.lost = true;
                self.report(StoreReport::Lost(loss));
            }
        }
        self.write_next(ctx);
    }
}
