//! `GET /api/v1/capacity`: how the limits came about, and how much of them is used.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::extract::query::QueryParameters;
use super::state::HttpState;
use crate::auth::Caller;

/// How the limits of this instance came about, as the composition root worked them out. Kept as JSON: this surface only shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CapacityReport {
    /// The inputs of the formulas: CPUs, memory, the constants, and where each came from.
    pub inputs: Value,
    /// The limits they give, and which bound decides each.
    pub limits: Value,
    /// The configured tiers.
    pub tiers: Value,
}

/// Shows limits and use.
pub(super) async fn get_capacity(
    request: HttpRequest,
    _caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let runs = state.parts.runs.clone();
    let snapshot = state.on_io(async move { runs.snapshot().await }).await?;
    let store = state.parts.store.usage();
    let process = state.process_sample().await?;
    let blocking = state.parts.blocking_pool.usage();
    let report = &state.parts.capacity;
    let queued: u64 = snapshot.queued_by_tier.values().sum();
    let body = json!({
        "object": "capacity",
        "inputs": report.inputs,
        "limits": report.limits,
        "tiers": report.tiers,
        "draining": snapshot.draining,
        "permits": {
            "limit": snapshot.permits_limit,
            "in_use": snapshot.permits_in_use,
            "free": snapshot.permits_limit.saturating_sub(snapshot.permits_in_use),
        },
        "queue": {
            "limit": snapshot.queue_limit,
            "length": queued,
            "by_tier": snapshot.queued_by_tier,
        },
        "arbiters": snapshot.runs_by_arbiter,
        "database": {
            "connections_limit": store.connections_limit,
            "connections_open": store.connections_open,
            "connections_busy": store.connections_busy,
            "writes_waiting": store.writes_waiting,
            "statements": store.statements,
            "commits": store.commits,
        },
        "blocking_pool": {
            "threads_limit": blocking.threads_limit,
            "busy": blocking.busy,
            "waiting": blocking.waiting,
        },
        "process": process,
    });
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(body))
}
