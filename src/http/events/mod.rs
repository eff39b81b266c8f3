//! `GET /api/v1/runs/{id}/events`: the run's log, as an event stream or as pages of JSON.
//!
//! A reader is a position in the log and nothing else: what it reads are the bytes that the run's actor wrote, unchanged. A client that
//! goes away changes nothing; one that comes back says the last seq it saw.

mod page;
mod position;
mod stream;

use actix_web::http::header::{self, Accept, ContentEncoding, Header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventLogError;
use tokio::sync::watch;

use self::stream::EventStreamBody;
use super::error::ApiError;
use super::extract::query::QueryParameters;
use super::extract::run_path::owned_run;
use super::state::HttpState;
use crate::auth::Caller;

/// Streams a run's events from where the client left off, or shows a page of them.
pub(super) async fn get_events(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let wants_page = prefers_json(&request);
    let known: &[&str] = if wants_page { &["after", "limit"] } else { &["after"] };
    let parameters = QueryParameters::of(&request, known)?;
    let after = position::last_seen(&request, &parameters)?;
    let run = owned_run(&request, &state, &caller).await?;
    position::check_within_log(&run, after.as_ref())?;
    let after = after.map(|position| position.seq);
    let has_seen_the_end = run.state.is_terminal() && after.map_or(0, |seq| seq + 1) >= run.next_seq;
    if run.events_forgotten && !has_seen_the_end {
        return Err(ApiError::events_expired(run.id));
    }
    if wants_page {
        return page::page_of(&state, run.id, after, has_seen_the_end, &parameters).await;
    }
    if has_seen_the_end {
        return Ok(HttpResponse::NoContent()
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .finish());
    }
    Ok(stream_into(HttpResponse::Ok(), &state, run.id, after))
}

/// Makes the response a stream of the run's events above `after`.
pub(super) fn stream_into(
    mut response: HttpResponseBuilder,
    state: &HttpState,
    run: RunId,
    after: Option<u64>,
) -> HttpResponse {
    let events = state.parts.event_log.follow(run, after);
    let closing = streams_closed(state.parts.close_streams.clone());
    response
        .insert_header((header::CONTENT_TYPE, "text/event-stream"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies of the nginx kind hold answers back; events must go out at once.
        .insert_header(("x-accel-buffering", "no"))
        .insert_header(ContentEncoding::Identity)
        .body(EventStreamBody::new(
            run,
            events,
            Box::pin(closing),
            state.options.heartbeat,
        ))
}

/// Logs why a reader was not served. What lies behind the log tells of its own troubles, once for all readers.
pub(super) fn log_trouble(run: RunId, error: &EventLogError, what: &str) {
    if matches!(error, EventLogError::Unavailable(_)) {
        tracing::debug!(run_id = %run, %error, "{what}");
    } else {
        tracing::warn!(run_id = %run, %error, "{what}");
    }
}

/// Ends when the app wants all streams closed.
pub(super) async fn streams_closed(mut close: watch::Receiver<bool>) {
    // An app that is gone says nothing; its server ends with it.
    if close.wait_for(|closed| *closed).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Whether the client likes JSON better than an event stream. One that does not say gets the stream.
fn prefers_json(request: &HttpRequest) -> bool {
    let Ok(accept) = Accept::parse(request) else {
        return false;
    };
    let preferred = accept.ranked();
    let first_known = preferred
        .iter()
        .find(|range| matches!(range.essence_str(), "application/json" | "text/event-stream"));
    first_known.is_some_and(|range| range.essence_str() == "application/json")
}
