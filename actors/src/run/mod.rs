//! The actor of one run: model, then tools in parallel, then the model again, until the model has no more to say, a limit is
//! reached or someone cancels. Every item is durable before the next step begins.
//!
//! It only decides. Writing is its [`StoreActor`]'s, calling the model its [`LlmActor`]'s, calling tools a task's on the I/O
//! runtime; all of them answer by message. It leaves `running` exactly once, by [`RunActor::leave`].

pub(crate) mod answer;
mod history;
mod leaving;
mod steps;
pub(crate) mod ticket;
pub(crate) mod tools;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::event::{EventBody, LostEvents};
use crate::item::{Item, ItemStatus};
use crate::llm_actor::LlmActor;
use crate::ports::ToolDefinition;
use crate::ports::store::{ClaimRun, Idempotency, NewRun, RunProgress, RunRecord};
use crate::run::answer::{Answer, end_item};
use crate::run::history::HistoryLoaded;
use crate::run::leaving::Leave;
use crate::run::ticket::{Outcome, RunTicket};
use crate::run::tools::WantedCall;
use crate::run_state::RunState;
use crate::services::RunServices;
use crate::spec::RunSpec;
use crate::store_actor::{Backlog, OpenFailure, OpenedRun, Opening, Record, StoreActor, StoreReport, WriteLoss};
use crate::supervisor::arbiters::Placement;
use crate::supervisor::messages::{OnLimit, StartError, StartRun, Started};
use crate::supervisor::{QueueInstead, StartReply};
use crate::time::Timestamp;

/// Messages that the actors of one run may have in each other's mailboxes. Each task of a run awaits the answer to its last
/// message before it sends the next, so this is more than there can be.
pub(crate) const CHILD_MAILBOX: usize = 1024;

/// Stop the run for good. The supervisor tells whoever asked when the run is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CancelNow;

/// This instance leaves: give the run back to the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct HandOver;

/// How a run came to its actor.
pub(crate) enum Origin {
    /// A client just posted it.
    New {
        new_run: Box<NewRun>,
        on_limit: OnLimit,
        reply: StartReply,
    },
    /// Its turn in the queue came.
    Queued(Box<ClaimRun>),
    /// It was running when the instance before this one was lost.
    Recovered(Box<RunRecord>),
}

/// A new run whose row is not durable yet: whom to answer, and what it takes to let it wait instead.
struct Starting {
    reply: StartReply,
    on_limit: OnLimit,
    /// How many items at the beginning of the conversation are the client's; the rest is the model's.
    input_items: usize,
    idempotency: Option<Idempotency>,
}

/// What the run does next, once everything recorded is durable; or what it waits for.
#[derive(Debug)]
enum Phase {
    /// The first write.
    Opening,
    /// Call the model.
    ModelNext,
    /// An answer.
    ModelCalled,
    /// Call these tools.
    ToolsNext(Vec<WantedCall>),
    /// So many results.
    ToolsCalled(usize),
    /// The commit that takes the run out of `running`.
    Leaving,
}

pub(crate) struct RunActor {
    services: Arc<RunServices>,
    ticket: RunTicket,
    _placement: Placement,
    origin: Option<Origin>,
    starting: Option<Starting>,
    store: Option<Addr<StoreActor>>,
    llm: Option<Addr<LlmActor>>,
    backlog: Arc<Backlog>,
    /// What is known of the run; for a queued one, once it is claimed.
    record: Option<RunRecord>,
    conversation: Vec<Arc<Item>>,
    tool_definitions: Arc<[ToolDefinition]>,
    options: Arc<Map<String, Value>>,
    answer: Answer,
    next_index: u32,
    progress: RunProgress,
    /// Tells reports of the step under way from those of steps that were aborted.
    generation: u64,
    phase: Phase,
    /// Calls under way. Dropping them aborts them, so none outlives the actor, whatever became of it.
    tool_calls: JoinSet<()>,
    /// Records that asked to be told, and how many of them are durable.
    recorded: u64,
    durable: u64,
    /// Whether events can be numbered: not before a claimed run's row is known.
    ready: bool,
    /// Somebody asked to leave before the run was ready.
    deferred: Option<Leave>,
    first_text_seen: bool,
    /// Found `running` at start, not claimed from the queue.
    recovered: bool,
}

impl RunActor {
    pub(crate) fn new(services: Arc<RunServices>, ticket: RunTicket, placement: Placement, origin: Origin) -> Self {
        Self {
            services,
            ticket,
            _placement: placement,
            origin: Some(origin),
            starting: None,
            store: None,
            llm: None,
            backlog: Arc::default(),
            record: None,
            conversation: Vec::new(),
            tool_definitions: Arc::new([]),
            options: Arc::default(),
            answer: Answer::default(),
            next_index: 0,
            progress: RunProgress::default(),
            generation: 0,
            phase: Phase::Opening,
            tool_calls: JoinSet::new(),
            recorded: 0,
            durable: 0,
            ready: false,
            deferred: None,
            first_text_seen: false,
            recovered: false,
        }
    }

    /// Takes what the run was asked to do.
    fn adopt(&mut self, record: RunRecord, ctx: &mut Context<Self>) {
        let spec: &RunSpec = &record.spec;
        let offered = spec.tools.iter().filter_map(|name| self.services.tools.get(name));
        self.tool_definitions = offered.map(|tool| tool.definition()).collect();
        self.options = Arc::new(spec.model_options.clone());
        self.progress = record.progress;
        let started_at = record.started_at.unwrap_or(record.created_at);
        let deadline = started_at.after(Duration::from_secs(spec.limits.deadline_seconds));
        ctx.run_later(deadline.since(Timestamp::now()), |actor, ctx| {
            actor.leave(Leave::deadline(), ctx)
        });
        self.record = Some(record);
    }

    /// Hands a record to the store actor. If it is gone the run cannot go on: the supervisor will fail it.
    fn record(&mut self, record: Record, ctx: &mut Context<Self>) {
        self.recorded += u64::from(record.notify);
        let sent = self.store.as_ref().is_some_and(|store| store.try_send(record).is_ok());
        if !sent {
            tracing::error!(run_id = %self.ticket.run, "the run's store actor is gone");
            self.stop(Outcome::Abandoned, ctx);
        }
    }

    fn stop(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        self.ticket.outcome.get_or_insert(outcome);
        ctx.stop();
    }

    fn load_history(&self, ctx: &mut Context<Self>) {
        let (services, run, address) = (self.services.clone(), self.ticket.run, ctx.address());
        self.services.io.spawn(async move {
            // A run that was stopped meanwhile needs no past.
            let _ = address.send(history::load(services, run).await).await;
        });
    }

    /// The store has refused or could not do the first write.
    fn not_opened(&mut self, failure: OpenFailure, ctx: &mut Context<Self>) {
        let starting = self.starting.take();
        let (answer, outcome) = match failure {
            OpenFailure::Existing(run) => {
                let started = Started {
                    run: *run,
                    queue_position: None,
                    replayed: true,
                };
                (Some(Ok(started)), Outcome::NotStarted)
            }
            OpenFailure::IdempotencyConflict => (Some(Err(StartError::IdempotencyConflict)), Outcome::NotStarted),
            OpenFailure::NotQueued => (None, Outcome::NotStarted),
            OpenFailure::QuotaExceeded { running } => match starting {
                Some(starting) => return self.queue_instead(running, starting, ctx),
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

    /// The ledger had a Slot but the store had none: a run that was lost still counts there. The new one waits, if it may. What the
    /// model has said to it meanwhile was shown to nobody and is forgotten.
    fn queue_instead(&mut self, running: u32, starting: Starting, ctx: &mut Context<Self>) {
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
        };
        self.stop(
            Outcome::QueueInstead(Box::new(QueueInstead {
                run: record.id,
                request,
                running,
                reply: starting.reply,
            })),
            ctx,
        );
    }
}

impl Actor for RunActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CHILD_MAILBOX);
        let Some(origin) = self.origin.take() else { return };
        let (opening, call_model_early) = match origin {
            Origin::New {
                new_run,
                on_limit,
                reply,
            } => {
                self.starting = Some(Starting {
                    reply,
                    on_limit,
                    input_items: new_run.input.len(),
                    idempotency: new_run.idempotency.clone(),
                });
                self.ready = true;
                self.conversation = new_run.input.iter().cloned().map(Arc::new).collect();
                // What might turn out to be a run that exists must not call the model twice.
                let early = new_run.idempotency.is_none();
                self.adopt(started_record(&new_run), ctx);
                (Opening::Create(new_run), early)
            }
            Origin::Queued(claim) => (Opening::Claim(claim), false),
            Origin::Recovered(record) => {
                let next_seq = record.next_seq.max(record.reserved_seq);
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
        let store = StoreActor::new(run, account, services, ctx.address(), opening, backlog.clone());
        self.store = Some(store.start());
        self.llm = Some(LlmActor::new(self.services.clone(), ctx.address(), backlog).start());
        if call_model_early {
            // The upstream call begins while the row commits; nothing is shown before it has.
            self.call_model(ctx);
        }
    }
}

/// What the store will have of a run that starts at once.
fn started_record(new_run: &NewRun) -> RunRecord {
    RunRecord {
        id: new_run.id,
        account: new_run.account.clone(),
        tier: new_run.tier.clone(),
        state: RunState::Running,
        epoch: 1,
        spec: new_run.spec.clone(),
        error: None,
        waiting: None,
        progress: RunProgress::default(),
        next_seq: new_run.events.last_seq() + 1,
        reserved_seq: new_run.reserved_seq,
        created_at: new_run.created_at,
        started_at: Some(new_run.created_at),
        ended_at: None,
        queue_deadline: None,
    }
}

impl Handler<StoreReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: StoreReport, ctx: &mut Self::Context) {
        match report {
            StoreReport::Opened(Ok(OpenedRun::Created)) => {
                if let (Some(starting), Some(record)) = (self.starting.take(), &self.record) {
                    // A client that went away finds its run in the list.
                    let _ = starting.reply.send(Ok(Started {
                        run: record.clone(),
                        queue_position: None,
                        replayed: false,
                    }));
                }
                if matches!(self.phase, Phase::Opening) {
                    self.phase = Phase::ModelNext;
                }
                self.advance(ctx);
            }
            StoreReport::Opened(Ok(OpenedRun::Claimed(record))) => {
                self.ticket.epoch = record.epoch;
                let waited = Timestamp::now().since(record.created_at);
                metrics::histogram!("callboard_run_queue_wait_seconds").record(waited);
                self.adopt(*record, ctx);
                self.load_history(ctx);
            }
            StoreReport::Opened(Ok(OpenedRun::Adopted)) => self.load_history(ctx),
            StoreReport::Opened(Err(failure)) => self.not_opened(failure, ctx),
            StoreReport::Durable(count) => {
                self.durable = count;
                self.advance(ctx);
            }
            StoreReport::Lost(WriteLoss::Fenced) => {
                tracing::warn!(run_id = %self.ticket.run, "another instance has the run; this one lets go");
                self.stop(Outcome::Fenced, ctx);
            }
            StoreReport::Lost(WriteLoss::Broken) => self.stop(Outcome::Abandoned, ctx),
        }
    }
}

impl Handler<HistoryLoaded> for RunActor {
    type Result = ();

    fn handle(&mut self, loaded: HistoryLoaded, ctx: &mut Self::Context) {
        let history = match loaded.0 {
            Ok(history) => history,
            Err(error) => {
                tracing::error!(run_id = %self.ticket.run, %error, "the run's past cannot be read");
                return self.stop(Outcome::Abandoned, ctx);
            }
        };
        let Some(record) = &self.record else { return };
        self.ready = true;
        self.next_index = history.next_index;
        let whole = history
            .items
            .into_iter()
            .filter(|item| item.status == ItemStatus::Completed);
        self.conversation = whole.map(Arc::new).collect();
        let mut events = Vec::new();
        if self.recovered {
            let lost = (record.reserved_seq > record.next_seq).then(|| LostEvents {
                from: record.next_seq,
                to: record.reserved_seq - 1,
            });
            events.push(EventBody::RunRecovered {
                epoch: record.epoch,
                lost,
            });
        }
        let cut_off: Vec<Item> = history
            .open
            .into_iter()
            .map(|item| end_item(item, ItemStatus::Incomplete, &mut events))
            .collect();
        if !events.is_empty() {
            self.record(
                Record {
                    events,
                    items: cut_off,
                    notify: true,
                    ..Record::default()
                },
                ctx,
            );
        }
        if let Some(leave) = self.deferred.take() {
            return self.leave(leave, ctx);
        }
        let wanted = tools::calls_without_result(self.conversation.iter().map(AsRef::as_ref));
        let repeatable = |call: &WantedCall| tools::may_be_repeated(self.services.tools.get(&call.name));
        if !wanted.iter().all(repeatable) {
            return self.leave(Leave::needs_review(), ctx);
        }
        self.phase = if wanted.is_empty() {
            Phase::ModelNext
        } else {
            Phase::ToolsNext(wanted)
        };
        self.advance(ctx);
    }
}

impl Handler<CancelNow> for RunActor {
    type Result = ();

    fn handle(&mut self, _: CancelNow, ctx: &mut Self::Context) {
        self.leave(Leave::cancelled(), ctx);
    }
}

impl Handler<HandOver> for RunActor {
    type Result = ();

    fn handle(&mut self, _: HandOver, ctx: &mut Self::Context) {
        self.leave(Leave::handed_over(), ctx);
    }
}
