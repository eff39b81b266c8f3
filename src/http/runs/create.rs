//! `POST /api/v1/runs`.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::{AccountId, ThreadId};
use callboard_actors::item::{Item, ItemStatus};
use callboard_actors::ports::agents::AgentRecord;
use callboard_actors::ports::store::{Creation, Idempotency};
use callboard_actors::spec::RunSpec;
use callboard_actors::supervisor::messages::{StartError, StartRun, Started};

use super::agent::find_agent;
use super::idempotency::idempotency_of;
use super::request::RunRequest;
use super::view::{RunView, run_path};
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::events;
use crate::http::extract::json_body::read_json;
use crate::http::extract::query::QueryParameters;
use crate::http::extract::thread_path::thread_of;
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
    let idempotency = idempotency_of(&request, &asked)?;
    let started = match resolve(&asked, &caller, &state).await {
        Ok(spec) => start(spec, &asked, idempotency, caller, &state).await?,
        // What it named may be gone since it was started; the run is not.
        Err(refusal) => replay(idempotency, &caller.account, &state).await?.ok_or(refusal)?,
    };
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

/// What will be done, with what the caller has.
async fn resolve(asked: &RunRequest, caller: &Caller, state: &HttpState) -> Result<RunSpec, ApiError> {
    if let Some(enter) = asked.enter_thread() {
        thread_of(enter.thread, state, caller).await?;
    }
    let agent = match asked.agent() {
        Some(agent) => Some(find_agent(state, caller, agent).await?),
        None => None,
    };
    let spec = resolve_with(asked, agent, caller, state).await?;
    check_images(state, &caller.account, "input", &asked.input).await?;
    Ok(spec)
}

/// Schemas that clients declare may take a while to compile: not on a thread that others wait for.
async fn resolve_with(
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
    state.on_blocking_pool(&caller.account, resolving).await?
}

async fn start(
    spec: RunSpec,
    asked: &RunRequest,
    idempotency: Option<Idempotency>,
    caller: Caller,
    state: &HttpState,
) -> Result<Started, ApiError> {
    let start = StartRun {
        account: caller.account,
        tier: caller.tier,
        spec: Arc::new(spec),
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
    Ok(state.on_io(async move { runs.start(start).await }).await??)
}

/// The run that this request started before, if it did.
async fn replay(
    idempotency: Option<Idempotency>,
    account: &AccountId,
    state: &HttpState,
) -> Result<Option<Started>, ApiError> {
    let Some(idempotency) = idempotency else {
        return Ok(None);
    };
    let (store, account) = (state.parts.store.clone(), account.clone());
    let finding = state.on_io(async move { store.find_idempotent(&account, &idempotency).await });
    match finding.await?? {
        Some(Creation::Existing(run)) => Ok(Some(Started::replay(*run))),
        Some(Creation::IdempotencyConflict) => Err(StartError::IdempotencyConflict.into()),
        _ => Ok(None),
    }
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
