//! What somebody outside says of calls that wait, and what comes of it.

use std::time::Duration;

use super::same_json::is_same_json;
use super::{CallLedger, CallOutput, CallStage, LedgerCall};
use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, ToolDecision};
use crate::item::Item;
use crate::time::Timestamp;
use crate::tool_use::OnDeadline;

/// What a model is told of a call that a person refused.
const REFUSED: &str = "a person refused this call";

/// What a model is told of a call that nobody answered.
const NOT_ANSWERED: &str = "there was no answer to this call in time";

/// What somebody says of a call that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct CallResolution {
    /// The model's name for the call.
    pub call_id: String,
    /// What is said.
    pub verdict: CallVerdict,
}

/// What is said of a call that waits.
#[derive(Debug, Clone, PartialEq)]
pub enum CallVerdict {
    /// The client's answer.
    Output(CallOutput),
    /// It may be made, with these arguments if not with the model's.
    Approve {
        /// JSON text.
        arguments: Option<String>,
    },
    /// It may not be made.
    Refuse {
        /// Why; the model is told.
        reason: Option<String>,
    },
    /// It may be made again.
    Retry,
    /// This is what it brought.
    TakeResult(CallOutput),
    /// The run cannot go on without it.
    FailRun,
    /// Nobody has said anything in time.
    Overdue,
}

/// Why something that was said of a call is refused. Nothing of what came with it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallProblem {
    /// Which resolution, from 0.
    pub index: usize,
    /// What is wrong.
    pub kind: CallProblemKind,
}

/// What is wrong with something that was said of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallProblemKind {
    /// The run waits for no call of this name (any more).
    Unknown,
    /// The call waits for something else.
    WaitsFor(CallStage),
}

/// What came of resolutions.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolved {
    /// In order, not numbered.
    pub events: Vec<EventBody>,
    /// Results.
    pub items: Vec<Item>,
    /// The run cannot go on.
    pub failed: Option<RunError>,
    /// A call waits for something else than before.
    pub waits_anew: bool,
}

impl CallLedger {
    /// Takes in what is said at `now` of calls that wait: all of it, or none. `Err` has changed nothing.
    pub fn resolve(&mut self, resolutions: &[CallResolution], now: Timestamp) -> Result<Resolved, CallProblem> {
        let mut after = self.clone();
        let mut resolved = Resolved::default();
        for (index, resolution) in resolutions.iter().enumerate() {
            after
                .take_in(resolution, now, &mut resolved)
                .map_err(|kind| CallProblem { index, kind })?;
        }
        after.end_review(now);
        let stage_before = |call: &LedgerCall| self.call(call.item_id).map(|before| before.stage);
        resolved.waits_anew = after.waiting().any(|call| stage_before(call) != Some(call.stage));
        *self = after;
        Ok(resolved)
    }

    fn take_in(
        &mut self,
        resolution: &CallResolution,
        now: Timestamp,
        resolved: &mut Resolved,
    ) -> Result<(), CallProblemKind> {
        let waiting = |call: &LedgerCall| call.call_id == resolution.call_id && call.stage.waits();
        let place = self.calls.iter().position(waiting).ok_or(CallProblemKind::Unknown)?;
        let call = &mut self.calls[place];
        let decided = |call: &LedgerCall, decision| EventBody::ToolDecided {
            item_id: call.item_id,
            call_id: call.call_id.clone(),
            decision,
        };
        match (&resolution.verdict, call.stage) {
            (CallVerdict::Output(output), CallStage::Output) => self.answer(place, output.clone(), resolved),
            (CallVerdict::Approve { arguments }, CallStage::Approval) => {
                if let Some(arguments) = arguments {
                    call.is_changed = !is_same_json(arguments, &call.arguments);
                    call.arguments.clone_from(arguments);
                }
                // What was waited for is there: the deadline of that is over.
                call.deadline = None;
                call.stage = CallStage::Approved;
                if call.by_client {
                    call.stage = CallStage::Output;
                    let longest = call.answer_seconds.map(Duration::from_secs);
                    call.deadline = longest.map(|longest| now.after(longest));
                }
                let decision = ToolDecision::Approved {
                    arguments: arguments.clone(),
                };
                resolved.events.push(decided(call, decision));
            }
            (CallVerdict::Refuse { reason }, CallStage::Approval) => {
                let output = match reason {
                    Some(reason) => format!("{REFUSED}: {reason}"),
                    None => REFUSED.to_owned(),
                };
                resolved.events.push(decided(call, ToolDecision::Refused));
                self.answer(place, CallOutput::error(output), resolved);
            }
            (CallVerdict::Retry, CallStage::Review) => {
                call.stage = CallStage::Approved;
                call.deadline = None;
                resolved.events.push(decided(call, ToolDecision::Retry));
            }
            (CallVerdict::TakeResult(output), CallStage::Review) => {
                resolved.events.push(decided(call, ToolDecision::ResultTaken));
                self.answer(place, output.clone(), resolved);
            }
            (CallVerdict::FailRun, CallStage::Review) => {
                resolved.events.push(decided(call, ToolDecision::RunFailed));
                resolved.failed = Some(RunError::new(
                    RunErrorCode::ReviewFailed,
                    "a person decided that the run cannot go on: nobody knows what became of a tool call",
                ));
            }
            // Somebody was faster, and it waits for something else now.
            (CallVerdict::Overdue, stage) if call.deadline.is_none_or(|deadline| deadline > now) => {
                return Err(CallProblemKind::WaitsFor(stage));
            }
            (CallVerdict::Overdue, CallStage::Output) if call.on_deadline == OnDeadline::FailRun => {
                resolved.failed = Some(RunError::new(
                    RunErrorCode::ToolDeadline,
                    "a tool call was not answered before its deadline",
                ));
            }
            (CallVerdict::Overdue, _) => self.answer(place, CallOutput::error(NOT_ANSWERED.into()), resolved),
            (_, stage) => return Err(CallProblemKind::WaitsFor(stage)),
        }
        Ok(())
    }

    /// Writes the result of a call; its entry goes.
    fn answer(&mut self, place: usize, answer: CallOutput, resolved: &mut Resolved) {
        let call = self.calls.remove(place);
        let approved_arguments = call.approved_arguments();
        let (item, events) = answer.into_item(call.call_id, approved_arguments, self.next_index);
        self.next_index += 1;
        resolved.events.extend(events);
        resolved.items.push(item);
    }
}
