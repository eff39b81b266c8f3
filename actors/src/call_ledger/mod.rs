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
//!
//! Each stage in which somebody is waited for has a deadline of its own, if any: one that was set for an approval does not count for the answer.

mod output;
mod resolving;
mod same_json;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::{WaitingCall, WaitingNeed, WaitingReason};
use crate::ids::ItemId;
use crate::time::Timestamp;
use crate::tool_use::OnDeadline;

pub use output::CallOutput;
pub use resolving::{CallProblem, CallProblemKind, CallResolution, CallVerdict, Resolved};

/// The calls of a run that are begun, or wait for somebody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallLedger {
    /// The place that the run's next item will get: results are written while no actor has the run.
    pub next_index: u32,
    /// When the run is over, whatever it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_deadline: Option<Timestamp>,
    /// Set while the run waits for a review: that time is not the run's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewWait>,
    /// How long it has waited for reviews that are over, microseconds: so much later it is over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reviewed_micros: u64,
    /// In the order in which the model made them.
    pub calls: Vec<LedgerCall>,
}

/// A wait for a review.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReviewWait {
    /// When it began.
    pub since: Timestamp,
    /// When the run would have been over if it had not waited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_deadline: Option<Timestamp>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_zero(micros: &u64) -> bool {
    *micros == 0
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
    /// They are not those of the model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_changed: bool,
    /// Where it stands.
    pub stage: CallStage,
    /// The client answers it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_client: bool,
    /// When it has been waited for long enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// What becomes of it when the client has not answered by then. An approval, or a review, that nobody gives is told to the model.
    #[serde(default)]
    pub on_deadline: OnDeadline,
    /// How long the client may take to answer, in seconds; counts from the approval on if there has to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_seconds: Option<u64>,
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

impl LedgerCall {
    /// The arguments that a person put in the place of the model's.
    pub(crate) fn approved_arguments(&self) -> Option<String> {
        self.is_changed.then(|| self.arguments.clone())
    }
}

impl CallLedger {
    /// Whether there is nothing to keep: nothing is begun, nobody is waited for, and no time was spent on reviews.
    pub const fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.reviewed_micros == 0
    }

    /// How long the run has waited for reviews.
    pub const fn reviewed(&self) -> Duration {
        Duration::from_micros(self.reviewed_micros)
    }

    /// Whether a person has to say what became of a call.
    pub fn has_review(&self) -> bool {
        self.calls.iter().any(|call| call.stage == CallStage::Review)
    }

    /// The run begins to wait, at `now`, and would be over at `deadline`. Only for calls: nothing else ends with the run's time.
    pub(crate) fn begin_waiting(&mut self, deadline: Option<Timestamp>, now: Timestamp) {
        let is_review = self.has_review();
        // Whatever a review finds out is worth knowing, however late.
        self.run_deadline = deadline.filter(|_| !is_review && self.waiting().next().is_some());
        self.review = is_review.then_some(ReviewWait {
            since: now,
            run_deadline: deadline,
        });
    }

    /// If no review is waited for any more, the run gets the time back.
    fn end_review(&mut self, now: Timestamp) {
        if self.has_review() {
            return;
        }
        let Some(review) = self.review.take() else { return };
        let waited = now.since(review.since);
        let micros = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.reviewed_micros = self.reviewed_micros.saturating_add(micros);
        self.run_deadline = review.run_deadline.map(|deadline| deadline.after(waited));
    }

    /// Whether it waits for a review and does not say since when: an earlier version wrote it.
    pub(crate) fn review_is_untimed(&self) -> bool {
        self.review.is_none() && self.has_review()
    }

    /// All of the run's time, of this length, counts from `now` on: nobody knows how much of it went by before a review.
    pub(crate) fn begin_time_anew(&mut self, started_at: Timestamp, length: Duration, now: Timestamp) {
        let micros = u64::try_from(now.since(started_at).as_micros()).unwrap_or(u64::MAX);
        self.reviewed_micros = micros;
        self.run_deadline = Some(now.after(length));
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

    /// Takes the entry of a call out, if it has one.
    pub fn remove(&mut self, item: ItemId) -> Option<LedgerCall> {
        let place = self.calls.iter().position(|call| call.item_id == item)?;
        Some(self.calls.remove(place))
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
}
