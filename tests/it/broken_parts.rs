//! A store or a tool that breaks in the middle of a run: that run ends as `failed{internal}`, once, and nothing else notices. A store
//! that does not take a run: nothing was admitted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::error::RunErrorCode;
use callboard_actors::ports::store::{Creation, NewRun, RunCommit};
use callboard_actors::ports::{EventLogError, StoreError, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::run_state::RunState;
use callboard_actors::supervisor::messages::{StartError, StartRun};
use serde_json::json;

use crate::harness::{InProcess, Script, start_of};

/// What breaks, once.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    /// This commit panics, counted from 0.
    CommitPanics(u32),
    /// The first run is not taken.
    CreateUnavailable,
    /// The first call of the tool panics.
    ToolPanics,
    /// The event log does not answer this append, counted from 0.
    AppendUnavailable(u32),
}

/// A store and a log that do nothing wrong, but for the fault.
struct BreakingStore {
    commits: AtomicU32,
    creations: AtomicU32,
    appends: AtomicU32,
    fault: Fault,
}

impl BreakingStore {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self {
            commits: AtomicU32::new(0),
            creations: AtomicU32::new(0),
            appends: AtomicU32::new(0),
            fault,
        })
    }
}

#[async_trait]
impl Script for BreakingStore {
    async fn before_create(&self, _run: &NewRun) -> Option<Result<Creation, StoreError>> {
        let number = self.creations.fetch_add(1, Ordering::SeqCst);
        let breaks = number == 0 && self.fault == Fault::CreateUnavailable;
        breaks.then(|| Err(StoreError::Unavailable("told to be away".into())))
    }

    async fn before_commit(&self, _commit: &RunCommit) {
        let number = self.commits.fetch_add(1, Ordering::SeqCst);
        assert!(self.fault != Fault::CommitPanics(number), "told to break");
    }

    async fn before_append(&self) -> Option<EventLogError> {
        let number = self.appends.fetch_add(1, Ordering::SeqCst);
        let breaks = self.fault == Fault::AppendUnavailable(number);
        breaks.then(|| EventLogError::Unavailable("told to be away".into()))
    }
}

/// A tool that does nothing, but for the fault.
struct BreakingTool {
    calls: AtomicU32,
    fault: Fault,
}

#[async_trait]
impl Tool for BreakingTool {
    fn definition(&self) -> ToolDefinition {
        named("nothing")
    }

    async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        assert!(number != 0 || self.fault != Fault::ToolPanics, "told to break");
        Ok("done".into())
    }
}

fn named(name: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.into(),
        description: "For tests.".into(),
        parameters: json!({"type": "object"}),
    }
}

fn start() -> StartRun {
    start_of(json!({"tokens": 3, "tool_calls": [{"name": "nothing"}]}), &["nothing"])
}

/// Starts a run that meets the fault, then a second one, which must find the Slot and the Permit free. Says how the first one ended,
/// `None` if it was not taken.
async fn first_run_with(fault: Fault) -> Option<RunState> {
    let server = InProcess::new(BreakingStore::new(fault)).await;
    let tool = BreakingTool {
        calls: AtomicU32::new(0),
        fault,
    };
    let model = Arc::new(SimulatedModel::default());
    let supervisor = server.supervisor(model, vec![Arc::new(tool)]).await;
    let first = match supervisor.start(start()).await {
        Ok(started) => Some(started.run.id),
        Err(StartError::Store(StoreError::Unavailable(_))) => None,
        Err(error) => panic!("{error}"),
    };
    let healthy = supervisor.start(start()).await.expect("it waits or starts").run.id;
    let mut state = None;
    if let Some(first) = first {
        let run = server.ended(first).await;
        if let Some(error) = &run.error {
            assert_eq!(error.code, RunErrorCode::Internal);
        }
        state = Some(run.state);
    }
    let healthy = server.ended(healthy).await;
    assert_eq!(healthy.state, RunState::Completed, "the second run found its room");
    server.finish(supervisor).await;
    state
}

#[actix_rt::test]
async fn a_panic_in_any_commit_ends_that_run_only() {
    for commit in 0..3 {
        let ended = first_run_with(Fault::CommitPanics(commit)).await;
        assert_eq!(ended, Some(RunState::Failed), "commit {commit}");
    }
    assert_eq!(first_run_with(Fault::Nothing).await, Some(RunState::Completed));
}

#[actix_rt::test]
async fn a_tool_that_panics_ends_its_run_only() {
    assert_eq!(first_run_with(Fault::ToolPanics).await, Some(RunState::Failed));
}

#[actix_rt::test]
async fn a_run_that_the_store_does_not_take_was_never_admitted() {
    assert_eq!(first_run_with(Fault::CreateUnavailable).await, None);
}

#[actix_rt::test]
async fn a_log_that_does_not_answer_holds_a_run_up_and_loses_nothing() {
    for append in 0..3 {
        let ended = first_run_with(Fault::AppendUnavailable(append)).await;
        assert_eq!(ended, Some(RunState::Completed), "append {append}");
    }
}
