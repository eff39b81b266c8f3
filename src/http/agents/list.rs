//! `GET /api/v1/agents` and `GET /api/v1/agents/{id}/versions`.

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::AgentId;
use callboard_actors::ports::agents::{AgentQuery, AgentRecord, AgentVersionQuery};
use uuid::Uuid;

use super::one::owned_agent;
use super::view::AgentView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::{QueryParameters, invalid};
use crate::http::page::{Page, page_size};
use crate::http::runs::cursor::CursorScope;
use crate::http::state::HttpState;

/// Lists the caller's agents, newest first, or the one with this name.
pub(super) async fn list_agents(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["name", "limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let stored = state.parts.agents.stored().clone();
    if let Some(name) = parameters.text("name") {
        if parameters.text("cursor").is_some() {
            return Err(invalid("cursor", "there is at most one agent of a name"));
        }
        let (account, name) = (caller.account, name.to_owned());
        let found = state
            .on_io(async move { stored.agent_named(&account, &name).await })
            .await??;
        let page = Page {
            data: found.into_iter().map(AgentView::from).collect(),
            has_more: false,
            next_cursor: None,
        };
        return Ok(page.answer());
    }
    let scope_parts = [caller.account.as_str(), "agents"];
    let scope = CursorScope(&scope_parts);
    let before = scope.asked(&parameters)?;
    let read = async |before: Option<Uuid>, count| {
        let query = AgentQuery {
            account: caller.account.clone(),
            before: before.map(AgentId::from_uuid),
            limit: count,
        };
        let stored = stored.clone();
        Ok(state.on_io(async move { stored.list_agents(query).await }).await??)
    };
    let bounds = (limit, state.options.max_page_bytes);
    let page = Page::gathered(
        bounds,
        before,
        read,
        |agent| agent.id.uuid(),
        show,
        |place| scope.write(place),
    )
    .await?;
    Ok(page.answer())
}

async fn show(agent: AgentRecord) -> AgentView {
    AgentView::from(agent)
}

/// Lists an agent's versions, newest first.
pub(super) async fn list_versions(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let agent = owned_agent(&request, &state, &caller).await?.id;
    let agent_text = agent.to_string();
    let scope_parts = [caller.account.as_str(), "agent versions", &agent_text];
    let scope = CursorScope(&scope_parts);
    let before = scope.asked(&parameters)?;
    let stored = state.parts.agents.stored().clone();
    let read = async |before: Option<Uuid>, count| {
        let query = AgentVersionQuery {
            agent,
            before: before.map(|place| place.as_u128() as u32),
            limit: count,
        };
        let stored = stored.clone();
        Ok(state
            .on_io(async move { stored.list_agent_versions(query).await })
            .await??)
    };
    let place = |version: &AgentRecord| Uuid::from_u128(version.version.into());
    let bounds = (limit, state.options.max_page_bytes);
    let page = Page::gathered(bounds, before, read, place, show, |place| scope.write(place)).await?;
    Ok(page.answer())
}
