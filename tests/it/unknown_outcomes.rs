//! Rules 5, 6 and 7: what becomes of tool calls whose result is not known, of an actor that has lost its run, and of a cancel whose run
//! goes on while the store is asked.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callboard::llm::simulated::SimulatedModel;
use callboard_actors::call_ledger::{
    CallLedger, CallOutput, CallResolution, CallStage, CallVerdict, LedgerCall, ReviewWait,
};
use callboard_actors::encoding::encode;
use callboard_actors::error::RunErrorCode;
use callboard_actors::event::{EventBody, WaitingReason};
use callboard_actors::item::{Item, ItemContent, ItemStatus};
use callboard_actors::ports::store::{ParkedUpdate, RunCommit, StateChange};
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;
use callboard_actors::tool_use::OnDeadline;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{InProcess, Script, patiently, running_since, start_of};

struct NothingBreaks;

impl Script for NothingBreaks {}

/// The first commit of a tool's result panics.
struct FirstResultBreaks(AtomicBool);

#[async_trait]
impl Script for FirstResultBreaks {
    async fn before_commit(&self, commit: &RunCommit) {
        let has_result = commit
            .items
            .iter()
            .any(|item| matches!(item.content, ItemContent::ToolResult { .. }));
        assert!(!has_result || self.0.swap(true, Ordering::SeqCst), "told to break");
    }
}

/// What tools tell the test and are told by it.
#[derive(Clone)]
struct Signals {
    begun: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
    dropped: Arc<Semaphore>,
}

impl Signals {
    fn new() -> Self {
        let none = || Arc::new(Semaphore::new(0));
        Self {
            begun: none(),
            go_on: none(),
            dropped: none(),
        }
    }
}

async fn wait_for(signal: &Semaphore, what: &str) {
    patiently(what, signal.acquire()).await.unwrap().forget();
}

/// Begins, and answers when it is told to.
struct HeldTool {
    signals: Signals,
    retry_class: RetryClass,
}

#[async_trait]
impl Tool for HeldTool {
    fn definition(&self) -> ToolDefinition {
        named("held")
    }

    fn retry_class(&self) -> RetryClass {
        self.retry_class
    }

    async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
        self.signals.begun.add_permits(1);
        self.signals.go_on.acquire().await.unwrap().forget();
        Ok("done".into())
    }
}

/// Never answers, and tells when its call is given up.
struct EndlessTool(Signals);

struct TellsWhenDropped(Arc<Semaphore>);

impl Drop for TellsWhenDropped {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

#[async_trait]
impl Tool for EndlessTool {
    fn definition(&self) -> ToolDefinition {
        named("endless")
    }

    async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
        let _told = TellsWhenDropped(self.0.dropped.clone());
        self.0.go_on.add_permits(1);
        pending().await
    }
}

fn named(name: &str) -> ToolDefinition {
    ToolDefinition {
        name: name.into(),
        description: "For tests.".into(),
        parameters: json!({"type": "object"}),
    }
}

#[actix_rt::test]
async fn tools_under_way_are_aborted_when_their_run_breaks() {
    let server = InProcess::new(Arc::new(FirstResultBreaks(AtomicBool::new(false)))).await;
    let signals = Signals::new();
    // It answers once the endless one has begun.
    let held = HeldTool {
        signals: signals.clone(),
        retry_class: RetryClass::Safe,
    };
    let tools: Vec<Arc<dyn Tool>> = vec![Arc::new(held), Arc::new(EndlessTool(signals.clone()))];
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), tools).await;
    let calls = json!({"tool_calls": [{"name": "held"}, {"name": "endless"}]});
    let started = supervisor.start(start_of(calls, &["held", "endless"])).await.unwrap();
    let run = server.ended(started.run.id).await;
    assert_eq!(run.error.unwrap().code, RunErrorCode::Internal);
    wait_for(&signals.dropped, "the endless call to be given up").await;
    server.finish(supervisor).await;
}

/// Starts a run, loses its instance while a tool of this class works, and gives how often the tool was called by the time the run that the
/// next instance took over ended or waits, with the state it is in then.
async fn lost_while_a_tool_works(retry_class: RetryClass) -> (RunState, usize) {
    let server = InProcess::new(Arc::new(NothingBreaks)).await;
    let (old_signals, new_signals) = (Signals::new(), Signals::new());
    let tool = |signals: &Signals| -> Vec<Arc<dyn Tool>> {
        let signals = signals.clone();
        vec![Arc::new(HeldTool { signals, retry_class })]
    };
    let model = Arc::new(SimulatedModel::default());
    let lost = server.supervisor(model.clone(), tool(&old_signals)).await;
    let call = json!({"tokens": 3, "tool_calls": [{"name": "held"}]});
    let run = lost.start(start_of(call, &["held"])).await.unwrap().run.id;
    wait_for(&old_signals.begun, "the tool to begin").await;

    new_signals.go_on.add_permits(1);
    let next = server.supervisor(model, tool(&new_signals)).await;
    let left = match retry_class {
        RetryClass::Unsafe => server.run_after(run, "run.waiting").await,
        RetryClass::Safe | RetryClass::Idempotent => server.ended(run).await,
    };
    // The lost instance was not dead: what it writes now is refused, and it lets go.
    let items = server.items(run).await;
    old_signals.go_on.add_permits(1);
    patiently(
        "the lost instance to let go",
        lost.drain(std::time::Duration::from_secs(600)),
    )
    .await;
    assert_eq!(server.items(run).await, items, "it has written nothing");

    if left.state == RunState::Waiting {
        assert_eq!(left.waiting, Some(WaitingReason::NeedsReview));
        let cancelled = next.cancel(run).await.unwrap().unwrap();
        assert_eq!(cancelled.state, RunState::Cancelled);
        assert_eq!(server.ended(run).await, cancelled);
    }
    let again = new_signals.begun.available_permits();
    server.finish(next).await;
    (left.state, 1 + again)
}

#[actix_rt::test]
async fn a_call_without_a_result_is_made_again_only_if_its_tool_says_that_is_safe() {
    for safe in [RetryClass::Safe, RetryClass::Idempotent] {
        assert_eq!(
            lost_while_a_tool_works(safe).await,
            (RunState::Completed, 2),
            "{safe:?}"
        );
    }
    assert_eq!(
        lost_while_a_tool_works(RetryClass::Unsafe).await,
        (RunState::Waiting, 1)
    );
}

/// By its own clock the run was over minutes ago, but for most of the time it has waited for a person.
#[actix_rt::test]
async fn a_review_that_comes_after_the_deadline_is_not_in_vain() {
    let server = InProcess::plain().await;
    let ago = |seconds: i64| Timestamp::from_micros(Timestamp::now().as_micros() - seconds * 1_000_000);
    let start = start_of(json!({"tokens": 1}), &[]);
    let deadline = ago(700).after(Duration::from_secs(start.spec.limits.deadline_seconds));
    let run = running_since(start, ago(700));
    let id = run.id;
    let call = Item::new(
        ItemStatus::Completed,
        ItemContent::ToolCall {
            call_id: "a".into(),
            name: "held".into(),
            arguments: "{}".into(),
        },
    );
    let entry = LedgerCall {
        item_id: call.id,
        call_id: "a".into(),
        name: "held".into(),
        arguments: "{}".into(),
        is_changed: false,
        stage: CallStage::Review,
        by_client: false,
        deadline: None,
        on_deadline: OnDeadline::TellModel,
        answer_seconds: None,
    };
    let calls = CallLedger {
        next_index: 1,
        review: Some(ReviewWait {
            since: ago(690),
            run_deadline: Some(deadline),
        }),
        calls: vec![entry],
        ..CallLedger::default()
    };
    let reason = WaitingReason::NeedsReview;
    let told = EventBody::RunWaiting {
        reason,
        calls: calls.told(),
    };
    let waiting = RunCommit {
        run: id,
        account: run.account.clone(),
        epoch: 1,
        events: encode(id, run.events.last_seq() + 1, [told]),
        reserved_seq: 0,
        items: vec![call],
        progress: None,
        charges: Vec::new(),
        calls: Some(calls),
        change: Some(StateChange {
            to: RunState::Waiting,
            error: None,
            waiting: Some(reason),
            at: ago(690),
        }),
    };
    let store = server.store.clone();
    let written = server.io.spawn(async move {
        store.create_run(run).await.unwrap();
        store.commit(waiting).await.unwrap();
    });
    written.await.unwrap();
    let supervisor = server.supervisor(Arc::new(SimulatedModel::default()), Vec::new()).await;
    let taken = CallResolution {
        call_id: "a".into(),
        verdict: CallVerdict::TakeResult(CallOutput {
            output: "it was done".into(),
            is_error: false,
            truncated: false,
        }),
    };
    supervisor.resolve_calls(id, vec![taken]).await.unwrap();
    let ended = server.ended(id).await;
    assert_eq!((ended.state, ended.error), (RunState::Completed, None));
    assert!(ended.calls.is_empty(), "what was kept of it is gone with its end");
    server.finish(supervisor).await;
}

/// The store is asked when the test allows it, and its answer is heard when the test allows that.
struct HeldUpdates {
    asking: Semaphore,
    may_ask: Semaphore,
    asked: Semaphore,
    may_answer: Semaphore,
}

#[async_trait]
impl Script for HeldUpdates {
    async fn before_parked_update(&self, _update: &ParkedUpdate) {
        self.asking.add_permits(1);
        self.may_ask.acquire().await.unwrap().forget();
    }

    async fn after_parked_update(&self) {
        self.asked.add_permits(1);
        self.may_answer.acquire().await.unwrap().forget();
    }
}

#[actix_rt::test]
async fn a_cancel_that_comes_as_its_run_starts_and_ends_is_answered_with_the_end() {
    let none = || Semaphore::new(0);
    let updates = Arc::new(HeldUpdates {
        asking: none(),
        may_ask: none(),
        asked: none(),
        may_answer: none(),
    });
    let server = InProcess::new(updates.clone()).await;
    let signals = Signals::new();
    let tool = HeldTool {
        signals: signals.clone(),
        retry_class: RetryClass::Safe,
    };
    let model = Arc::new(SimulatedModel::default());
    let supervisor = server.supervisor(model, vec![Arc::new(tool)]).await;
    let request = || start_of(json!({"tokens": 3, "tool_calls": [{"name": "held"}]}), &["held"]);
    let ahead = supervisor.start(request()).await.unwrap().run.id;
    let run = supervisor.start(request()).await.unwrap().run;
    assert_eq!(run.state, RunState::Queued);

    let asked = supervisor.clone();
    let cancelling = server.io.spawn(async move { asked.cancel(run.id).await });
    wait_for(&updates.asking, "the cancel to come to the store").await;
    wait_for(&signals.begun, "the run ahead").await;
    signals.go_on.add_permits(1);
    server.ended(ahead).await;
    wait_for(&signals.begun, "the run to start").await;
    updates.may_ask.add_permits(1);
    wait_for(&updates.asked, "the store to say that it runs").await;
    signals.go_on.add_permits(1);
    let ended = server.ended(run.id).await;
    updates.may_answer.add_permits(1);
    let answer = patiently("the answer to the cancel", cancelling).await.unwrap();
    assert_eq!(answer, Ok(Some(ended)));
    server.finish(supervisor).await;
}
