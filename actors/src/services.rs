//! What every run of this instance works with: the ports, the shared I/O runtime and the settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::llm::{AccountBudgets, AnswerSharing, ModelRoute, Pictures};
use crate::ports::{EventLog, Store, Threads, Toolbox};
use crate::thread_lines::ThreadLines;

/// The ports, the I/O runtime and the settings, shared by all runs.
#[derive(Clone)]
pub struct RunServices {
    /// What must survive.
    pub store: Arc<dyn Store>,
    /// The conversations that runs go on with.
    pub threads: Arc<dyn Threads>,
    /// Which runs of threads have not ended, on an instance that is alone on its store; empty in a fleet.
    pub thread_lines: ThreadLines,
    /// What subscribers read.
    pub log: Arc<dyn EventLog>,
    /// Models by the name that clients use.
    pub models: HashMap<String, Arc<ModelRoute>>,
    /// What accounts may use; `None` if no tier has a budget.
    pub account_budgets: Option<AccountBudgets>,
    /// Answers that are given again; `None` if no route has any.
    pub shared_answers: Option<AnswerSharing>,
    /// Pictures in uploaded files; `None` if nothing can be uploaded.
    pub pictures: Option<Pictures>,
    /// Finds the tools that runs may call.
    pub toolbox: Arc<dyn Toolbox>,
    /// The multi-thread runtime on which all I/O of the runs happens.
    pub io: tokio::runtime::Handle,
    /// Bounds.
    pub settings: RunSettings,
}

/// Bounds of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunSettings {
    /// What is promised after a crash.
    pub durability: Durability,
    /// How long a tool call may take, unless the tool says less.
    pub tool_timeout: Duration,
    /// How long a person may take to approve a call before the model is told that nobody did; `None` is as long as the run may take.
    pub approval_deadline: Option<Duration>,
    /// Bytes of a tool's output that are kept.
    pub tool_max_output: usize,
    /// Tool calls of one run that run at once.
    pub max_parallel_tools: usize,
    /// Tool calls a model may ask for in one answer; those above it are answered with an error.
    pub max_tool_calls_per_answer: usize,
    /// Bytes of one answer of a model; a longer one fails the run.
    pub max_answer_bytes: usize,
    /// Bytes of text of a thread's earlier turns that a run goes on with.
    pub max_history_bytes: usize,
    /// How often a run may be taken over without having got a step further; `None` is as often as it takes.
    pub max_recoveries: Option<u32>,
    /// Bytes of events that may wait for their commit before the model's stream is held up.
    pub max_unwritten_bytes: usize,
}

/// What is promised to subscribers after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Everything a client saw replays: an event is shown after its commit.
    Strict {
        /// The least time between two commits of a run's deltas. The first delta, and whatever is no delta, commits at once.
        delta_interval: Duration,
    },
    /// Deltas of the unfinished item may be missing, but no seq is ever used twice: deltas are shown at once and written
    /// at the latest after this time.
    Relaxed {
        /// How long deltas may be unwritten.
        flush_interval: Duration,
    },
}

impl Durability {
    /// How many seqs are reserved at a time, so that they can be shown before they are written.
    pub(crate) const fn reservation(self) -> u64 {
        match self {
            Self::Strict { .. } => 0,
            Self::Relaxed { .. } => 4096,
        }
    }
}
