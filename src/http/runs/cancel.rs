//! `POST /api/v1/runs/{id}/cancel`.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::RunRecord;
use tokio::time::{Instant, timeout_at};

use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::QueryParameters;
use crate::http::extract::run_path::owned_run;
use crate::http::state::HttpState;

/// Ends a run for good; one that had ended is shown as it is. What is answered with 200 has ended.
pub(super) async fn cancel_run(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let last_moment = Instant::now() + state.options.cancel_timeout;
    let owned = timeout_at(last_moment, owned_run(&request, &state, &caller)).await;
    let run = owned.map_err(|_elapsed| ApiError::store_unavailable())??;
    let run = if run.state.is_terminal() {
        run
    } else {
        cancelled(&state, run.id, last_moment).await?
    };
    let view = timeout_at(last_moment, RunView::whole(&state, run, None)).await;
    let view = view.map_err(|_elapsed| ApiError::store_unavailable())??;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}

/// The run when it has ended. The cancel goes on, whatever becomes of this request.
async fn cancelled(state: &HttpState, run: RunId, last_moment: Instant) -> Result<RunRecord, ApiError> {
    let runs = state.parts.runs.clone();
    let cancelling = state.on_io(async move { runs.cancel(run).await });
    let Ok(answered) = timeout_at(last_moment, cancelling).await else {
        tracing::warn!(run_id = %run, "a cancelled run has not ended in time; the cancel goes on");
        return Err(unconfirmed());
    };
    match answered? {
        Ok(Some(record)) if record.state.is_terminal() => Ok(record),
        // Another instance has it, and was told.
        Ok(Some(_)) => Err(unconfirmed()),
        Ok(None) => Err(ApiError::run_not_found()),
        // It may have written down the cancel and not said so.
        Err(error @ StoreError::Unavailable(_)) => {
            tracing::debug!(run_id = %run, %error, "store did not answer a cancel");
            Err(unconfirmed())
        }
        Err(error) => Err(error.into()),
    }
}

fn unconfirmed() -> ApiError {
    ApiError::new(
        ErrorCode::CancelUnconfirmed,
        "the run has not been seen to end yet; ask again, or watch it",
    )
}
