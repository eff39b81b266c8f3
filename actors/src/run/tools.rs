//! The tool step of a run: calls in parallel, each bounded in time and output, a panic caught.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::call_ledger::CallOutput;
use crate::ids::{AccountId, ItemId, RunId};
use crate::item::{Item, ItemContent, ItemStatus};
use crate::ports::{ProgressReporter, RetryClass, Tool, ToolCall, ToolProgress};
use crate::run::RunActor;
use crate::services::RunSettings;

/// The least time between two events of a call's progress.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// A committed tool call without a result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WantedCall {
    pub(crate) item_id: ItemId,
    pub(crate) call_id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

impl WantedCall {
    pub(crate) fn of(item: &Item) -> Option<Self> {
        let ItemContent::ToolCall {
            call_id,
            name,
            arguments,
        } = &item.content
        else {
            return None;
        };
        let (call_id, name, arguments) = (call_id.clone(), name.clone(), arguments.clone());
        Some(Self {
            item_id: item.id,
            call_id,
            name,
            arguments,
        })
    }
}

/// The tool calls of a conversation that have no result yet.
pub(crate) fn calls_without_result<'a>(conversation: impl Iterator<Item = &'a Item>) -> Vec<WantedCall> {
    let mut wanted: Vec<WantedCall> = Vec::new();
    for item in conversation.filter(|item| item.status == ItemStatus::Completed) {
        if let Some(call) = WantedCall::of(item) {
            wanted.push(call);
        } else if let ItemContent::ToolResult { call_id, .. } = &item.content {
            wanted.retain(|call| call.call_id != *call_id);
        }
    }
    wanted
}

/// What became of a call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ToolReport {
    pub(crate) generation: u64,
    pub(crate) call: WantedCall,
    pub(crate) outcome: ToolOutcome,
}

/// How far a call is.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ToolProgressed {
    pub(crate) generation: u64,
    pub(crate) item_id: ItemId,
    pub(crate) call_id: String,
    pub(crate) progress: ToolProgress,
}

#[derive(Debug, PartialEq)]
pub(crate) enum ToolOutcome {
    /// The model will see this.
    Answered(CallOutput),
    /// The tool broke; so does the run.
    Panicked,
}

impl ToolOutcome {
    /// The name of the outcome in metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered(CallOutput { is_error: false, .. }) => "ok",
            Self::Answered(CallOutput { is_error: true, .. }) => "error",
            Self::Panicked => "panic",
        }
    }
}

/// A call to be made.
pub(crate) struct CallOrder {
    pub(crate) account: AccountId,
    pub(crate) run: RunId,
    pub(crate) generation: u64,
    pub(crate) call: WantedCall,
    pub(crate) tool: Arc<dyn Tool>,
    pub(crate) arguments: Value,
}

/// Makes one call and tells the run.
pub(crate) async fn make_call(order: CallOrder, turn: Arc<Semaphore>, settings: RunSettings, owner: Addr<RunActor>) {
    // The semaphore is never closed.
    let _turn = turn.acquire_owned().await;
    let (generation, call, label) = (order.generation, order.call.clone(), order.tool.label());
    let began = Instant::now();
    let (reporter, heard) = ProgressReporter::new();
    let outcome = tokio::select! {
        outcome = outcome_of(order, &settings, reporter) => outcome,
        never = tell_progress(heard, generation, &call, &owner) => match never {},
    };
    metrics::counter!("callboard_tool_calls_total", "tool" => label.clone(), "outcome" => outcome.as_str())
        .increment(1);
    metrics::histogram!("callboard_tool_call_seconds", "tool" => label).record(began.elapsed());
    // A run that is gone needs no result.
    let _ = owner
        .send(ToolReport {
            generation,
            call,
            outcome,
        })
        .await;
}

/// Tells the run how far its call is. No more often than once a second, and less and less often: however long a call takes, it brings some
/// hundreds of events and not more.
async fn tell_progress(
    mut heard: watch::Receiver<Option<ToolProgress>>,
    generation: u64,
    call: &WantedCall,
    owner: &Addr<RunActor>,
) -> Infallible {
    let begun = Instant::now();
    while heard.changed().await.is_ok() {
        let said = heard.borrow_and_update().clone();
        if let Some(progress) = said {
            // A run that is gone need not know.
            let _ = owner
                .send(ToolProgressed {
                    generation,
                    item_id: call.item_id,
                    call_id: call.call_id.clone(),
                    progress,
                })
                .await;
        }
        tokio::time::sleep(PROGRESS_INTERVAL.max(begun.elapsed() / 50)).await;
    }
    std::future::pending().await
}

async fn outcome_of(order: CallOrder, settings: &RunSettings, progress: ProgressReporter) -> ToolOutcome {
    let CallOrder {
        account,
        run,
        call,
        tool,
        arguments,
        ..
    } = order;
    let limit: Duration = tool
        .timeout()
        .map_or(settings.tool_timeout, |own| own.min(settings.tool_timeout));
    let is_safe = tool.retry_class() == RetryClass::Safe;
    let end = Instant::now() + limit;
    let mut taken = Vec::new();
    for places in tool.places(&account) {
        match tokio::time::timeout_at(end, places.acquire_owned()).await {
            // A place that came at the last moment is none: the call could only be begun.
            Ok(place) if Instant::now() < end => taken.extend(place.ok()),
            _ => {
                let problem = format!("the tool was busy with other calls for {limit:?}; this call was not made");
                return ToolOutcome::Answered(CallOutput::error(problem));
            }
        }
    }
    let work = async {
        let call = ToolCall {
            account,
            run_id: run,
            item_id: call.item_id,
            arguments,
        };
        tool.call_with_progress(call, progress).await
    };
    let most = settings.tool_max_output;
    let done = tokio::time::timeout_at(end, AssertUnwindSafe(work).catch_unwind()).await;
    drop(taken);
    ToolOutcome::Answered(match done {
        Err(_) if is_safe => CallOutput::error(format!("the tool did not answer within {limit:?}")),
        Err(_) => CallOutput::error(format!(
            "the tool did not answer within {limit:?}; it is not known whether the call was done"
        )),
        Ok(Err(_panic)) => {
            tracing::error!(run_id = %run, tool = call.name, "a tool panicked");
            return ToolOutcome::Panicked;
        }
        Ok(Ok(Err(error))) => CallOutput {
            truncated: false,
            ..CallOutput::bounded(error.message, true, most)
        },
        Ok(Ok(Ok(output))) => CallOutput::bounded(output, false, most),
    })
}

pub(crate) fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(64).map_or(name.len(), |(index, _)| index);
    &name[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{ToolDefinition, ToolError};
    use crate::services::Durability;

    /// Has these places, and does what it does for ever.
    struct Endless(Vec<Arc<Semaphore>>);

    #[async_trait::async_trait]
    impl Tool for Endless {
        fn definition(&self) -> ToolDefinition {
            ToolDefinition {
                name: "endless".into(),
                description: String::new(),
                parameters: Value::Null,
            }
        }

        fn places(&self, _account: &AccountId) -> Vec<Arc<Semaphore>> {
            self.0.clone()
        }

        async fn call(&self, _call: ToolCall) -> Result<String, ToolError> {
            std::future::pending().await
        }
    }

    async fn output_of(tool: Endless) -> String {
        let call = WantedCall {
            item_id: ItemId::new(),
            call_id: "a".into(),
            name: "endless".into(),
            arguments: "{}".into(),
        };
        let order = CallOrder {
            account: AccountId::local(),
            run: RunId::new(),
            generation: 0,
            call,
            tool: Arc::new(tool),
            arguments: Value::Null,
        };
        let settings = RunSettings {
            durability: Durability::Strict {
                delta_interval: Duration::ZERO,
            },
            tool_timeout: Duration::from_secs(30),
            approval_deadline: None,
            tool_max_output: 1000,
            max_parallel_tools: 1,
            max_tool_calls_per_answer: 1,
            max_answer_bytes: 1000,
            max_history_bytes: 1000,
            max_recoveries: None,
            max_unwritten_bytes: 1000,
        };
        match outcome_of(order, &settings, ProgressReporter::new().0).await {
            ToolOutcome::Answered(output) => output.output,
            ToolOutcome::Panicked => panic!("it does not"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_finds_no_place_in_time_is_not_made() {
        let not_made = "the tool was busy with other calls for 30s; this call was not made";
        assert_eq!(output_of(Endless(vec![Arc::new(Semaphore::new(0))])).await, not_made);
        // One place of two is none.
        let free = Arc::new(Semaphore::new(1));
        let places = vec![free.clone(), Arc::new(Semaphore::new(0))];
        assert_eq!(output_of(Endless(places)).await, not_made);
        assert_eq!(free.available_permits(), 1, "it is given back");
        // Nor is a place that comes when the time is over.
        let late = Arc::new(Semaphore::new(0));
        let freeing = async {
            tokio::time::sleep(Duration::from_secs(30)).await;
            late.add_permits(1);
        };
        let (output, ()) = tokio::join!(output_of(Endless(vec![late.clone()])), freeing);
        assert_eq!(output, not_made);
        let made = output_of(Endless(vec![free])).await;
        assert!(made.starts_with("the tool did not answer within 30s"), "{made}");
    }

    #[test]
    fn only_calls_without_a_result_are_wanted() {
        let call = |call_id: &str| {
            let content = ItemContent::ToolCall {
                call_id: call_id.into(),
                name: "now".into(),
                arguments: "{}".into(),
            };
            Item::new(ItemStatus::Completed, content)
        };
        let result = ItemContent::ToolResult {
            call_id: "a".into(),
            output: "12:00".into(),
            is_error: false,
            truncated: false,
            approved_arguments: None,
        };
        let cut_off = Item {
            status: ItemStatus::Incomplete,
            ..call("c")
        };
        let items = [call("a"), call("b"), cut_off, Item::new(ItemStatus::Completed, result)];
        let wanted: Vec<String> = calls_without_result(items.iter())
            .into_iter()
            .map(|call| call.call_id)
            .collect();
        assert_eq!(wanted, ["b"]);
    }
}
