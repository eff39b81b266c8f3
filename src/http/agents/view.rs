//! An agent as clients read it.

use std::collections::BTreeMap;

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder};
use callboard_actors::agent::AgentVariable;
use callboard_actors::ids::AgentId;
use callboard_actors::ports::agents::AgentRecord;
use callboard_actors::spec::LimitSettings;
use callboard_actors::time::Timestamp;
use callboard_actors::tool_use::ToolUse;
use serde::Serialize;
use serde_json::{Map, Value};

/// An agent in one of its versions.
#[derive(Debug, Clone, Serialize)]
pub(super) struct AgentView {
    id: AgentId,
    object: &'static str,
    name: String,
    version: u32,
    description: String,
    model: Option<String>,
    fallback_models: Vec<String>,
    instructions: Option<String>,
    variables: BTreeMap<String, AgentVariable>,
    tools: Vec<ToolUse>,
    model_options: Map<String, Value>,
    limits: LimitSettings,
    metadata: BTreeMap<String, String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<AgentRecord> for AgentView {
    fn from(record: AgentRecord) -> Self {
        let settings = record.settings;
        Self {
            id: record.id,
            object: "agent",
            name: record.name,
            version: record.version,
            description: settings.description,
            model: settings.run.model,
            fallback_models: settings.run.fallback_models.unwrap_or_default(),
            instructions: settings.run.instructions,
            variables: settings.variables,
            tools: settings.run.tools.unwrap_or_default(),
            model_options: settings.run.model_options.unwrap_or_default(),
            limits: settings.run.limits,
            metadata: settings.metadata,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

impl AgentView {
    /// The answer that shows it.
    pub(super) fn answer(record: AgentRecord, mut response: HttpResponseBuilder) -> HttpResponse {
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(Self::from(record))
    }
}

/// The path of an agent.
pub(super) fn agent_path(agent: AgentId) -> String {
    format!("/api/v1/agents/{agent}")
}
