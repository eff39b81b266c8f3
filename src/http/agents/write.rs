//! `POST /api/v1/agents` and `PATCH /api/v1/agents/{id}`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::AgentId;
use callboard_actors::ports::agents::{AgentUpdate, AgentWrite, NewAgent};
use callboard_actors::time::Timestamp;

use super::one::{owned_agent, stored_agent};
use super::request::{AgentChange, AgentRequest};
use super::view::{AgentView, agent_path};
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::json_body::read_json;
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;

/// How often a change that says nothing about versions is made again when another came first.
const MOST_TRIES: u32 = 20;

/// Makes an agent.
pub(super) async fn create_agent(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let body = read_json(&request, payload, &state.options).await?;
    let account = caller.account.clone();
    // Schemas of tools may take a while to compile.
    let reading =
        move |state: &HttpState| AgentRequest::read(&body, &account, &state.parts.catalog, &state.options.runs);
    let asked = state.on_blocking_pool(&caller.account, reading).await??;
    let new = NewAgent {
        id: AgentId::new(),
        account: caller.account.clone(),
        name: asked.name.clone(),
        settings: asked.settings,
        created_at: Timestamp::now(),
    };
    let stored = state.parts.agents.stored().clone();
    match state.on_io(async move { stored.create_agent(new).await }).await?? {
        AgentWrite::Written(record) => {
            let mut response = HttpResponse::Created();
            response.insert_header((header::LOCATION, agent_path(record.id)));
            Ok(AgentView::answer(*record, response))
        }
        AgentWrite::NameTaken => Err(name_taken(&state, &caller, asked.name).await?),
        other @ (AgentWrite::VersionChanged | AgentWrite::NotFound) => {
            tracing::error!(?other, "a new agent was answered as a change");
            Err(ApiError::internal())
        }
    }
}

/// Makes the next version of an agent; none if nothing changes.
pub(super) async fn update_agent(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let body = read_json(&request, payload, &state.options).await?;
    let change = AgentChange::read(body)?;
    let mut record = owned_agent(&request, &state, &caller).await?;
    for _ in 0..MOST_TRIES {
        if change
            .expected_version
            .is_some_and(|expected| expected != record.version)
        {
            break;
        }
        let (change, before) = (change.clone(), record.clone());
        let applying = move |state: &HttpState| change.applied_to(&before, &state.parts.catalog, &state.options.runs);
        let asked = state.on_blocking_pool(&caller.account, applying).await??;
        if asked.name == record.name && asked.settings == record.settings {
            return Ok(AgentView::answer(record, HttpResponse::Ok()));
        }
        let name = asked.name.clone();
        let update = AgentUpdate {
            id: record.id,
            seen: record.version,
            name: asked.name,
            settings: asked.settings,
            at: Timestamp::now(),
        };
        let directory = state.parts.agents.clone();
        match state.on_io(async move { directory.update(update).await }).await?? {
            AgentWrite::Written(record) => return Ok(AgentView::answer(*record, HttpResponse::Ok())),
            AgentWrite::NameTaken => return Err(name_taken(&state, &caller, name).await?),
            AgentWrite::NotFound => return Err(ApiError::agent_not_found()),
            AgentWrite::VersionChanged => {
                let now = stored_agent(&state, record.id, None).await?;
                record = now.ok_or_else(ApiError::agent_not_found)?;
            }
        }
    }
    Err(version_conflict(record.version, change.expected_version.is_some()))
}

/// Others were faster: than what the client had seen, if it said so, or again and again.
fn version_conflict(version: u32, version_was_expected: bool) -> ApiError {
    let message = format!("the agent was changed meanwhile: it has version {version} now");
    let error = ApiError::new(ErrorCode::AgentVersionConflict, message).with_detail("version", version);
    if version_was_expected {
        return error.with_param("expected_version");
    }
    error
}

async fn name_taken(state: &HttpState, caller: &Caller, name: String) -> Result<ApiError, ApiError> {
    let message = format!("there is an agent named `{name}` already");
    let stored = state.parts.agents.stored().clone();
    let account = caller.account.clone();
    let other = state
        .on_io(async move { stored.agent_named(&account, &name).await })
        .await??;
    let id = other.map(|agent| agent.id.to_string());
    Ok(ApiError::new(ErrorCode::AgentNameTaken, message)
        .with_param("name")
        .with_detail("agent_id", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_was_sent_is_named_as_wrong() {
        assert_eq!(version_conflict(7, true).param(), Some("expected_version"));
        let lost_races = version_conflict(7, false);
        assert_eq!(
            (lost_races.code(), lost_races.param()),
            (ErrorCode::AgentVersionConflict, None)
        );
    }
}
