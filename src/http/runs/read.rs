//! `GET /api/v1/runs/{id}`, with `?wait=` until the run has ended.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::ports::store::RunRecord;
use futures::StreamExt;

use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::ApiError;
use crate::http::events::{log_trouble, streams_closed};
use crate::http::extract::query::QueryParameters;
use crate::http::extract::run_path::{owned_run, stored_run};
use crate::http::state::HttpState;

/// Shows a run; with `wait`, as soon as it has ended or so many seconds are over.
pub(super) async fn get_run(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let parameters = QueryParameters::of(&request, &["wait"])?;
    let longest = state.options.max_long_poll.as_secs();
    let wait = parameters.count("wait", 0, longest)?.unwrap_or(0);
    let mut run = owned_run(&request, &state, &caller).await?;
    if wait > 0 && !run.state.is_terminal() {
        run = wait_for_end(&state, run, Duration::from_secs(wait)).await?;
    }
    let view = RunView::whole_with_position(&state, run).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}

/// The run when its terminal event has come, when `longest` is over, or when the server closes its streams.
async fn wait_for_end(state: &HttpState, run: RunRecord, longest: Duration) -> Result<RunRecord, ApiError> {
    let id = run.id;
    let mut events = state.parts.event_log.follow(id, run.next_seq.checked_sub(1));
    let ending = async {
        while let Some(next) = events.next().await {
            match next {
                Ok(batch) if batch.is_terminal() => return,
                Ok(_) => {}
                Err(error) => {
                    log_trouble(id, &error, "a long poll lost the event log");
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = ending => {}
        () = tokio::time::sleep(longest) => {}
        () = streams_closed(state.parts.close_streams.clone()) => {}
    }
    Ok(stored_run(state, id).await?.unwrap_or(run))
}
