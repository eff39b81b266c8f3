//! What is told about the provider, and how it is changed while it runs. For whoever runs an experiment; nobody has to show a key.

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::provider::Provider;
use super::settings::LimitSettings;
use crate::llm::simulated::troubles::Troubles;

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config
        .route("/journal", web::get().to(show_journal))
        .route("/stats", web::get().to(show_stats))
        .route("/usage", web::get().to(show_usage))
        .route("/admin/troubles", web::get().to(show_troubles))
        .route("/admin/troubles", web::post().to(set_troubles))
        .route("/admin/keys/{ending}", web::post().to(change_keys));
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JournalQuery {
    /// The number of the first call to show.
    #[serde(default)]
    from: u64,
}

async fn show_journal(provider: web::Data<Provider>, query: web::Query<JournalQuery>) -> HttpResponse {
    let calls = provider.state().0.journal.calls_from(query.from);
    HttpResponse::Ok().json(json!({"calls": calls}))
}

async fn show_stats(provider: web::Data<Provider>) -> HttpResponse {
    let (mut state, now) = provider.state();
    let totals = state.journal.totals();
    let keys = state.keys.reports(now);
    drop(state);
    HttpResponse::Ok().json(json!({"begun": totals.begun, "open": totals.open, "keys": keys}))
}

async fn show_usage(provider: web::Data<Provider>) -> HttpResponse {
    let (mut state, now) = provider.state();
    let keys = state.keys.histories(now);
    drop(state);
    HttpResponse::Ok().json(json!({
        "started_at_us": provider.started_at.as_micros(), "now_second": now.as_secs(), "window_ms": provider.window_ms, "keys": keys
    }))
}

async fn show_troubles(provider: web::Data<Provider>) -> HttpResponse {
    let troubles = provider.state().0.troubles.troubles.clone();
    HttpResponse::Ok().json(troubles)
}

/// Other troubles instead of those in force.
async fn set_troubles(provider: web::Data<Provider>, troubles: web::Json<Troubles>) -> HttpResponse {
    let troubles = troubles.into_inner();
    if let Err(problem) = troubles.check() {
        return HttpResponse::BadRequest().body(problem.to_string());
    }
    let (mut state, now) = provider.state();
    state.troubles.replace(now, troubles.clone());
    drop(state);
    HttpResponse::Ok().json(troubles)
}

/// What is to change about a key; what is left out stays.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyChange {
    refused: Option<bool>,
    limits: Option<LimitSettings>,
}

/// Changes the keys that end in these four characters.
async fn change_keys(
    provider: web::Data<Provider>,
    ending: web::Path<String>,
    change: web::Json<KeyChange>,
) -> HttpResponse {
    let (mut state, now) = provider.state();
    let keys = state.keys.ending_in(&ending);
    if keys.is_empty() {
        return HttpResponse::NotFound().body("no key ends in these four characters");
    }
    for key in &keys {
        if let Some(refused) = change.refused {
            state.keys.set_refused(now, *key, refused);
        }
        if let Some(limits) = change.limits {
            state.keys.set_limits(*key, limits.into());
        }
    }
    let reports: Vec<_> = keys.iter().map(|key| state.keys.report(now, *key)).collect();
    drop(state);
    HttpResponse::Ok().json(json!({"keys": reports}))
}
