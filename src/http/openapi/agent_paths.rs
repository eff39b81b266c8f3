//! The paths of agents.

use utoipa::openapi::ResponseBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::schema::Type;

use super::agent_schemas::{Agent, AgentChange, AgentPage, AgentRequest};
use super::operation::{
    agent_id, api_operation, count, header_of, json_request, json_response, merge_patch_request, query_text,
};
use super::paths::{CURSOR, LIMIT};
use crate::http::error::ErrorCode;

pub(super) const AGENTS: &str = "agents";

const ERRORS_OF_BODIES: &[ErrorCode] = &[
    ErrorCode::InvalidJson,
    ErrorCode::InvalidUtf8,
    ErrorCode::EmptyBody,
    ErrorCode::InvalidType,
    ErrorCode::UnknownField,
    ErrorCode::MissingField,
    ErrorCode::DuplicateField,
    ErrorCode::InvalidValue,
    ErrorCode::UnknownModel,
    ErrorCode::UnknownTool,
    ErrorCode::InvalidModelOption,
    ErrorCode::RequestTimeout,
    ErrorCode::BodyTooLarge,
    ErrorCode::UnsupportedMediaType,
    ErrorCode::AgentNameTaken,
];

/// Each path with its operations.
pub(super) fn agent_paths() -> Vec<(&'static str, PathItem)> {
    let item = |method, operation: OperationBuilder| PathItem::new(method, operation.build());
    let mut agents = item(HttpMethod::Get, list_agents());
    agents.merge_operations(item(HttpMethod::Post, create_agent()));
    let mut agent = item(HttpMethod::Get, get_agent());
    agent.merge_operations(item(HttpMethod::Patch, update_agent()));
    agent.merge_operations(item(HttpMethod::Delete, delete_agent()));
    vec![
        ("/api/v1/agents", agents),
        ("/api/v1/agents/{id}", agent),
        ("/api/v1/agents/{id}/versions", item(HttpMethod::Get, list_versions())),
    ]
}

fn create_agent() -> OperationBuilder {
    api_operation("createAgent", AGENTS, "Makes an agent", ERRORS_OF_BODIES)
        .request_body(Some(json_request::<AgentRequest>()))
        .response(
            "201",
            json_response::<Agent>("The agent, in its version 1")
                .header("Location", header_of("The agent's path", Type::String)),
        )
}

fn list_agents() -> OperationBuilder {
    let summary = "Lists agents in their newest versions, newest agent first";
    api_operation("listAgents", AGENTS, summary, &[ErrorCode::InvalidCursor])
        .parameter(query_text("name", "Only the agent with this name"))
        .parameter(count("limit", 1, LIMIT))
        .parameter(query_text("cursor", CURSOR))
        .response("200", json_response::<AgentPage>("Agents"))
}

fn get_agent() -> OperationBuilder {
    api_operation("getAgent", AGENTS, "Shows an agent", &[ErrorCode::AgentNotFound])
        .parameter(agent_id())
        .parameter(count("version", 1, "This version; the newest if not given"))
        .response("200", json_response::<Agent>("The agent"))
}

fn update_agent() -> OperationBuilder {
    let errors = [
        ERRORS_OF_BODIES,
        &[ErrorCode::AgentNotFound, ErrorCode::AgentVersionConflict],
    ]
    .concat();
    let summary = "Makes the next version of an agent; none if nothing changes";
    api_operation("updateAgent", AGENTS, summary, &errors)
        .parameter(agent_id())
        .request_body(Some(merge_patch_request::<AgentChange>()))
        .response("200", json_response::<Agent>("The agent, in its newest version"))
}

fn delete_agent() -> OperationBuilder {
    let summary = "Deletes an agent with all its versions; runs that were made of it go on";
    api_operation("deleteAgent", AGENTS, summary, &[ErrorCode::AgentNotFound])
        .parameter(agent_id())
        .response("204", ResponseBuilder::new().description("It is gone"))
}

fn list_versions() -> OperationBuilder {
    let errors = [ErrorCode::InvalidCursor, ErrorCode::AgentNotFound];
    api_operation(
        "listAgentVersions",
        AGENTS,
        "Lists an agent's versions, newest first",
        &errors,
    )
    .parameter(agent_id())
    .parameter(count("limit", 1, LIMIT))
    .parameter(query_text("cursor", CURSOR))
    .response("200", json_response::<AgentPage>("Versions"))
}
