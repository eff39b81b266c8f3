//! Agents as the document describes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::request_schemas::RequestedLimits;
use super::tool_schemas::ToolUse;

/// Settings of runs under a name.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"name": "helper", "instructions": "Help {{who}}.", "variables": {"who": {"default": "the customer"}}, "tools": ["now"]}))]
pub(super) struct AgentRequest {
    /// What the account calls it: 1 to 64 letters, digits, `_`, `-` or `.`; no two agents of an account have the same.
    name: String,
    #[serde(flatten)]
    settings: AgentSettings,
}

/// A JSON Merge Patch (RFC 7396) of the agent: what is given takes the place of what is there, `null` takes it away.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({"expected_version": 1, "limits": {"max_steps": 5}}))]
pub(super) struct AgentChange {
    /// Refuse the change if the agent has another version by now.
    expected_version: Option<u32>,
    name: Option<String>,
    #[serde(flatten)]
    settings: AgentSettings,
}

/// What runs of an agent begin with. What is left out is decided by the run, or by the server.
#[derive(Deserialize, ToSchema)]
pub(super) struct AgentSettings {
    /// What it is for, for people.
    description: Option<String>,
    /// A model of this server.
    model: Option<String>,
    /// Models that are asked in turn if none of the providers of `model` can answer; at most 8.
    fallback_models: Option<Vec<String>>,
    /// What the model is told before the conversation. If there are `variables`, `{{name}}` stands for one.
    instructions: Option<String>,
    /// What a run may say about itself, by name.
    variables: Option<BTreeMap<String, AgentVariable>>,
    /// Tools that the model may call.
    tools: Option<Vec<ToolUse>>,
    /// Options for the model.
    model_options: Option<Map<String, Value>>,
    /// When to stop a run.
    limits: Option<RequestedLimits>,
    /// Free text that comes back unchanged.
    metadata: Option<BTreeMap<String, String>>,
}

/// A variable of an agent's instructions.
#[derive(Deserialize, ToSchema)]
pub(super) struct AgentVariable {
    /// What it is, for people.
    description: Option<String>,
    /// What it is if the run does not say. Without it, the run must. Kept, and shown, as text.
    default: Option<VariableValue>,
}

/// An agent in one of its versions.
#[derive(Deserialize, ToSchema)]
pub(super) struct Agent {
    #[schema(example = "agt_01a20970c5dd71cbbba32a24347add9d")]
    id: String,
    /// Always `agent`.
    object: String,
    name: String,
    /// From 1; each change makes the next.
    #[schema(minimum = 1)]
    version: u32,
    description: String,
    #[schema(required)]
    model: Option<String>,
    fallback_models: Vec<String>,
    #[schema(required)]
    instructions: Option<String>,
    variables: BTreeMap<String, AgentVariable>,
    tools: Vec<ToolUse>,
    model_options: Map<String, Value>,
    limits: RequestedLimits,
    metadata: BTreeMap<String, String>,
    /// When the agent was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When this version was.
    #[schema(format = DateTime)]
    updated_at: String,
}

/// A part of a list of agents, or of versions of one.
#[derive(Deserialize, ToSchema)]
pub(super) struct AgentPage {
    data: Vec<Agent>,
    has_more: bool,
    /// For `?cursor=`; `null` at the end of the list.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The agent that a run is made of: its id, its name, or one of them with a version.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum AgentChoice {
    /// An id or a name: the newest version.
    Text(String),
    /// Either an id or a name.
    Object(AgentChoiceObject),
}

/// An agent and one of its versions.
#[derive(Deserialize, ToSchema)]
pub(super) struct AgentChoiceObject {
    id: Option<String>,
    name: Option<String>,
    /// The newest if not given.
    version: Option<u32>,
}

/// A value of a variable.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum VariableValue {
    Text(String),
    Number(f64),
    Flag(bool),
}

/// The agent that a run was made of.
#[derive(Deserialize, ToSchema)]
pub(super) struct AgentPin {
    id: String,
    version: u32,
}
