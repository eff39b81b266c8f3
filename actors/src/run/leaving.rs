//! The one way out of `running`: to an end, to the queue, or to wait.

use actix::prelude::*;

use crate::call_ledger::CallLedger;
use crate::error::RunError;
use crate::event::{EventBody, QueuedReason, WaitingCall, WaitingNeed, WaitingReason};
use crate::item::{Item, ItemStatus};
use crate::llm::AbortCall;
use crate::ports::store::StateChange;
use crate::run::ticket::Outcome;
use crate::run::{Phase, RunActor};
use crate::run_state::RunState;
use crate::store_actor::Record;
use crate::time::Timestamp;

/// Where a run goes and why.
#[derive(Debug)]
pub(crate) struct Leave {
    to: RunState,
    error: Option<RunError>,
    waiting: Option<WaitingReason>,
}

impl Leave {
    const fn to(to: RunState) -> Self {
        Self {
            to,
            error: None,
            waiting: None,
        }
    }

    pub(crate) const fn completed() -> Self {
        Self::to(RunState::Completed)
    }

    pub(crate) const fn cancelled() -> Self {
        Self::to(RunState::Cancelled)
    }

    pub(crate) const fn handed_over() -> Self {
        Self::to(RunState::Queued)
    }

    pub(crate) const fn waiting(reason: WaitingReason) -> Self {
        Self {
            to: RunState::Waiting,
            error: None,
            waiting: Some(reason),
        }
    }

    pub(crate) const fn failed(error: RunError) -> Self {
        Self {
            to: RunState::Failed,
            error: Some(error),
            waiting: None,
        }
    }

    pub(crate) fn deadline() -> Self {
        Self::failed(RunError::deadline_exceeded())
    }
}

impl RunActor {
    /// Takes the run out of `running`: what is under way is aborted, what was shown is kept. The first to ask decides.
    pub(super) fn leave(&mut self, leave: Leave, ctx: &mut Context<Self>) {
        self.leave_with(leave, Vec::new(), Vec::new(), ctx);
    }

    /// The same, with the last step's events and items in the same commit.
    pub(super) fn leave_with(
        &mut self,
        leave: Leave,
        mut events: Vec<EventBody>,
        mut items: Vec<Item>,
        ctx: &mut Context<Self>,
    ) {
        if matches!(self.phase, Phase::Leaving) {
            return;
        }
        if !self.ready {
            self.deferred.get_or_insert(leave);
            if self.history_waits {
                // It calls no model any more: its past need not be cut to what the tools leave.
                self.load_history(ctx);
            }
            return;
        }
        self.abort_step();
        self.charge_broken_call();
        items.extend(self.answer.end(ItemStatus::Incomplete, &mut events));
        events.extend(EventBody::ending(leave.to, leave.error.as_ref(), self.progress.usage));
        let calls = self.ledger_when_leaving(leave.to);
        match (leave.to, leave.waiting) {
            (RunState::Queued, _) => {
                events.push(EventBody::RunQueued {
                    position: 1,
                    reason: QueuedReason::HandedOver,
                });
            }
            (RunState::Waiting, Some(reason)) => {
                let calls = calls.as_ref().map(CallLedger::told).unwrap_or_default();
                self.tell_operator(reason, &calls);
                events.push(EventBody::RunWaiting { reason, calls });
            }
            _ => {}
        }
        if leave.to.is_terminal() {
            let code = leave.error.as_ref().map_or("", |error| error.code.as_str());
            metrics::counter!("callboard_runs_total", "state" => leave.to.as_str(), "code" => code).increment(1);
        }
        self.phase = Phase::Leaving;
        let change = StateChange {
            to: leave.to,
            error: leave.error,
            waiting: leave.waiting,
            at: Timestamp::now(),
        };
        let leave = Some((change, self.ticket.slot.take()));
        self.record(
            Record {
                events,
                items,
                progress: Some(self.progress),
                calls,
                leave,
                notify: true,
                ..Record::default()
            },
            ctx,
        );
    }

    /// That the run waits is counted; that a person has to look is said too, for nothing else says it to whoever watches the server.
    fn tell_operator(&self, reason: WaitingReason, calls: &[WaitingCall]) {
        metrics::counter!("callboard_runs_waiting_total", "reason" => reason.as_str()).increment(1);
        for call in calls.iter().filter(|call| call.needs == WaitingNeed::Review) {
            tracing::warn!(
                run_id = %self.ticket.run,
                tool = call.name,
                "it is not known what became of a tool call that must not be repeated; the run waits for a review"
            );
        }
    }

    /// Leaves the run to another instance: what is under way is aborted, nothing is written.
    pub(super) fn let_go(&mut self, ctx: &mut Context<Self>) {
        self.hold.let_go();
        self.abort_step();
        self.stop(Outcome::Fenced, ctx);
    }

    /// Aborts the model call and all tasks under way; reports that are on their way already will be ignored.
    pub(super) fn abort_step(&mut self) {
        self.generation += 1;
        if let (Phase::ModelCalled | Phase::Summarizing, Some(llm)) = (&self.phase, &self.llm) {
            // If its mailbox is gone, so is the call.
            let _ = llm.try_send(AbortCall);
        }
        self.tasks.abort_all();
        self.toolset.stop_opening();
    }
}
