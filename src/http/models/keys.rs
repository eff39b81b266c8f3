//! `GET /api/v1/models/keys`, and the same as gauges.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use metrics::{Label, gauge};

use crate::http::authenticate::Operator;
use crate::http::error::ApiError;
use crate::http::extract::query::QueryParameters;
use crate::http::state::HttpState;
use crate::model_directory::{CircuitName, KeyPoolView, KeyView, ModelKeysView, ProviderView, ReachName};

/// Shows every provider's keys.
pub(super) async fn get_model_keys(
    request: HttpRequest,
    _operator: Operator,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(&request, &[])?;
    let view = view(&state).await?;
    Ok(HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .json(view))
}

async fn view(state: &HttpState) -> Result<ModelKeysView, ApiError> {
    let directory = state.parts.model_directory.clone();
    state.on_io(async move { directory.view().await }).await
}

/// Sets the gauges of every provider and key.
pub(in crate::http) async fn key_gauges(state: &HttpState) -> Result<(), ApiError> {
    set_gauges(&view(state).await?);
    Ok(())
}

fn set_gauges(view: &ModelKeysView) {
    for provider in &view.data {
        let is_open = provider.circuit.state == CircuitName::Open;
        gauge!("callboard_model_circuit_open", "provider" => provider.provider.clone())
            .set(f64::from(u8::from(is_open)));
        for pool in &provider.pools {
            let labels = labels_of(provider, pool);
            gauge!("callboard_model_calls_waiting", labels.clone()).set(pool.waiting as f64);
            if pool.reach != ReachName::Instance {
                let is_shared = f64::from(u8::from(pool.reach == ReachName::Fleet));
                gauge!("callboard_model_limits_shared", labels.clone()).set(is_shared);
            }
            for key in &pool.keys {
                set_key_gauges(key, &labels);
            }
        }
    }
}

fn labels_of(provider: &ProviderView, pool: &KeyPoolView) -> Vec<Label> {
    let mut labels = vec![Label::new("provider", provider.provider.clone())];
    labels.extend(pool.model.iter().map(|model| Label::new("model", model.clone())));
    labels
}

fn set_key_gauges(key: &KeyView, pool_labels: &[Label]) {
    let mut labels = pool_labels.to_vec();
    labels.push(Label::new("key", key.number.to_string()));
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    let limit = |limit: Option<u64>| limit.unwrap_or_default() as f64;
    let (limits, used, recent) = (&key.limits, &key.used, &key.recent);
    for (name, value) in [
        ("callboard_model_key_requests", used.requests as f64),
        ("callboard_model_key_requests_limit", limit(limits.requests_per_minute)),
        ("callboard_model_key_tokens", used.tokens as f64),
        ("callboard_model_key_tokens_limit", limit(limits.tokens_per_minute)),
        ("callboard_model_key_calls", used.concurrent_calls as f64),
        ("callboard_model_key_calls_limit", limit(limits.concurrent_calls)),
        ("callboard_model_key_cooling_seconds", seconds(key.cooling_for)),
        ("callboard_model_key_refused_seconds", seconds(key.refused_for)),
        ("callboard_model_key_recent_calls", recent.calls as f64),
        ("callboard_model_key_recent_failures", recent.failed as f64),
        ("callboard_model_key_recent_rate_limited", recent.rate_limited as f64),
    ] {
        gauge!(name, labels.clone()).set(value);
    }
}
