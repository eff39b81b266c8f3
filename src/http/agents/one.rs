//! `/api/v1/agents/{id}`: an id that is not one of ours, or not the caller's, is an agent that does not exist.

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::AgentId;
use callboard_actors::ports::agents::AgentRecord;

use super::view::AgentView;
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;

/// The agent that the path names in its newest version, if it is the caller's.
pub(super) async fn owned_agent(
    request: &HttpRequest,
    state: &HttpState,
    caller: &Caller,
) -> Result<AgentRecord, ApiError> {
    let id = request.match_info().get("id").and_then(|text| text.parse().ok());
    let id = id.ok_or_else(ApiError::agent_not_found)?;
    let found = stored_agent(state, id, None).await?;
    found
        .filter(|agent| agent.account == caller.account)
        .ok_or_else(ApiError::agent_not_found)
}

/// An agent as the store has it now.
pub(super) async fn stored_agent(
    state: &HttpState,
    id: AgentId,
    version: Option<u32>,
) -> Result<Option<AgentRecord>, ApiError> {
    let stored = state.parts.agents.stored().clone();
    Ok(state.on_io(async move { stored.agent(id, version).await }).await??)
}

/// Shows an agent: its newest version, or the one that `version` names.
pub(super) async fn get_agent(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["version"])?;
    let version = parameters.count("version", 1, u32::MAX.into())?;
    let mut agent = owned_agent(&request, &state, &caller).await?;
    if let Some(version) = version.and_then(|version| u32::try_from(version).ok())
        && version != agent.version
    {
        agent = stored_agent(&state, agent.id, Some(version)).await?.ok_or_else(|| {
            let message = format!("the agent has no version {version}; its newest is {}", agent.version);
            ApiError::new(ErrorCode::AgentNotFound, message).with_param("version")
        })?;
    }
    Ok(AgentView::answer(agent, HttpResponse::Ok()))
}

/// Deletes an agent with all its versions. Runs that were made of it have all they need.
pub(super) async fn delete_agent(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let agent = owned_agent(&request, &state, &caller).await?.id;
    let directory = state.parts.agents.clone();
    if !state.on_io(async move { directory.delete(agent).await }).await?? {
        return Err(ApiError::agent_not_found());
    }
    Ok(HttpResponse::NoContent().finish())
}
