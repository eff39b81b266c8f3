//! The ledger of a run's tool calls: what was begun and has no known end, and what somebody outside has to decide or to answer.
//!
//! An entry is durable before its call is sent (if a repeat would be unsafe) and before the run waits for it; it goes when the call's result is
//! committed. Calls that may be repeated need none: their item says enough.
//!
//! ```text
//!               ┌──────────── approved ────────────┐
//!               │                                  ▼
//!   ─▶ Approval ┼─ refused ─▶ (result)          Approved ─▶ Sent ─▶ (result)
//!               └─ of a client's tool ─▶ Output ─▶ (result)   │ crash: nobody knows
//!                                          ▲                  ▼
//!                                          │               Review ── retry ─▶ Approved
//!   ──────── of a client's tool ───────────┘                  └─ result, fail ─▶ (result, end of the run)
//! ```

use serde::{Deserialize, Serialize};

use crate::error::{RunError, RunErrorCode};
use crate::event::{EventBody, ItemSeed, ToolDecision, WaitingCall, WaitingNeed, WaitingReason};
use crate::ids::ItemId;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::run::tools::cut;
use crate::time::Timestamp;
use crate::tool_use::OnDeadline;

/// What a model is told of a call that a person refused.
const REFUSED: &str = "a person refused this call";

/// What a model is told of a call that nobody answered.
const NOT_ANSWERED: &str = "there was no answer to this call in time";

/// The calls of a run that are begun, or wait for somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallLedger {
    /// The place that the run's next item will get: results are written while no actor has the run.
    pub next_index: u32,
    /// When the run is over, whatever it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_deadline: Option<Timestamp>,
    /// In the order in which the model made them.
    pub calls: Vec<LedgerCall>,
}

/// A call in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerCall {
    /// The item of the call.
    pub item_id: ItemId,
    /// The model's name for it.
    pub call_id: String,
    /// Which tool.
    pub name: String,
    /// The arguments that count: those of the model, or of whoever approved them.
    pub arguments: String,
    /// Where it stands.
    pub stage: CallStage,
    /// The client answers it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_client: bool,
    /// When it has been waited for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What becomes of it then.
    #[serde(default)]
    pub on_deadline: OnDeadline,
}

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallStage {
    /// A person has to say yes.
    Approval,
    /// The client has to answer.
    Output,
    /// It was sent and must not be sent twice, and nobody knows what became of it: a person has to say.
    Review,
    /// It may be sent.
    Approved,
    /// It is being sent, or was when this was written.
    Sent,
}

impl CallStage {
    /// Whether somebody outside has to do something.
    pub const fn waits(self) -> bool {
        matches!(self, Self::Approval | Self::Output | Self::Review)
    }
}

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

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutput {
    /// What the model gets to see.
    pub output: String,
    /// It tells of a failure.
    pub is_error: bool,
    /// It was longer than the limit, and is cut.
    pub truncated: bool,
}

impl CallOutput {
    /// At most `limit` bytes of an answer, and a line that says what is missing.
    pub fn bounded(output: String, is_error: bool, limit: usize) -> Self {
        let (output, truncated) = cut(output, limit);
        Self {
            output,
            is_error,
            truncated,
        }
    }

    fn error(output: String) -> Self {
        Self {
            output,
            is_error: true,
            truncated: false,
        }
    }
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
}

impl CallLedger {
    /// Whether nothing is begun and nobody is waited for.
    pub const fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// The call with this item.
    pub fn call(&self, item: ItemId) -> Option<&LedgerCall> {
        self.calls.iter().find(|call| call.item_id == item)
    }

    /// Calls that wait for somebody.
    pub fn waiting(&self) -> impl Iterator<Item = &LedgerCall> {
        self.calls.iter().filter(|call| call.stage.waits())
    }

    /// What the run waits for: a review first, then an approval, then outputs.
    pub fn waiting_reason(&self) -> Option<WaitingReason> {
        let most_urgent = |stage: &CallStage| match stage {
            CallStage::Review => 0,
            CallStage::Approval => 1,
            _ => 2,
        };
        let stages = self.waiting().map(|call| call.stage);
        stages.min_by_key(most_urgent).map(|stage| match stage {
            CallStage::Review => WaitingReason::NeedsReview,
            CallStage::Approval => WaitingReason::Approval,
            _ => WaitingReason::ToolOutputs,
        })
    }

    /// The calls that wait for somebody, as subscribers see them.
    pub fn told(&self) -> Vec<WaitingCall> {
        let told = self.waiting().map(|call| WaitingCall {
            item_id: call.item_id,
            call_id: call.call_id.clone(),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            needs: match call.stage {
                CallStage::Output => WaitingNeed::Output,
                CallStage::Review => WaitingNeed::Review,
                _ => WaitingNeed::Approval,
            },
            deadline: call.deadline,
        });
        told.collect()
    }

    /// The call with this item.
    pub fn call_mut(&mut self, item: ItemId) -> Option<&mut LedgerCall> {
        self.calls.iter_mut().find(|call| call.item_id == item)
    }

    /// Takes the entry of a call out; `false` if it has none.
    pub fn remove(&mut self, item: ItemId) -> bool {
        let before = self.calls.len();
        self.calls.retain(|call| call.item_id != item);
        self.calls.len() < before
    }

    /// When the next call, or the run, has been waited for long enough.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let calls = self.waiting().filter_map(|call| call.deadline);
        calls.chain(self.run_deadline).min()
    }

    /// Whether the run is over at `now`, whatever it waits for.
    pub fn run_is_overdue(&self, now: Timestamp) -> bool {
        self.run_deadline.is_some_and(|deadline| deadline <= now)
    }

    /// What the clock says at `now`.
    pub fn overdue(&self, now: Timestamp) -> Vec<CallResolution> {
        let over = self
            .waiting()
            .filter(|call| call.deadline.is_some_and(|deadline| deadline <= now));
        over.map(|call| CallResolution {
            call_id: call.call_id.clone(),
            verdict: CallVerdict::Overdue,
        })
        .collect()
    }

    /// Takes in what is said of calls that wait: all of it, or none. `Err` has changed nothing.
    pub fn resolve(&mut self, resolutions: &[CallResolution]) -> Result<Resolved, CallProblem> {
        let mut after = self.clone();
        let mut resolved = Resolved::default();
        for (index, resolution) in resolutions.iter().enumerate() {
            after
                .take_in(resolution, &mut resolved)
                .map_err(|kind| CallProblem { index, kind })?;
        }
        *self = after;
        Ok(resolved)
    }

    fn take_in(&mut self, resolution: &CallResolution, resolved: &mut Resolved) -> Result<(), CallProblemKind> {
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
                    call.arguments.clone_from(arguments);
                }
                call.stage = if call.by_client {
                    CallStage::Output
                } else {
                    call.deadline = None;
                    CallStage::Approved
                };
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
            (CallVerdict::Overdue, _) => match call.on_deadline {
                OnDeadline::TellModel => self.answer(place, CallOutput::error(NOT_ANSWERED.into()), resolved),
                OnDeadline::FailRun => {
                    resolved.failed = Some(RunError::new(
                        RunErrorCode::ToolDeadline,
                        "a tool call was not answered before its deadline",
                    ));
                }
            },
            (_, stage) => return Err(CallProblemKind::WaitsFor(stage)),
        }
        Ok(())
    }

    /// Writes the result of a call; its entry goes.
    fn answer(&mut self, place: usize, answer: CallOutput, resolved: &mut Resolved) {
        let call = self.calls.remove(place);
        let content = ItemContent::ToolResult {
            call_id: call.call_id.clone(),
            output: answer.output,
            is_error: answer.is_error,
            truncated: answer.truncated,
        };
        let item = Item::new(ItemStatus::Completed, content);
        let index = self.next_index;
        self.next_index += 1;
        resolved.events.push(EventBody::ItemAdded {
            item_id: item.id,
            index,
            item: ItemSeed::ToolResult { call_id: call.call_id },
        });
        resolved.events.push(EventBody::ItemCompleted {
            index,
            item: item.clone(),
        });
        resolved.items.push(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, stage: CallStage) -> LedgerCall {
        LedgerCall {
            item_id: ItemId::new(),
            call_id: name.into(),
            name: "tool".into(),
            arguments: "{}".into(),
            stage,
            by_client: stage == CallStage::Output,
            deadline: None,
            on_deadline: OnDeadline::TellModel,
        }
    }

    fn said(call_id: &str, verdict: CallVerdict) -> CallResolution {
        CallResolution {
            call_id: call_id.into(),
            verdict,
        }
    }

    fn output(text: &str) -> CallOutput {
        CallOutput {
            output: text.into(),
            is_error: false,
            truncated: false,
        }
    }

    fn ledger(calls: Vec<LedgerCall>) -> CallLedger {
        CallLedger {
            next_index: 7,
            run_deadline: None,
            calls,
        }
    }

    #[test]
    fn an_answer_is_written_at_the_next_place_and_only_once() {
        let mut ledger = ledger(vec![call("a", CallStage::Output), call("b", CallStage::Output)]);
        assert_eq!(ledger.waiting_reason(), Some(WaitingReason::ToolOutputs));
        let answer = [said("b", CallVerdict::Output(output("two")))];
        let resolved = ledger.resolve(&answer).expect("b waits");
        assert_eq!(
            (resolved.items.len(), resolved.events.len(), ledger.next_index),
            (1, 2, 8)
        );
        let again = ledger.resolve(&answer).expect_err("it is answered");
        assert_eq!(again.kind, CallProblemKind::Unknown);
        assert_eq!(ledger.waiting().count(), 1);
    }

    #[test]
    fn of_several_all_are_taken_or_none() {
        let mut ledger = ledger(vec![call("a", CallStage::Output), call("b", CallStage::Approval)]);
        let before = ledger.clone();
        let wrong = [
            said("a", CallVerdict::Output(output("one"))),
            said("b", CallVerdict::Output(output("two"))),
        ];
        let problem = ledger.resolve(&wrong).expect_err("b waits for approval");
        assert_eq!(
            (problem.index, problem.kind),
            (1, CallProblemKind::WaitsFor(CallStage::Approval))
        );
        assert_eq!(ledger, before);
        let twice = [
            said("a", CallVerdict::Output(output("one"))),
            said("a", CallVerdict::Output(output("one"))),
        ];
        assert_eq!(ledger.resolve(&twice).expect_err("twice").index, 1);
    }

    #[test]
    fn an_approved_call_may_be_sent_and_a_refused_one_tells_the_model() {
        let mut ledger = ledger(vec![call("a", CallStage::Approval), call("b", CallStage::Approval)]);
        let edited = CallVerdict::Approve {
            arguments: Some("{\"x\":1}".into()),
        };
        let refused = CallVerdict::Refuse {
            reason: Some("too dear".into()),
        };
        let resolved = ledger
            .resolve(&[said("a", edited), said("b", refused)])
            .expect("both wait");
        assert_eq!(ledger.calls.len(), 1);
        assert_eq!(
            (ledger.calls[0].stage, ledger.calls[0].arguments.as_str()),
            (CallStage::Approved, "{\"x\":1}")
        );
        assert_eq!(ledger.waiting_reason(), None);
        let ItemContent::ToolResult { output, is_error, .. } = &resolved.items[0].content else {
            panic!("a result");
        };
        assert_eq!(
            (output.as_str(), *is_error),
            ("a person refused this call: too dear", true)
        );
    }

    #[test]
    fn what_is_overdue_tells_the_model_or_ends_the_run() {
        let now = Timestamp::now();
        let due = |name: &str, on_deadline| LedgerCall {
            deadline: Some(now),
            on_deadline,
            ..call(name, CallStage::Output)
        };
        let mut patient = ledger(vec![due("a", OnDeadline::TellModel), call("b", CallStage::Output)]);
        let overdue = patient.overdue(now);
        assert_eq!(overdue.len(), 1);
        let resolved = patient.resolve(&overdue).expect("it waits");
        assert_eq!((resolved.items.len(), resolved.failed), (1, None));
        let mut strict = ledger(vec![due("a", OnDeadline::FailRun)]);
        let overdue = strict.overdue(now);
        let failed = strict.resolve(&overdue).expect("it waits").failed;
        assert_eq!(failed.map(|error| error.code), Some(RunErrorCode::ToolDeadline));
    }

    #[test]
    fn whoever_reviews_may_have_it_sent_again_or_say_what_it_brought() {
        let mut ledger = ledger(vec![call("a", CallStage::Review), call("b", CallStage::Review)]);
        let said = [
            said("a", CallVerdict::Retry),
            said("b", CallVerdict::TakeResult(output("paid"))),
        ];
        let resolved = ledger.resolve(&said).expect("both wait");
        assert_eq!(resolved.items.len(), 1);
        assert_eq!(ledger.calls.len(), 1);
        assert_eq!(ledger.calls[0].stage, CallStage::Approved);
    }
}
