//! `GET /api/v1/runs` and `GET /api/v1/runs/{id}/items`.

use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::{RunId, ThreadId};
use callboard_actors::ports::store::{RunQuery, RunRecord};
use callboard_actors::run_state::RunState;
use uuid::Uuid;

use super::cursor::CursorScope;
use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::{QueryParameters, invalid};
use crate::http::extract::run_path::owned_run;
use crate::http::extract::thread_path::thread_of;
use crate::http::page::{Page, page_size};
use crate::http::state::HttpState;

/// Lists the caller's runs, newest first.
pub(super) async fn list_runs(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["state", "thread", "limit", "cursor"])?;
    let wanted_state = parameters.text("state").map(read_state).transpose()?;
    let limit = page_size(&parameters, &state)?;
    let thread = match parameters.text("thread") {
        Some(id) => Some(read_thread(id, &state, &caller).await?),
        None => None,
    };
    let thread_filter = thread.map(|thread| thread.to_string()).unwrap_or_default();
    let filter = wanted_state.map_or("", RunState::as_str);
    let scope_parts = [caller.account.as_str(), "runs", filter, &thread_filter];
    let scope = CursorScope(&scope_parts);
    let before = scope.asked(&parameters)?;
    let read = async |before: Option<Uuid>, count| {
        let query = RunQuery {
            account: caller.account.clone(),
            thread,
            state: wanted_state,
            before: before.map(RunId::from_uuid),
            limit: count,
        };
        let store = state.parts.store.clone();
        Ok(state.on_io(async move { store.list_runs(query).await }).await??)
    };
    let show = async |run: RunRecord| {
        let position = match run.state {
            RunState::Queued => state.parts.runs.queue_position(run.id).await,
            _ => None,
        };
        RunView::in_list(&state, run, position)
    };
    let bounds = (limit, state.options.max_page_bytes);
    let page = Page::gathered(
        bounds,
        before,
        read,
        |run| run.id.uuid(),
        show,
        |place| scope.write(place),
    )
    .await?;
    Ok(page.answer())
}

/// Lists a run's items, input first.
pub(super) async fn list_items(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["limit", "cursor"])?;
    let limit = page_size(&parameters, &state)?;
    let run = owned_run(&request, &state, &caller).await?.id;
    let run_text = run.to_string();
    let scope_parts = [caller.account.as_str(), "items", &run_text];
    let scope = CursorScope(&scope_parts);
    let after = scope.asked(&parameters)?;
    let after = after.map(|place| place.as_u128() as u32);
    let store = state.parts.store.clone();
    let items = state
        .on_io(async move { store.items(run, after, limit).await })
        .await??;
    let page = Page::of_items(items, |(place, _)| scope.write(Uuid::from_u128((*place).into())));
    Ok(page.map(|(_, item)| item).answer())
}

/// The caller's thread with this id, which `thread` names.
async fn read_thread(id: &str, state: &HttpState, caller: &Caller) -> Result<ThreadId, ApiError> {
    let not_found = || ApiError::thread_not_found().with_param("thread");
    let id = id.parse().map_err(|_| not_found())?;
    match thread_of(id, state, caller).await {
        Ok(thread) => Ok(thread.id),
        Err(error) if error.code() == ErrorCode::ThreadNotFound => Err(not_found()),
        Err(error) => Err(error),
    }
}

fn read_state(name: &str) -> Result<RunState, ApiError> {
    RunState::parse(name).ok_or_else(|| {
        let names: Vec<&str> = RunState::ALL.iter().map(|state| state.as_str()).collect();
        invalid("state", &format!("it must be one of {}", names.join(", ")))
    })
}
