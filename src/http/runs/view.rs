//! A run as clients read it.

use std::sync::Arc;

use std::collections::BTreeMap;

use callboard_actors::agent::AgentPin;
use callboard_actors::error::RunError;
use callboard_actors::event::{WaitingCall, WaitingReason};
use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::item::{ItemContent, Role, Usage};
use callboard_actors::money::Money;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::run_state::RunState;
use callboard_actors::spec::{HistorySettings, RunLimits};
use callboard_actors::time::Timestamp;
use callboard_actors::tool_use::ToolUse;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::http::error::ApiError;
use crate::http::state::HttpState;

/// Items that are read from the store at once when the output is put together.
const ITEMS_AT_ONCE: u32 = 4;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunView {
    id: RunId,
    object: &'static str,
    state: RunState,
    thread_id: Option<ThreadId>,
    agent: Option<AgentPin>,
    model: String,
    fallback_models: Vec<String>,
    simulated: bool,
    instructions: Option<String>,
    tools: Vec<ToolUse>,
    metadata: BTreeMap<String, String>,
    model_options: Map<String, Value>,
    limits: RunLimits,
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistorySettings>,
    error: Option<RunError>,
    waiting: Option<WaitingReason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_calls: Vec<WaitingCall>,
    queue_position: Option<u64>,
    queue_deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Option<String>>,
    usage: Usage,
    cost_usd: Money,
    steps: u32,
    next_seq: u64,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    links: RunLinks,
}

/// Where to read on.
#[derive(Debug, Clone, Serialize)]
struct RunLinks {
    #[serde(rename = "self")]
    run: String,
    events: String,
    items: String,
    cancel: String,
}

/// The path of a run.
pub(crate) fn run_path(run: RunId) -> String {
    format!("/api/v1/runs/{run}")
}

impl RunView {
    /// The run without its output, for lists.
    pub(crate) fn in_list(state: &HttpState, record: RunRecord, queue_position: Option<u64>) -> Self {
        let path = run_path(record.id);
        let simulated = state
            .parts
            .catalog
            .model(&record.spec.model)
            .is_some_and(|model| model.is_simulated());
        let waits = record.state == RunState::Queued;
        let spec = Arc::unwrap_or_clone(record.spec);
        Self {
            id: record.id,
            object: "run",
            state: record.state,
            thread_id: record.thread.map(|thread| thread.id),
            agent: spec.agent,
            model: spec.model,
            fallback_models: spec.fallback_models,
            simulated,
            instructions: spec.instructions,
            tools: spec.tools,
            metadata: spec.metadata,
            model_options: spec.model_options,
            limits: spec.limits,
            history: Some(spec.history).filter(|history| *history != HistorySettings::default()),
            error: record.error,
            waiting: record.waiting,
            waiting_calls: if record.state == RunState::Waiting {
                record.calls.told()
            } else {
                Vec::new()
            },
            queue_position: queue_position.filter(|_| waits),
            queue_deadline: record.queue_deadline.filter(|_| waits),
            output: None,
            usage: record.progress.usage,
            cost_usd: record.progress.cost,
            steps: record.progress.steps,
            next_seq: record.next_seq,
            created_at: record.created_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            links: RunLinks {
                events: format!("{path}/events"),
                items: format!("{path}/items"),
                cancel: format!("{path}/cancel"),
                run: path,
            },
        }
    }

    /// The run with its output, read from its items if it is completed.
    pub(crate) async fn whole(
        state: &HttpState,
        record: RunRecord,
        queue_position: Option<u64>,
    ) -> Result<Self, ApiError> {
        let output = match record.state {
            RunState::Completed => Some(read_output(state, record.id).await?),
            _ => None,
        };
        let mut view = Self::in_list(state, record, queue_position);
        view.output = Some(output);
        Ok(view)
    }

    /// As [`RunView::whole`], asking for the run's place in the queue if it has one.
    pub(crate) async fn whole_with_position(state: &HttpState, record: RunRecord) -> Result<Self, ApiError> {
        let position = match record.state {
            RunState::Queued => state.parts.runs.queue_position(record.id).await,
            _ => None,
        };
        Self::whole(state, record, position).await
    }
}

/// The final answer: the whole messages of the assistant after the last tool result.
async fn read_output(state: &HttpState, run: RunId) -> Result<String, ApiError> {
    let store = state.parts.store.clone();
    let reading = async move {
        let mut said = Vec::new();
        let mut before = None;
        'items: loop {
            let items = store.newest_items(run, before, ITEMS_AT_ONCE).await?;
            let Some((oldest, _)) = items.last() else {
                break;
            };
            before = Some(*oldest);
            for (_, item) in items {
                match &item.content {
                    ItemContent::Message {
                        role: Role::Assistant, ..
                    } => said.extend(item.assistant_text()),
                    // An input may hold earlier turns; what was said before the user spoke is no answer to the user.
                    ItemContent::ToolResult { .. } | ItemContent::Message { .. } => break 'items,
                    ItemContent::ToolCall { .. } | ItemContent::Reasoning { .. } | ItemContent::Summary { .. } => {}
                }
            }
        }
        said.reverse();
        Ok::<_, callboard_actors::ports::StoreError>(said.concat())
    };
    Ok(state.on_io(reading).await??)
}
