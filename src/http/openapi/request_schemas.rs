//! The body of `POST /runs` as the document describes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::agent_schemas::{AgentChoice, VariableValue};
use super::run_schemas::{ContentPart, Role};
use super::tool_schemas::ToolUse;

/// What to run.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"input": "Say hello.", "model_options": {"simulate": {"tokens": 40, "tokens_per_second": 20}}}))]
pub(super) struct RunRequest {
    /// What the run begins with.
    input: RunInput,
    /// The stored agent that the run is made of. What the run says itself takes the place of what the agent says.
    agent: Option<AgentChoice>,
    /// Values of the agent's variables.
    variables: Option<BTreeMap<String, VariableValue>>,
    /// A model of this server; without it, the agent's, or the server's default model.
    model: Option<String>,
    /// Models that are asked in turn if none of the providers of `model` can answer; at most 8.
    fallback_models: Option<Vec<String>>,
    /// What the model is told before the conversation.
    instructions: Option<String>,
    /// Tools that the model may call.
    tools: Option<Vec<ToolUse>>,
    /// Options for the model.
    model_options: Option<ModelOptions>,
    /// When to stop the run.
    limits: Option<RequestedLimits>,
    /// Free text that comes back unchanged.
    metadata: Option<BTreeMap<String, String>>,
    /// What to do if the run cannot start at once; `queue` if not given.
    on_limit: Option<OnLimit>,
    /// Answer with the run's event stream instead of the run.
    stream: Option<bool>,
}

/// A text (one message of the user), or a conversation so far.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum RunInput {
    /// One message of the user.
    Text(String),
    /// The conversation so far. A tool call is followed by its result.
    Items(Vec<InputItem>),
}

/// A step of an earlier conversation.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum InputItem {
    /// Somebody said something.
    Message(InputMessage),
    /// The model asked for a tool.
    ToolCall(InputToolCall),
    /// What the tool answered.
    ToolResult(InputToolResult),
}

/// Somebody said something.
#[derive(Deserialize, ToSchema)]
pub(super) struct InputMessage {
    /// `message`, or left out.
    #[schema(inline)]
    r#type: Option<MessageType>,
    /// Who.
    role: Role,
    /// What.
    content: InputContent,
}

/// A text, or a list of parts.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum InputContent {
    /// A text.
    Text(String),
    /// Parts, in order.
    Parts(Vec<ContentPart>),
}

/// The model asked for a tool.
#[derive(Deserialize, ToSchema)]
pub(super) struct InputToolCall {
    #[schema(inline)]
    r#type: ToolCallType,
    /// The call's name; its result has the same.
    call_id: String,
    /// Which tool.
    name: String,
    /// JSON text.
    arguments: String,
}

/// What a tool answered.
#[derive(Deserialize, ToSchema)]
pub(super) struct InputToolResult {
    #[schema(inline)]
    r#type: ToolResultType,
    /// The call it answers.
    call_id: String,
    /// The answer.
    output: String,
    /// The tool failed.
    is_error: Option<bool>,
}

/// The type of a message.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MessageType {
    Message,
}

/// The type of a tool call.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToolCallType {
    ToolCall,
}

/// The type of a tool result.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToolResultType {
    ToolResult,
}

/// Sampling parameters of a real model, or `simulate` for the simulated one.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelOptions {
    /// What the simulated model is to do.
    simulate: Option<SimulateOptions>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// What a simulated model is to do.
#[derive(Deserialize, ToSchema)]
pub(super) struct SimulateOptions {
    /// Chooses the words; without it they follow from the conversation.
    seed: Option<u64>,
    /// Milliseconds before the first token.
    first_token_ms: Option<u64>,
    /// Tokens of the text.
    tokens: Option<u32>,
    /// Tokens per second; 0 is as fast as possible.
    tokens_per_second: Option<u32>,
    /// This text instead of made-up words.
    text: Option<String>,
    /// Tokens of reasoning before the text.
    reasoning_tokens: Option<u32>,
    /// Each token carries the time at which it was sent.
    stamp: Option<bool>,
    /// Tools to call, all at once, before the text.
    tool_calls: Option<Vec<SimulatedToolCall>>,
    /// How often to call them.
    tool_rounds: Option<u32>,
    /// How to fail.
    fail: Option<SimulatedFailure>,
    /// Tokens of the input that are said to have been in a cache.
    cached_input_tokens: Option<u64>,
    /// Tokens of the input that are said to have been put into a cache.
    cache_write_input_tokens: Option<u64>,
    /// Makes answers begin late, by chance that follows from seed, conversation and attempt.
    slow_start: Option<SimulatedSlowStart>,
    /// The share of answers that break off, by the same chance.
    #[schema(minimum = 0, maximum = 1)]
    break_share: Option<f64>,
}

/// How much later answers begin.
#[derive(Deserialize, ToSchema)]
pub(super) struct SimulatedSlowStart {
    /// The share of calls that it hits; all if not given.
    #[schema(minimum = 0, maximum = 1)]
    share: Option<f64>,
    /// Half of the slow ones begin by less than this later, ms.
    #[schema(minimum = 1)]
    median_ms: u64,
    /// One in a hundred begins by more than this later, ms.
    #[schema(minimum = 1)]
    p99_ms: u64,
}

/// A tool call to make.
#[derive(Deserialize, ToSchema)]
pub(super) struct SimulatedToolCall {
    /// Which tool.
    name: String,
    /// With what: JSON. A string is sent as it is, so that it may be no JSON.
    arguments: Option<Value>,
}

/// A failure to simulate.
#[derive(Deserialize, ToSchema)]
pub(super) struct SimulatedFailure {
    kind: SimulatedFailureKind,
    /// The HTTP status of kind `status`, and what an `error_event` stands for.
    status: Option<u16>,
    /// Text tokens before it goes wrong; not for `status` and `connect`.
    after_tokens: Option<u32>,
    /// Tries that fail before one succeeds; all of them if not given.
    attempts: Option<u32>,
    /// What `Retry-After` says, for `status`.
    retry_after_ms: Option<u64>,
}

/// What goes wrong.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SimulatedFailureKind {
    Status,
    Connect,
    Break,
    Stall,
    Garbage,
    ErrorEvent,
    Panic,
}

/// When to stop a run; within the server's own limits, whose defaults count where nothing is given.
#[derive(Deserialize, ToSchema)]
pub(super) struct RequestedLimits {
    /// Model calls.
    #[schema(minimum = 1)]
    max_steps: Option<u32>,
    /// Output tokens over all model calls.
    #[schema(minimum = 1)]
    max_output_tokens: Option<u64>,
    /// Tokens, read and written, over all model calls; one call may go over it.
    #[schema(minimum = 1)]
    max_total_tokens: Option<u64>,
    /// US dollars over all model calls, by the server's prices; one call may go over it.
    #[schema(exclusive_minimum = 0.0)]
    max_cost_usd: Option<f64>,
    /// Seconds from the first start to the end.
    #[schema(minimum = 1)]
    deadline_seconds: Option<u64>,
}

/// What to do with a run that cannot start at once.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnLimit {
    /// It waits for a place.
    Queue,
    /// It is refused.
    Refuse,
}
