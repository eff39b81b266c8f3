//! `POST /api/v1/runs`.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::{AccountId, ThreadId};
use callboard_actors::item::{Item, ItemStatus};
use callboard_actors::ports::agents::AgentRecord;
use callboard_actors::ports::store::Idempotency;
use callboard_actors::spec::RunSpec;
use callboard_actors::supervisor::messages::{StartRun, Started};

use super::agent::find_agent;
use super::idempotency::idempotency_of;
use super::request::RunRequest;
use super::view::{RunView, run_path};
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::events;
use crate::http::extract::json_body::read_json;
use crate::http::extract::query::QueryParameters;
use crate::http::files::images::check_images;
use crate::http::state::HttpState;

/// Says that the run was there before.
pub(crate) const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// The run's id, for clients that stream at once and read no body first.
pub(crate) const RUN_ID: HeaderName = HeaderName::from_static("x-run-id");

/// Starts a run, or queues it.
pub(super) async fn create_run(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    start_run(request, payload, caller, state, None).await
}

/// The same in a thread of the caller's.
pub(crate) async fn start_run(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
    thread: Option<ThreadId>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let options = &state.options;
    let body = read_json(&request, payload, &state.options).await?;
    let asked = RunRequest::read(&body, &options.runs, thread)?;
    let agent = match asked.agent() {
        Some(agent) => Some(find_agent(&state, &caller, agent).await?),
        None => None,
    };
    let spec = resolve(&asked, agent, &caller, &state).await?;
    let idempotency = idempotency_of(&request, &asked)?;
    if let Err(refusal) = check_images(&state, &caller.account, &asked.input).await
        && !is_replay(&state, &caller.account, idempotency.clone()).await?
    {
        return Err(refusal);
    }
    let start = StartRun {
        account: caller.account,
        tier: caller.tier,
        spec,
        on_limit: asked.on_limit(),
        thread: asked.enter_thread(),
        idempotency,
        input: asked
            .input
            .iter()
            .map(|content| Item::new(ItemStatus::Completed, content.clone()))
            .collect(),
    };
    let runs = state.parts.runs.clone();
    // On the I/O runtime: a client that goes away now must not take its start half back.
    let started = state.on_io(async move { runs.start(start).await }).await??;
    if asked.stream {
        if started.run.events_forgotten {
            return Err(ApiError::events_expired(started.run.id));
        }
        return Ok(stream_of(&state, &started));
    }
    let replayed = started.replayed;
    let mut response = if replayed {
        HttpResponse::Ok()
    } else {
        HttpResponse::Created()
    };
    response
        .insert_header((header::LOCATION, run_path(started.run.id)))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    if replayed {
        response.insert_header((IDEMPOTENT_REPLAYED, "true"));
    }
    let view = RunView::whole(&state, started.run, started.queue_position).await?;
    Ok(response.json(view))
}

/// What will be done. Schemas that clients declare may take a while to compile: not on a thread that others wait for.
async fn resolve(
    asked: &RunRequest,
    agent: Option<Arc<AgentRecord>>,
    caller: &Caller,
    state: &HttpState,
) -> Result<RunSpec, ApiError> {
    let (catalog, bounds) = (&state.parts.catalog, &state.options.runs);
    if !asked.declares_tools(agent.as_deref()) {
        return asked.resolve(agent.as_deref(), &caller.account, catalog, bounds);
    }
    let (asked, account) = (asked.clone(), caller.account.clone());
    let resolving =
        move |state: &HttpState| asked.resolve(agent.as_deref(), &account, &state.parts.catalog, &state.options.runs);
    state.on_blocking_pool(resolving).await?
}

/// The run's events from the first one on, as the answer to the request that started it.
fn stream_of(state: &HttpState, started: &Started) -> HttpResponse {
    let mut response = HttpResponse::Created();
    response
        .insert_header((header::LOCATION, run_path(started.run.id)))
        .insert_header((RUN_ID, started.run.id.to_string()));
    if started.replayed {
        response.insert_header((IDEMPOTENT_REPLAYED, "true"));
    }
    events::stream_into(response, state, started.run.id, None)
}

/// Whether this run was started before: then it is shown, whatever became of its files since.
async fn is_replay(state: &HttpState, account: &AccountId, idempotency: Option<Idempotency>) -> Result<bool, ApiError> {
    let Some(idempotency) = idempotency else {
        return Ok(false);
    };
    let (store, account) = (state.parts.store.clone(), account.clone());
    let finding = async move { store.find_idempotent(&account, &idempotency).await };
    Ok(state.on_io(finding).await??.is_some())
}
