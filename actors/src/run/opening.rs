//! The way in: the first write of a run, and what it brings.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;

use crate::encoding::EncodedEvents;
use crate::item::Item;
use crate::llm::LlmActor;
use crate::ports::store::{ClaimRun, Idempotency, RunRecord};
use crate::ports::threads::{EnterThread, OnBusy};
use crate::run::leaving::Leave;
use crate::run::ticket::Outcome;
use crate::run::{Phase, RunActor};
use crate::spec::RunSpec;
use crate::store_actor::{OpenFailure, OpenedRun, Opening, StoreActor};
use crate::supervisor::messages::{OnLimit, StartError, StartRun, Started};
use crate::supervisor::{Arrival, Lacks, QueueInstead, StartReply};
use crate::time::Timestamp;

/// How a run came to its actor.
pub(crate) enum Origin {
    /// A client just posted it.
    New {
        arrival: Box<Arrival>,
        on_limit: OnLimit,
        reply: StartReply,
    },
    /// The store has it `running` for this instance, and `events` that nobody has seen. `input`: that is all there is of it.
    Held {
        record: Box<RunRecord>,
        events: EncodedEvents,
        input: Option<Vec<Item>>,
    },
    /// Its turn in the queue came.
    Queued(Box<ClaimRun>),
    /// It was running when the instance before this one was lost.
    Recovered(Box<RunRecord>),
}

/// A new run whose row is not durable yet: whom to answer, and what it takes to let it wait instead.
pub(super) struct Starting {
    reply: StartReply,
    on_limit: OnLimit,
    /// How many items at the beginning of the conversation are the client's; the rest is the model's.
    input_items: usize,
    idempotency: Option<Idempotency>,
    thread: Option<EnterThread>,
}

impl Starting {
    /// Whether the client lets it wait for its thread.
    fn may_wait_for_thread(&self) -> bool {
        let may_wait = self.thread.is_some_and(|thread| thread.on_busy != OnBusy::Refuse);
        may_wait && self.on_limit == OnLimit::Queue
    }
}

impl RunActor {
    /// Starts the children with the run's first write, and the model's first call if that need not wait.
    pub(super) fn begin(&mut self, origin: Origin, ctx: &mut Context<Self>) {
        let (opening, call_model_early) = match origin {
            Origin::New {
                arrival,
                on_limit,
                reply,
            } => {
                let new_run = match arrival.into_new_run() {
                    Ok(new_run) => Box::new(new_run),
                    Err(error) => {
                        // A client that went away need not know.
                        let _ = reply.send(Err(error.into()));
                        return self.stop(Outcome::NotStarted, ctx);
                    }
                };
                self.starting = Some(Starting {
                    reply,
                    on_limit,
                    input_items: new_run.input.len(),
                    idempotency: new_run.idempotency.clone(),
                    thread: new_run.thread,
                });
                self.conversation = new_run.input.iter().cloned().map(Arc::new).collect();
                // What might turn out to be a run that exists must not call the model twice, and a hold on a budget is its run's: it
                // counts once the run is there.
                let budgets = self.services.account_budgets.as_ref();
                let has_budget = budgets.is_some_and(|budgets| budgets.by_tier.contains_key(&new_run.tier));
                // A run of a thread must read first what was said before.
                let is_first = new_run.thread.is_none();
                let early = new_run.idempotency.is_none() && !has_budget && is_first;
                self.ready = is_first;
                self.adopt(new_run.record(), ctx);
                (Opening::Create(new_run), early)
            }
            Origin::Held { record, events, input } => {
                let opening = Opening::Show {
                    epoch: record.epoch,
                    reserved_seq: record.reserved_seq,
                    events,
                };
                // One of a thread must read first what was said before.
                let input = input.filter(|_| record.thread.is_none());
                let is_new = input.is_some();
                self.ready = is_new;
                self.conversation = input.unwrap_or_default().into_iter().map(Arc::new).collect();
                self.adopt(*record, ctx);
                (opening, is_new)
            }
            Origin::Queued(claim) => (Opening::Claim(claim), false),
            Origin::Recovered(record) => {
                let next_seq = record.first_free_seq();
                let (epoch, reserved_seq) = (record.epoch, record.reserved_seq);
                self.recovered = true;
                self.adopt(*record, ctx);
                (
                    Opening::Adopt {
                        epoch,
                        next_seq,
                        reserved_seq,
                    },
                    false,
                )
            }
        };
        let (run, account) = (self.ticket.run, self.ticket.account.clone());
        let (services, backlog) = (self.services.clone(), self.backlog.clone());
        let hold = self.hold.clone();
        let store = StoreActor::new(run, account, services, ctx.address(), opening, backlog.clone(), hold);
        self.store = Some(store.start());
        self.llm = Some(LlmActor::new(self.services.clone(), ctx.address(), backlog).start());
        if call_model_early && self.toolset.is_open() {
            // The upstream call begins while the row commits; nothing is shown before it has.
            self.call_model(ctx);
        }
    }

    /// The first write is done.
    pub(super) fn opened(&mut self, opened: OpenedRun, ctx: &mut Context<Self>) {
        match opened {
            OpenedRun::Created => {
                self.answer_start();
                self.begin_steps(ctx);
            }
            OpenedRun::CreatedInThread(created) => {
                if let Some(record) = &mut self.record {
                    record.thread = created.thread;
                }
                self.answer_start();
                self.load_history(ctx);
            }
            OpenedRun::Claimed(record) => {
                self.ticket.epoch = record.epoch;
                let waited = Timestamp::now().since(record.created_at);
                metrics::histogram!("callboard_run_queue_wait_seconds").record(waited);
                self.adopt(*record, ctx);
                self.load_history(ctx);
            }
            OpenedRun::Shown if self.ready => self.begin_steps(ctx),
            OpenedRun::Adopted | OpenedRun::Shown => self.load_history(ctx),
        }
    }

    /// Tells whoever started the run that it is durable.
    fn answer_start(&mut self) {
        if let (Some(starting), Some(record)) = (self.starting.take(), &self.record) {
            // A client that went away finds its run in the list.
            let _ = starting.reply.send(Ok(Started {
                run: record.clone(),
                queue_position: None,
                replayed: false,
            }));
        }
    }

    /// Goes on with a new run, whose first call may be under way already.
    fn begin_steps(&mut self, ctx: &mut Context<Self>) {
        if matches!(self.phase, Phase::Opening) {
            self.phase = Phase::ModelNext;
        }
        self.tell_missing_tools(ctx);
        self.advance(ctx);
    }

    /// The store has refused or could not do the first write.
    pub(super) fn not_opened(&mut self, failure: OpenFailure, ctx: &mut Context<Self>) {
        let mut starting = self.starting.take();
        let (answer, outcome) = match failure {
            OpenFailure::Existing(run) => (Some(Ok(Started::replay(*run))), Outcome::NotStarted),
            OpenFailure::IdempotencyConflict => (Some(Err(StartError::IdempotencyConflict)), Outcome::NotStarted),
            OpenFailure::NotQueued => (None, Outcome::NotStarted),
            OpenFailure::NotItsTurn => (None, Outcome::StillQueued),
            OpenFailure::ThreadBusy { active } => match starting.take_if(|starting| starting.may_wait_for_thread()) {
                Some(starting) => return self.queue_instead(Lacks::Turn, starting, ctx),
                None => (Some(Err(StartError::ThreadBusy { active })), Outcome::NotStarted),
            },
            OpenFailure::ThreadNotFound => (Some(Err(StartError::ThreadNotFound)), Outcome::NotStarted),
            OpenFailure::QuotaExceeded { running } => match starting {
                Some(starting) => return self.queue_instead(Lacks::Slot { running }, starting, ctx),
                None => (None, Outcome::StillQueued),
            },
            OpenFailure::Store(error) if starting.is_some() => (Some(Err(error.into())), Outcome::NotStarted),
            OpenFailure::Store(error) => {
                tracing::warn!(run_id = %self.ticket.run, %error, "a queued run could not be claimed");
                (None, Outcome::StillQueued)
            }
        };
        if let (Some(starting), Some(answer)) = (starting, answer) {
            // A client that went away has lost nothing: its run is as the answer says.
            let _ = starting.reply.send(answer);
        }
        self.stop(outcome, ctx);
    }

    /// Memory had what it takes but the store did not: a run that was lost still counts there. The new one waits, if it may. What the
    /// model has said to it meanwhile was shown to nobody and is forgotten.
    fn queue_instead(&mut self, lacks: Lacks, starting: Starting, ctx: &mut Context<Self>) {
        let Some(record) = self.record.take() else {
            return self.stop(Outcome::NotStarted, ctx);
        };
        let input = self.conversation.iter().take(starting.input_items);
        let request = StartRun {
            account: record.account,
            tier: record.tier,
            spec: record.spec,
            input: input.map(|item| Item::clone(item)).collect(),
            on_limit: starting.on_limit,
            idempotency: starting.idempotency,
            thread: starting.thread,
        };
        self.stop(
            Outcome::QueueInstead(Box::new(QueueInstead {
                run: record.id,
                request,
                lacks,
                reply: starting.reply,
            })),
            ctx,
        );
    }

    /// Takes what the run was asked to do.
    fn adopt(&mut self, record: RunRecord, ctx: &mut Context<Self>) {
        let spec: &RunSpec = &record.spec;
        self.options = Arc::new(spec.model_options.clone());
        self.progress = record.progress;
        self.calls = record.calls.clone();
        let started_at = record.started_at.unwrap_or(record.created_at);
        let longest = Duration::from_secs(spec.limits.deadline_seconds);
        let deadline = started_at.after(longest.saturating_add(record.calls.reviewed()));
        self.deadline = Some(deadline);
        ctx.run_later(deadline.since(Timestamp::now()), |actor, ctx| {
            actor.leave(Leave::deadline(), ctx)
        });
        self.open_tools(&record, ctx);
        self.record = Some(record);
    }
}
