//! What the simulated provider remembers of its calls: the last ones, bounded, and counts of all.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use callboard_actors::time::Timestamp;
use serde::Serialize;

/// Calls that are remembered.
const REMEMBERED: usize = 100_000;

#[derive(Debug, Default)]
pub(super) struct Journal {
    calls: Mutex<VecDeque<Call>>,
    begun: AtomicU64,
    open: Arc<AtomicU64>,
}

/// One call.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Call {
    /// The caller's `x-callboard-run`.
    pub(super) run: Option<String>,
    /// The caller's `x-callboard-attempt`; 1 if it did not say.
    pub(super) attempt: u32,
    /// Answers with tool calls that the conversation had already: which step of the run the call is for.
    pub(super) tool_rounds_done: u32,
    /// Microseconds since 1970.
    pub(super) received_at_us: i64,
}

/// Counts.
#[derive(Debug, Serialize)]
pub(super) struct Stats {
    begun: u64,
    open: u64,
}

/// A call that is being answered; dropping it ends it.
#[derive(Debug)]
pub(super) struct OpenCall {
    open: Arc<AtomicU64>,
}

impl Journal {
    pub(super) fn begin(&self, run: Option<String>, attempt: u32, tool_rounds_done: u32) -> OpenCall {
        let call = Call {
            run,
            attempt,
            tool_rounds_done,
            received_at_us: Timestamp::now().as_micros(),
        };
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if calls.len() == REMEMBERED {
            calls.pop_front();
        }
        calls.push_back(call);
        drop(calls);
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        OpenCall {
            open: self.open.clone(),
        }
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    pub(super) fn stats(&self) -> Stats {
        Stats {
            begun: self.begun.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
