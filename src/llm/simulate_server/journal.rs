//! What the simulated provider remembers of its calls: the last ones, bounded, refused ones too.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::Serialize;

/// Calls that are remembered.
const REMEMBERED: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Journal {
    calls: VecDeque<Call>,
    begun: u64,
    open: u64,
}

/// One call.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    /// Counted from 0.
    pub(super) number: u64,
    pub(super) dialect: &'static str,
    /// The last four characters of the key that was shown; empty if none was.
    pub(super) key: Arc<str>,
    /// The caller's `x-callboard-run`.
    pub(super) run: Option<Arc<str>>,
    /// The caller's `x-callboard-attempt`, or what its SDK says; 1 if nobody did.
    pub(super) attempt: u32,
    /// Answers with tool calls that the conversation had already: which step of the run the call is for.
    pub(super) tool_rounds_done: u32,
    /// Microseconds since 1970.
    pub(super) received_at_us: i64,
    /// Likewise; `None` while it is being answered.
    pub(super) ended_at_us: Option<i64>,
    /// The status that was answered; `None` if none was (yet).
    pub(super) status: Option<u16>,
    pub(super) outcome: Outcome,
    pub(super) input_tokens: u64,
    /// Those that were sent, also of an answer that did not come to its end.
    pub(super) output_tokens: u64,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is being answered.
    Open,
    /// It has its whole answer.
    Answered,
    /// 429.
    RateLimited,
    /// 401.
    KeyRefused,
    /// 400: it is not of the dialect.
    Invalid,
    /// An outage hit it.
    Outage,
    /// It failed before its answer because its options said so.
    ToldToFail,
    /// Its answer broke off, was garbage or ended in an error.
    BrokeOff,
    /// The caller went away.
    HungUp,
}

/// Counts of all calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Totals {
    pub(super) begun: u64,
    pub(super) open: u64,
}

impl Journal {
    /// Writes a call down and numbers it.
    pub(super) fn begin(&mut self, mut call: Call) -> u64 {
        call.number = self.begun;
        if self.calls.len() == REMEMBERED {
            self.calls.pop_front();
        }
        self.begun += 1;
        self.open += 1;
        let number = call.number;
        self.calls.push_back(call);
        number
    }

    /// A call is over; `change` notes how, unless it is forgotten by now. Once per call.
    pub(super) fn end(&mut self, number: u64, change: impl FnOnce(&mut Call)) {
        self.open -= 1;
        let oldest = self.begun - self.calls.len() as u64;
        let place = number.checked_sub(oldest).and_then(|place| usize::try_from(place).ok());
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            change(call);
        }
    }

    /// The calls from this number on.
    pub(super) fn calls_from(&self, number: u64) -> Vec<Call> {
        let oldest = self.begun - self.calls.len() as u64;
        let skipped = usize::try_from(number.saturating_sub(oldest)).unwrap_or(usize::MAX);
        self.calls.iter().skip(skipped).cloned().collect()
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            begun: self.begun,
            open: self.open,
        }
    }
}
