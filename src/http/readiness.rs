//! `/healthz` and `/readyz`.

use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use callboard_actors::ports::event_log::Reach;
use serde_json::json;
use tokio::sync::Mutex;

use super::error::ApiError;
use super::state::HttpState;

/// How long an answer counts: probes of many load balancers cost one ping.
const ANSWER_COUNTS_FOR: Duration = Duration::from_secs(1);
/// How long the store and the supervisor may take.
const LONGEST_ANSWER: Duration = Duration::from_secs(2);

/// The last answer of the probe.
#[derive(Default)]
pub(super) struct Readiness(Mutex<Option<(Instant, Vec<&'static str>)>>);

/// The process runs and answers.
pub(super) async fn healthz() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": "ok" }))
}

/// New runs would be taken; as well as it should be, or not.
pub(super) async fn readyz(state: web::Data<HttpState>) -> HttpResponse {
    let mut reasons = reasons_against(&state).await;
    let is_ready = reasons.is_empty();
    reasons.extend(reason_of_events(&state));
    let (mut response, status) = match (is_ready, reasons.is_empty()) {
        (true, true) => (HttpResponse::Ok(), "ready"),
        (true, false) => (HttpResponse::Ok(), "degraded"),
        (false, _) => (HttpResponse::ServiceUnavailable(), "not_ready"),
    };
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": status, "reasons": reasons }))
}

/// Why a new run would not be taken.
async fn reasons_against(state: &HttpState) -> Vec<&'static str> {
    let mut last = state.readiness.0.lock().await;
    let known = last.as_ref().filter(|(at, _)| at.elapsed() < ANSWER_COUNTS_FOR);
    if let Some((_, reasons)) = known
        && !reasons.is_empty()
    {
        return reasons.clone();
    }
    // Being asked to leave counts at once: only that the store answered may be a second old.
    let store_answered = known.is_some();
    let mut reasons: Vec<_> = reason_of_supervisor(state).await.into_iter().collect();
    if !store_answered {
        reasons.extend(reason_of_store(state).await);
    }
    if !store_answered || !reasons.is_empty() {
        *last = Some((Instant::now(), reasons.clone()));
    }
    reasons
}

/// Why the supervisor would not take a new run.
async fn reason_of_supervisor(state: &HttpState) -> Option<&'static str> {
    let runs = state.parts.runs.clone();
    let asked = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { runs.snapshot().await }));
    match asked.await {
        Ok(Ok(snapshot)) if snapshot.instance.is_none() => Some("supervisor_unresponsive"),
        Ok(Ok(snapshot)) if snapshot.draining => Some("shutting_down"),
        Ok(Ok(snapshot)) => snapshot.lease_lost.then_some("lease_lost"),
        Ok(Err(_)) | Err(_) => Some("supervisor_unresponsive"),
    }
}

/// Why the store would not.
async fn reason_of_store(state: &HttpState) -> Option<&'static str> {
    let store = state.parts.store.clone();
    let pinged = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { store.ping().await }));
    let store_answers = match pinged.await {
        Ok(Ok(answer)) => answer.map_err(ApiError::from).is_ok(),
        Ok(Err(_)) | Err(_) => false,
    };
    (!store_answers).then_some("store_unavailable")
}

/// Why readers of other instances see less than they should. Runs are taken all the same: their events are kept and delivered later.
fn reason_of_events(state: &HttpState) -> Option<&'static str> {
    let reaches_only_here = state.parts.event_log.reach() == Some(Reach::OnlyHere);
    reaches_only_here.then_some("event_stream_unavailable")
}
