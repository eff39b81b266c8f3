//! Runs, items, pages and errors as the document describes them. These mirror what the handlers read and write; a test on a real
//! server compares the two.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};

use super::agent_schemas::AgentPin;
use super::request_schemas::History;
use super::tool_schemas::{ToolUse, WaitingCall, WaitingNeed};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::error::ErrorCode;

/// A run.
#[derive(Deserialize, ToSchema)]
pub(super) struct Run {
    /// Sorts by the time the run was created.
    #[schema(example = "run_01a20970c5dd71cbbba32a24347add9d")]
    id: String,
    /// Always `run`.
    object: String,
    state: RunState,
    /// The thread that it goes on with.
    #[schema(required)]
    thread_id: Option<String>,
    /// The stored agent that it was made of.
    #[schema(required)]
    agent: Option<AgentPin>,
    model: String,
    /// Models that are asked in turn if none of the providers of `model` can answer.
    fallback_models: Vec<String>,
    /// True if no real model is asked.
    simulated: bool,
    #[schema(required)]
    instructions: Option<String>,
    tools: Vec<ToolUse>,
    metadata: BTreeMap<String, String>,
    model_options: Map<String, Value>,
    limits: RunLimits,
    /// How much of its thread it goes on with, if it was given something else than the default.
    history: Option<History>,
    /// Why it failed, if it did.
    #[schema(required)]
    error: Option<RunError>,
    /// What it waits for, if it does.
    #[schema(required)]
    waiting: Option<WaitingReason>,
    /// The tool calls that somebody has to answer or decide; while `state` is `waiting`.
    waiting_calls: Option<Vec<WaitingCall>>,
    /// Its place in its account's line while it is queued; 1 is next.
    #[schema(required)]
    queue_position: Option<u64>,
    /// When it gives up waiting.
    #[schema(required, format = DateTime)]
    queue_deadline: Option<String>,
    /// The final answer: the messages of the assistant after the last tool result. `null` unless completed; not there in lists.
    output: Option<String>,
    usage: Usage,
    /// US dollars, by the prices of the configuration.
    cost_usd: f64,
    /// Model calls that ended.
    steps: u32,
    /// How many events are written so far; the next one will have this `seq`.
    next_seq: u64,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    links: RunLinks,
}

/// Where to read on: paths on this server.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunLinks {
    #[serde(rename = "self")]
    run: String,
    events: String,
    items: String,
    cancel: String,
}

/// The state of a run. `completed`, `failed` and `cancelled` are ends.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunState {
    Queued,
    Running,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

/// What a waiting run waits for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitingReason {
    NeedsReview,
    /// The account's budget is used up.
    Budget,
    /// The client has to answer tool calls.
    ToolOutputs,
    /// A person has to say whether tool calls may be made.
    Approval,
}

/// When the run will be stopped.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunLimits {
    max_steps: u32,
    /// Not there if it is left to the model.
    max_output_tokens: Option<u64>,
    /// Not there if there is no such limit.
    max_total_tokens: Option<u64>,
    /// Not there if there is no such limit.
    max_cost_usd: Option<f64>,
    deadline_seconds: u64,
}

/// Why a run failed.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunError {
    code: RunErrorCode,
    /// A sentence for people.
    message: String,
}

/// Why a run failed, for programs. A code never changes its meaning.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunErrorCode {
    Internal,
    QueueDeadline,
    DeadlineExceeded,
    StepLimit,
    OutputLimit,
    ModelRejected,
    ModelUnavailable,
    ModelTimeout,
    ModelProtocol,
    ContentFilter,
    ModelCapacity,
    ModelRequestTooLarge,
    BudgetExceeded,
    ToolDeadline,
    ReviewFailed,
    HistoryLimit,
    FilesUnavailable,
    RecoveryLimit,
}

/// Tokens that model calls have cost.
#[derive(Deserialize, ToSchema)]
pub(super) struct Usage {
    /// Tokens read by the model.
    input_tokens: u64,
    /// Tokens written by the model.
    output_tokens: u64,
    /// Those of `input_tokens` that the provider had in its cache; not there if none.
    #[serde(default)]
    cached_input_tokens: u64,
    /// Those of `input_tokens` that the provider put into its cache, where it says so (Anthropic); not there if none.
    #[serde(default)]
    cache_write_input_tokens: u64,
    /// Those of `output_tokens` that were thoughts; not there if none.
    #[serde(default)]
    reasoning_tokens: u64,
}

/// A durable step of a run.
#[derive(Deserialize, ToSchema)]
pub(super) struct Item {
    #[schema(example = "item_01a20970c5e072d19ddcbc3a2152b76d")]
    id: String,
    status: ItemStatus,
    #[schema(format = DateTime)]
    created_at: String,
    #[serde(flatten)]
    content: ItemContent,
}

/// `incomplete` items were cut off: they are kept and shown, but no model sees them.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ItemStatus {
    Completed,
    Incomplete,
}

/// What an item says.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ItemContent {
    /// Somebody said something.
    Message { role: Role, content: Vec<ContentPart> },
    /// The model thought aloud.
    Reasoning {
        text: String,
        /// What the provider wants to see again; only it can read this.
        seal: Option<ReasoningSeal>,
    },
    /// The model asks for a tool; `arguments` is JSON text as it wrote it.
    ToolCall {
        call_id: String,
        name: String,
        arguments: String,
    },
    /// What the tool answered.
    ToolResult {
        call_id: String,
        output: String,
        /// True if the tool failed; else not there.
        #[serde(default)]
        is_error: bool,
        /// True if the output was cut; else not there.
        #[serde(default)]
        truncated: bool,
        /// What the call was made with, as JSON text, if whoever approved it changed the model's arguments; else not there. The model is told.
        #[serde(default)]
        approved_arguments: Option<String>,
    },
    /// A model's summary of what was said in the thread before: models are shown it in place of the turns that it stands for.
    Summary {
        text: String,
        /// Turns of the thread that it stands for.
        turns: u64,
        /// Tokens that these would take, estimated.
        tokens: u64,
        /// It stands for everything in the thread before this place; 1 is that of the thread's first run.
        before_position: u64,
    },
}

/// Who speaks.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// A piece of a message.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ContentPart {
    /// Text.
    Text {
        text: String,
        cache_control: Option<CacheControl>,
    },
    /// A picture, for models that see.
    Image {
        /// `https://…`, or `data:image/…;base64,…`; or else `file_id`.
        url: Option<String>,
        /// An uploaded file of the account.
        file_id: Option<String>,
        detail: Option<ImageDetail>,
        cache_control: Option<CacheControl>,
    },
}

/// How closely a model looks at a picture.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ImageDetail {
    Low,
    High,
    Auto,
}

/// Where a provider that caches prompts when asked to should end what it caches. Others ignore it.
#[derive(Deserialize, ToSchema)]
pub(super) struct CacheControl {
    /// `ephemeral`.
    r#type: String,
    /// `5m` or `1h`.
    ttl: Option<String>,
}

/// What a provider wants to see again, word for word.
#[derive(Deserialize, ToSchema)]
pub(super) struct ReasoningSeal {
    dialect: String,
    data: serde_json::Value,
}

/// A part of the list of runs.
#[derive(Deserialize, ToSchema)]
pub(super) struct RunPage {
    data: Vec<Run>,
    has_more: bool,
    /// For `?cursor=`; `null` at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A part of the list of a run's items.
#[derive(Deserialize, ToSchema)]
pub(super) struct ItemPage {
    data: Vec<Item>,
    has_more: bool,
    /// For `?cursor=`; `null` at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Every error has this form.
#[derive(Deserialize, ToSchema)]
pub(super) struct ErrorAnswer {
    error: ErrorBody,
}

/// An error.
#[derive(Deserialize, ToSchema)]
pub(super) struct ErrorBody {
    #[schema(value_type = ErrorCodeName)]
    code: String,
    /// The code's family.
    r#type: String,
    /// A sentence for people.
    message: String,
    /// The field (as a path, such as `tools[1]`), query parameter or header that is wrong.
    #[schema(required)]
    param: Option<String>,
    /// As in the header `x-request-id`.
    #[schema(required)]
    request_id: Option<String>,
    /// The limit that was reached.
    limit: Option<u64>,
    /// The account's running runs (`quota_exceeded`).
    running: Option<u64>,
    /// The account's queued runs (`quota_exceeded`).
    queued: Option<u64>,
    /// Whether it is the queue that is full (`quota_exceeded`).
    queue_full: Option<bool>,
    /// The names there are (`unknown_model`, `unknown_tool`).
    available: Option<Vec<String>>,
    /// The last event there is (`last_event_id_beyond_end`).
    last_seq: Option<u64>,
    /// The run whose events are gone (`events_expired`).
    run_id: Option<String>,
    /// The first run of the thread that has not ended (`thread_busy`).
    active_run: Option<String>,
    /// The agent that has the name (`agent_name_taken`).
    agent_id: Option<String>,
    /// The agent's newest version (`agent_version_conflict`).
    version: Option<u32>,
    /// What the tool call waits for (`call_needs_other`).
    needs: Option<WaitingNeed>,
    /// Where the run is (`run_not_waiting`).
    state: Option<RunState>,
    /// The account's files (`file_quota_exceeded`).
    files: Option<u64>,
    /// How many it may have (`file_quota_exceeded`).
    max_files: Option<u64>,
    /// Bytes of the account's files (`file_quota_exceeded`).
    bytes: Option<u64>,
    /// How many it may have (`file_quota_exceeded`).
    max_bytes: Option<u64>,
}

/// The codes of [`ErrorCode`], so that the document cannot know others than the server.
pub(super) struct ErrorCodeName;

impl PartialSchema for ErrorCodeName {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::new(Type::String))
            .description(Some("What is wrong, for programs. A code never changes its meaning."))
            .enum_values(Some(ErrorCode::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl ToSchema for ErrorCodeName {}
