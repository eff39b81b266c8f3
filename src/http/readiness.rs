//! `/healthz` and `/readyz`.

use std::time::{Duration, Instant};

use actix_web::http::header;
use actix_web::{HttpResponse, web};
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

/// New runs would be taken.
pub(super) async fn readyz(state: web::Data<HttpState>) -> HttpResponse {
    let mut last = state.readiness.0.lock().await;
    let known = last.as_ref().filter(|(at, _)| at.elapsed() < ANSWER_COUNTS_FOR);
    let reasons = match known {
        Some((_, reasons)) if !reasons.is_empty() => reasons.clone(),
        known => {
            // Being asked to leave counts at once: only that the store answered may be a second old.
            let store_answered = known.is_some();
            let mut reasons: Vec<_> = reason_of_supervisor(&state).await.into_iter().collect();
            if !store_answered {
                reasons.extend(reason_of_store(&state).await);
            }
            if !store_answered || !reasons.is_empty() {
                *last = Some((Instant::now(), reasons.clone()));
            }
            reasons
        }
    };
    drop(last);
    let is_ready = reasons.is_empty();
    let mut response = if is_ready {
        HttpResponse::Ok()
    } else {
        HttpResponse::ServiceUnavailable()
    };
    let status = if is_ready { "ready" } else { "not_ready" };
    response
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(json!({ "status": status, "reasons": reasons }))
}

/// Why the supervisor would not take a new run.
async fn reason_of_supervisor(state: &HttpState) -> Option<&'static str> {
    let runs = state.parts.runs.clone();
    let asked = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { runs.snapshot().await }));
    match asked.await {
        Ok(Ok(snapshot)) => snapshot.draining.then_some("shutting_down"),
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
