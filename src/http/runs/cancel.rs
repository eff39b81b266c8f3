//! `POST /api/v1/runs/{id}/cancel`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};

use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::extract::run_path::owned_run;
use crate::http::state::HttpState;

/// Ends a run for good; one that had ended is shown as it is.
pub(super) async fn cancel_run(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let run = owned_run(&request, &state, &caller).await?;
    let run = if run.state.is_terminal() {
        run
    } else {
        let runs = state.parts.runs.clone();
        let cancelled = state.on_io(async move { runs.cancel(run.id).await }).await??;
        cancelled.ok_or_else(ApiError::run_not_found)?
    };
    let view = RunView::whole_with_position(&state, run).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}
