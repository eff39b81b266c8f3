//! The tool step of a run: calls in parallel, each bounded in time and output, a panic caught.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use futures::FutureExt;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::ids::{AccountId, ItemId, RunId};
use crate::item::{Item, ItemContent, ItemStatus};
use crate::ports::{RetryClass, Tool, ToolCall};
use crate::run::RunActor;
use crate::services::RunSettings;

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

/// Whether a call may be made although it may have been made before. Calls of tools that do not exist reach nobody.
pub(crate) fn may_be_repeated(tool: Option<&Arc<dyn Tool>>) -> bool {
    tool.is_none_or(|tool| tool.retry_class() != RetryClass::Unsafe)
}

/// What became of a call.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ToolReport {
    pub(crate) generation: u64,
    pub(crate) call: WantedCall,
    pub(crate) outcome: ToolOutcome,
}

#[derive(Debug, PartialEq)]
pub(crate) enum ToolOutcome {
    /// The model will see this.
    Answered {
        output: String,
        is_error: bool,
        truncated: bool,
    },
    /// The tool broke; so does the run.
    Panicked,
}

impl ToolOutcome {
    /// The name of the outcome in metrics.
    pub(crate) const fn as_str(&self) -> &'static str {
        match self {
            Self::Answered { is_error: false, .. } => "ok",
            Self::Answered { is_error: true, .. } => "error",
            Self::Panicked => "panic",
        }
    }
}

/// Makes one call and tells the run.
#[expect(clippy::too_many_arguments, reason = "what a task of its own has to own")]
pub(crate) async fn make_call(
    run: RunId,
    account: AccountId,
    generation: u64,
    call: WantedCall,
    tool: Option<Arc<dyn Tool>>,
    turn: Arc<Semaphore>,
    settings: RunSettings,
    owner: Addr<RunActor>,
) {
    // The semaphore is never closed.
    let _turn = turn.acquire_owned().await;
    let outcome = outcome_of(run, account, &call, tool, &settings).await;
    metrics::counter!("callboard_tool_calls_total", "outcome" => outcome.as_str()).increment(1);
    // A run that is gone needs no result.
    let _ = owner
        .send(ToolReport {
            generation,
            call,
            outcome,
        })
        .await;
}

async fn outcome_of(
    run: RunId,
    account: AccountId,
    call: &WantedCall,
    tool: Option<Arc<dyn Tool>>,
    settings: &RunSettings,
) -> ToolOutcome {
    let Some(tool) = tool else {
        return failure(format!(
            "there is no tool named {:?} in this run",
            shortened(&call.name)
        ));
    };
    let text = if call.arguments.trim().is_empty() {
        "{}"
    } else {
        call.arguments.as_str()
    };
    let arguments: Value = match serde_json::from_str(text) {
        Ok(arguments) => arguments,
        Err(error) => return failure(format!("the arguments are not JSON: {error}")),
    };
    let limit: Duration = tool
        .timeout()
        .map_or(settings.tool_timeout, |own| own.min(settings.tool_timeout));
    let work = async {
        tool.call(ToolCall {
            run_id: run,
            account,
            item_id: call.item_id,
            arguments,
        })
        .await
    };
    match tokio::time::timeout(limit, AssertUnwindSafe(work).catch_unwind()).await {
        Err(_) => failure(format!("the tool did not answer within {limit:?}")),
        Ok(Err(_panic)) => {
            tracing::error!(run_id = %run, tool = call.name, "a tool panicked");
            ToolOutcome::Panicked
        }
        Ok(Ok(Err(error))) => failure(cut(error.message, settings.tool_max_output).0),
        Ok(Ok(Ok(output))) => {
            let (output, truncated) = cut(output, settings.tool_max_output);
            ToolOutcome::Answered {
                output,
                is_error: false,
                truncated,
            }
        }
    }
}

fn failure(output: String) -> ToolOutcome {
    ToolOutcome::Answered {
        output,
        is_error: true,
        truncated: false,
    }
}

fn shortened(name: &str) -> &str {
    let end = name.char_indices().nth(64).map_or(name.len(), |(index, _)| index);
    &name[..end]
}

/// At most `limit` bytes of `output`, and a line that says what is missing.
fn cut(mut output: String, limit: usize) -> (String, bool) {
    let whole = output.len();
    if whole <= limit {
        return (output, false);
    }
    output.truncate(output.floor_char_boundary(limit));
    let kept = output.len();
    output.push_str(&format!("\n[cut: {kept} of {whole} bytes are shown]"));
    (output, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversized_output_is_cut_between_characters_and_says_so() {
        let (text, truncated) = cut("äöü".into(), 3);
        assert_eq!((text.as_str(), truncated), ("ä\n[cut: 2 of 6 bytes are shown]", true));
        assert_eq!(cut("äöü".into(), 6), ("äöü".into(), false));
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
