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
        Some((_, reasons)) => reasons.clone(),
        None => {
            let reasons = find_reasons(&state).await;
            last.insert((Instant::now(), reasons)).1.clone()
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

/// Why new runs would not be taken; empty if they would.
async fn find_reasons(state: &HttpState) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    let runs = state.parts.runs.clone();
    let asked = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { runs.snapshot().await }));
    match asked.await {
        Ok(Ok(snapshot)) if snapshot.draining => reasons.push("shutting_down"),
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => reasons.push("supervisor_unresponsive"),
    }
    let store = state.parts.store.clone();
    let pinged = tokio::time::timeout(LONGEST_ANSWER, state.on_io(async move { store.ping().await }));
    let store_answers = match pinged.await {
        Ok(Ok(answer)) => answer.map_err(ApiError::from).is_ok(),
        Ok(Err(_)) | Err(_) => false,
    };
    if !store_answers {
        reasons.push("store_unavailable");
    }
    reasons
}
