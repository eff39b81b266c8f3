//! The actor of one run: model, then tools in parallel, then the model again, until the model has no more to say, a limit is
//! reached or someone cancels. Every item is durable before the next step begins.
//!
//! It only decides. Writing is its [`StoreActor`]'s, calling the model its [`LlmActor`]'s, calling tools a task's on the I/O
//! runtime; all of them answer by message. It comes in by [`RunActor::begin`] and leaves `running` exactly once, by [`RunActor::leave`].

pub(crate) mod answer;
mod answering;
mod calling;
mod going_on;
pub(crate) mod history;
mod leaving;
mod opening;
mod steps;
mod summarizing;
mod thread_history;
pub(crate) mod ticket;
pub(crate) mod tools;
mod toolset;

use std::sync::Arc;

use actix::prelude::*;
use serde_json::{Map, Value};
use tokio::task::JoinSet;

use crate::call_ledger::CallLedger;
use crate::item::Item;
use crate::llm::{CallInProgress, LlmActor};
use crate::ports::budgets::Charge;
use crate::ports::store::{RunProgress, RunRecord};
use crate::run::answer::Answer;
use crate::run::calling::CheckedCall;
use crate::run::leaving::Leave;
pub(crate) use crate::run::opening::Origin;
use crate::run::opening::Starting;
use crate::run::summarizing::Summarizing;
use crate::run::ticket::{Outcome, RunTicket};
use crate::run::tools::WantedCall;
use crate::run::toolset::Toolset;
use crate::services::RunServices;
use crate::store_actor::{Backlog, Hold, Record, StoreActor, StoreReport, WriteLoss};
use crate::supervisor::arbiters::Placement;
use crate::time::Timestamp;

/// Messages that the actors of one run may have in each other's mailboxes. Each task of a run awaits the answer to its last
/// message before it sends the next. A handler cannot: it sends a few messages and never one for each of many things, for whoever gets them
/// shares its thread and takes in nothing before it is done.
pub(crate) const CHILD_MAILBOX: usize = 1024;

/// Stop the run for good. The supervisor tells whoever asked when the run is gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CancelNow;

/// This instance leaves: give the run back to the queue.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct HandOver;

/// This instance has lost its lease: stop at once and write nothing more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LetGo;

/// What the run does next, once everything recorded is durable; or what it waits for.
#[derive(Debug)]
enum Phase {
    /// The first write.
    Opening,
    /// Call the model.
    ModelNext,
    /// An answer.
    ModelCalled,
    /// A summary of the thread's oldest turns.
    Summarizing,
    /// Check the arguments of these calls.
    ToolsNext(Vec<WantedCall>),
    /// What the check finds.
    ToolsChecking,
    /// Make these calls.
    ToolsChecked(Vec<CheckedCall>),
    /// So many results.
    ToolsCalled(usize),
    /// Wait for those who have to answer or decide about calls.
    WaitNext,
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
    hold: Arc<Hold>,
    /// What is known of the run; for a queued one, once it is claimed.
    record: Option<RunRecord>,
    conversation: Vec<Arc<Item>>,
    toolset: Toolset,
    options: Arc<Map<String, Value>>,
    /// The summary that the next model call has to wait for.
    summarizing: Option<Summarizing>,
    answer: Answer,
    /// The call whose answer that is, once it has begun.
    model_call: Option<Arc<CallInProgress>>,
    /// What was used and is not recorded yet.
    charges: Vec<Charge>,
    next_index: u32,
    /// As it will be with the last record.
    calls: CallLedger,
    progress: RunProgress,
    /// When the run is over, whatever happens in between.
    deadline: Option<Timestamp>,
    /// Tells reports of the step under way from those of steps that were aborted.
    generation: u64,
    phase: Phase,
    /// What is under way on the I/O runtime: reading the past, checking arguments, calling tools. Dropping them aborts them, so none outlives
    /// the actor, whatever became of it.
    tasks: JoinSet<()>,
    /// Records that asked to be told, and how many of them are durable.
    recorded: u64,
    durable: u64,
    /// Whether events can be numbered: not before a claimed run's row is known.
    ready: bool,
    /// The past is to be read when the tools are there.
    history_waits: bool,
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
            hold: Arc::default(),
            record: None,
            conversation: Vec::new(),
            toolset: Toolset::default(),
            options: Arc::default(),
            summarizing: None,
            answer: Answer::default(),
            model_call: None,
            charges: Vec::new(),
            next_index: 0,
            calls: CallLedger::default(),
            progress: RunProgress::default(),
            deadline: None,
            generation: 0,
            phase: Phase::Opening,
            tasks: JoinSet::new(),
            recorded: 0,
            durable: 0,
            ready: false,
            history_waits: false,
            deferred: None,
            first_text_seen: false,
            recovered: false,
        }
    }

    /// Hands a record to the store actor. If it does not take it the run cannot go on: the supervisor will fail it.
    fn record(&mut self, mut record: Record, ctx: &mut Context<Self>) {
        if !record.events.is_empty() {
            record.charges.append(&mut self.charges);
        }
        self.recorded += u64::from(record.notify);
        let problem = match &self.store {
            Some(store) => match store.try_send(record) {
                Ok(()) => return,
                Err(SendError::Full(_)) => "the mailbox of the run's store actor is full",
                Err(SendError::Closed(_)) => "the run's store actor is gone",
            },
            None => "the run has no store actor",
        };
        tracing::error!(run_id = %self.ticket.run, problem, "a run's step cannot be written");
        self.stop(Outcome::Abandoned, ctx);
    }

    fn stop(&mut self, outcome: Outcome, ctx: &mut Context<Self>) {
        self.ticket.outcome.get_or_insert(outcome);
        ctx.stop();
    }
}

impl Actor for RunActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(CHILD_MAILBOX);
        if let Some(origin) = self.origin.take() {
            self.begin(origin, ctx);
        }
    }
}

impl Handler<StoreReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: StoreReport, ctx: &mut Self::Context) {
        match report {
            StoreReport::Opened(Ok(opened)) => self.opened(opened, ctx),
            StoreReport::Opened(Err(failure)) => self.not_opened(failure, ctx),
            StoreReport::Durable(count) => {
                self.durable = count;
                self.advance(ctx);
            }
            StoreReport::Lost(WriteLoss::Fenced) => {
                tracing::warn!(run_id = %self.ticket.run, "another instance has the run; this one lets go");
                self.let_go(ctx);
            }
            StoreReport::Lost(WriteLoss::Broken) => self.stop(Outcome::Abandoned, ctx),
        }
    }
}

impl Handler<CancelNow> for RunActor {
    type Result = ();

    fn handle(&mut self, _: CancelNow, ctx: &mut Self::Context) {
        self.leave(Leave::cancelled(), ctx);
    }
}

impl Handler<LetGo> for RunActor {
    type Result = ();

    fn handle(&mut self, _: LetGo, ctx: &mut Self::Context) {
        self.let_go(ctx);
    }
}

impl Handler<HandOver> for RunActor {
    type Result = ();

    fn handle(&mut self, _: HandOver, ctx: &mut Self::Context) {
        self.leave(Leave::handed_over(), ctx);
    }
}
