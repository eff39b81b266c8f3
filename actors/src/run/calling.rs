//! The tool step: which calls are made, which wait for somebody, and what to make of the answers.
//!
//! A call whose repeat would be unsafe is in the ledger, durably, before it is sent; so is one that waits. Calls that wait are left for last:
//! when all others are answered the run goes to `waiting`, without a Permit or a Slot.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::call_ledger::{CallLedger, CallOutput, CallStage, LedgerCall};
use crate::error::RunError;
use crate::event::EventBody;
use crate::ports::toolbox::{AnsweredBy, ArgumentCheck, RunTool};
use crate::ports::{RetryClass, Tool};
use crate::run::leaving::Leave;
use crate::run::tools::{CallOrder, ToolOutcome, ToolProgressed, ToolReport, WantedCall, make_call, shortened};
use crate::run::{Phase, RunActor};
use crate::run_state::RunState;
use crate::store_actor::Record;
use crate::time::Timestamp;
use crate::tool_use::OnDeadline;

/// What is to become of a call.
enum Plan {
    /// It is made now.
    Make(Arc<dyn Tool>),
    /// It is to be in the ledger first: to be made then, or to wait.
    Enter(LedgerCall),
    /// It waits for somebody, and is in the ledger.
    Wait,
    /// It is not made: the model hears why.
    Refuse(String),
}

/// A call whose arguments were looked at.
#[derive(Debug)]
pub(super) struct CheckedCall {
    call: WantedCall,
    /// Those that it is made with; or why it is not made.
    arguments: Result<Value, String>,
}

/// The arguments of calls were checked; `None` if whoever did it broke.
#[derive(Message)]
#[rtype(result = "()")]
struct CallsChecked {
    generation: u64,
    checked: Option<Vec<CheckedCall>>,
}

impl RunActor {
    /// Checks the arguments of those calls that do not wait for somebody. Not here: a schema and arguments of others may take a while.
    pub(super) fn check_calls(&mut self, calls: Vec<WantedCall>, ctx: &mut Context<Self>) {
        let most = self.services.settings.max_tool_calls_per_answer;
        let mut unchecked = Vec::new();
        for (index, call) in calls.into_iter().enumerate() {
            let entry = self.calls.call(call.item_id);
            if entry.is_some_and(|entry| entry.stage.waits()) {
                continue;
            }
            let changed = entry.map(|entry| entry.arguments.clone());
            let check = match self.toolset.get(&call.name) {
                _ if index >= most => Err(format!("too many tool calls in one answer: at most {most} are made")),
                Some(tool) => Ok(tool.arguments.clone()),
                None => Err(format!(
                    "there is no tool named {:?} in this run",
                    shortened(&call.name)
                )),
            };
            unchecked.push((call, changed, check));
        }
        if unchecked.is_empty() {
            return self.wait_for_calls(ctx);
        }
        self.generation += 1;
        self.phase = Phase::ToolsChecking;
        self.tasks = JoinSet::new();
        let (generation, owner) = (self.generation, ctx.address());
        let checking = async move {
            let checked = AssertUnwindSafe(check_each(unchecked)).catch_unwind().await.ok();
            // A run that is gone makes no calls.
            let _ = owner.send(CallsChecked { generation, checked }).await;
        };
        self.tasks.spawn_on(checking, &self.services.io);
    }

    pub(super) fn call_tools(&mut self, calls: Vec<CheckedCall>, ctx: &mut Context<Self>) {
        let plans: Vec<Plan> = calls.iter().map(|checked| self.plan(checked)).collect();
        if plans.iter().any(|plan| matches!(plan, Plan::Enter(_))) {
            for plan in plans {
                if let Plan::Enter(entry) = plan {
                    self.calls.remove(entry.item_id);
                    self.calls.calls.push(entry);
                }
            }
            // Again when it is durable: then there is nothing left to enter.
            self.phase = Phase::ToolsChecked(calls);
            return self.record(
                Record {
                    calls: Some(self.calls.clone()),
                    notify: true,
                    ..Record::default()
                },
                ctx,
            );
        }
        let (mut to_make, mut refused) = (Vec::new(), Vec::new());
        for (CheckedCall { call, arguments }, plan) in calls.into_iter().zip(plans) {
            match (plan, arguments) {
                (Plan::Make(tool), Ok(arguments)) => to_make.push((call, tool, arguments)),
                (Plan::Make(_), Err(problem)) | (Plan::Refuse(problem), _) => {
                    refused.push((call, CallOutput::error(problem)));
                }
                (Plan::Enter(_) | Plan::Wait, _) => {}
            }
        }
        if to_make.is_empty() && refused.is_empty() {
            return self.wait_for_calls(ctx);
        }
        self.make_calls(to_make, refused.len(), ctx);
        if !refused.is_empty() {
            self.take_results(refused, ctx);
        }
    }

    fn plan(&self, CheckedCall { call, arguments }: &CheckedCall) -> Plan {
        let entry = self.calls.call(call.item_id);
        if entry.is_some_and(|entry| entry.stage.waits()) {
            return Plan::Wait;
        }
        let tool = match (self.toolset.get(&call.name), arguments) {
            (Some(tool), Ok(_)) => tool,
            (_, Err(problem)) => return Plan::Refuse(problem.clone()),
            // Only one that is there was checked.
            (None, Ok(_)) => return Plan::Refuse("this tool is not there any more".to_owned()),
        };
        let text = entry.map_or(call.arguments.as_str(), |entry| entry.arguments.as_str());
        let stage = entry.map(|entry| entry.stage);
        if tool.requires_approval && stage.is_none() {
            let deadline = self.services.settings.approval_deadline;
            return Plan::Enter(self.entry(call, text, CallStage::Approval, tool, deadline));
        }
        match &tool.answered_by {
            AnsweredBy::Client { deadline, .. } => {
                Plan::Enter(self.entry(call, text, CallStage::Output, tool, *deadline))
            }
            AnsweredBy::Server(server) => {
                if server.retry_class() == RetryClass::Unsafe && stage != Some(CallStage::Sent) {
                    return Plan::Enter(self.entry(call, text, CallStage::Sent, tool, None));
                }
                Plan::Make(server.clone())
            }
        }
    }

    fn entry(
        &self,
        call: &WantedCall,
        arguments: &str,
        stage: CallStage,
        tool: &RunTool,
        deadline: Option<Duration>,
    ) -> LedgerCall {
        let (by_client, on_deadline, longest_answer) = match tool.answered_by {
            AnsweredBy::Client { deadline, on_deadline } => (true, on_deadline, deadline),
            AnsweredBy::Server(_) => (false, OnDeadline::default(), None),
        };
        LedgerCall {
            item_id: call.item_id,
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            arguments: arguments.to_owned(),
            is_changed: self.calls.call(call.item_id).is_some_and(|entry| entry.is_changed),
            stage,
            by_client,
            deadline: deadline.map(|after| Timestamp::now().after(after)),
            on_deadline,
            answer_seconds: longest_answer.map(|longest| longest.as_secs()),
        }
    }

    fn make_calls(&mut self, calls: Vec<(WantedCall, Arc<dyn Tool>, Value)>, refused: usize, ctx: &mut Context<Self>) {
        self.generation += 1;
        self.phase = Phase::ToolsCalled(calls.len() + refused);
        self.tasks = JoinSet::new();
        let settings = self.services.settings;
        let turn = Arc::new(Semaphore::new(settings.max_parallel_tools));
        for (call, tool, arguments) in calls {
            let order = CallOrder {
                account: self.ticket.account.clone(),
                run: self.ticket.run,
                generation: self.generation,
                call,
                tool,
                arguments,
            };
            let making = make_call(order, turn.clone(), settings, ctx.address());
            self.tasks.spawn_on(making, &self.services.io);
        }
    }

    /// Takes in results that are there together, as one record: an answer may ask for more calls than a mailbox has room for.
    fn take_results(&mut self, results: Vec<(WantedCall, CallOutput)>, ctx: &mut Context<Self>) {
        let Phase::ToolsCalled(left) = &mut self.phase else {
            return;
        };
        *left -= results.len();
        if *left == 0 {
            self.phase = if self.calls.waiting().next().is_some() {
                Phase::WaitNext
            } else {
                Phase::ModelNext
            };
        }
        let mut record = Record {
            notify: true,
            ..Record::default()
        };
        let mut is_entered = false;
        for (call, answer) in results {
            let entry = self.calls.remove(call.item_id);
            is_entered |= entry.is_some();
            let approved_arguments = entry.as_ref().and_then(LedgerCall::approved_arguments);
            let (item, events) = answer.into_item(call.call_id, approved_arguments, self.next_index);
            self.next_index += 1;
            self.conversation.push(Arc::new(item.clone()));
            record.events.extend(events);
            record.items.push(item);
        }
        record.calls = is_entered.then(|| self.calls.clone());
        self.record(record, ctx);
    }

    pub(super) fn wait_for_calls(&mut self, ctx: &mut Context<Self>) {
        match self.calls.waiting_reason() {
            Some(reason) => self.leave(Leave::waiting(reason), ctx),
            None => {
                self.phase = Phase::ModelNext;
                self.advance(ctx);
            }
        }
    }

    /// What the ledger is to be when the run leaves `running`, if that changes it.
    pub(super) fn ledger_when_leaving(&mut self, to: RunState) -> Option<CallLedger> {
        if self.calls.is_empty() {
            return None;
        }
        if to.is_terminal() {
            self.calls = CallLedger::default();
        } else {
            self.calls.next_index = self.next_index;
            self.calls.begin_waiting(self.deadline, Timestamp::now());
        }
        Some(self.calls.clone())
    }

    /// Takes up the ledger of a run that goes on. What was being sent when its actor was lost has to be looked at by a person: `false` then.
    pub(super) fn take_up_ledger(&mut self, wanted: &[WantedCall]) -> bool {
        self.calls
            .calls
            .retain(|entry| wanted.iter().any(|call| call.item_id == entry.item_id));
        for entry in &mut self.calls.calls {
            if entry.stage == CallStage::Sent {
                entry.stage = CallStage::Review;
            }
        }
        !self.calls.has_review()
    }
}

/// Of each call its arguments as they are in the ledger, if it is there, and the check that is for them, or why the call is not made.
type Unchecked = (WantedCall, Option<String>, Result<Arc<dyn ArgumentCheck>, String>);

async fn check_each(calls: Vec<Unchecked>) -> Vec<CheckedCall> {
    let mut checked = Vec::with_capacity(calls.len());
    for (call, changed, check) in calls {
        let arguments = match check {
            Ok(check) => check.read(changed.unwrap_or_else(|| call.arguments.clone())).await,
            Err(problem) => Err(problem),
        };
        checked.push(CheckedCall { call, arguments });
    }
    checked
}

impl Handler<CallsChecked> for RunActor {
    type Result = ();

    fn handle(&mut self, CallsChecked { generation, checked }: CallsChecked, ctx: &mut Self::Context) {
        if generation != self.generation || !matches!(self.phase, Phase::ToolsChecking) {
            return;
        }
        let Some(checked) = checked else {
            tracing::error!(run_id = %self.ticket.run, "the check of a tool's arguments panicked");
            return self.leave(Leave::failed(RunError::internal()), ctx);
        };
        self.phase = Phase::ToolsChecked(checked);
        self.advance(ctx);
    }
}

impl Handler<ToolReport> for RunActor {
    type Result = ();

    fn handle(&mut self, report: ToolReport, ctx: &mut Self::Context) {
        if report.generation != self.generation || !matches!(self.phase, Phase::ToolsCalled(_)) {
            return;
        }
        match report.outcome {
            ToolOutcome::Answered(answer) => self.take_results(vec![(report.call, answer)], ctx),
            ToolOutcome::Panicked => self.leave(Leave::failed(RunError::internal()), ctx),
        }
    }
}

impl Handler<ToolProgressed> for RunActor {
    type Result = ();

    fn handle(&mut self, progressed: ToolProgressed, ctx: &mut Self::Context) {
        if progressed.generation != self.generation || !matches!(self.phase, Phase::ToolsCalled(_)) {
            return;
        }
        let event = EventBody::ToolProgress {
            item_id: progressed.item_id,
            call_id: progressed.call_id,
            progress: progressed.progress,
        };
        self.record(
            Record {
                events: vec![event],
                ..Record::default()
            },
            ctx,
        );
    }
}
