//! `callboard simulate-llm`: the simulated model as an OpenAI-compatible provider over HTTP, as an upstream for load and chaos.
//!
//! A request's `simulate` field says what to do; the command line says what to do where it is silent. `GET /journal` tells of the
//! last calls and when they came, `GET /stats` counts them.

mod journal;
mod respond;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::json;

use super::simulated::options::SimulateOptions;
use journal::Journal;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct SimulateServerOptions {
    /// Where to listen; port 0 is any free one.
    pub bind: SocketAddr,
    /// Threads that serve.
    pub workers: usize,
    /// What to do where a request is silent.
    pub defaults: SimulateOptions,
}

/// What the handlers share.
struct Provider {
    defaults: SimulateOptions,
    journal: Journal,
}

/// Starts listening. Must be called on the thread of an actix system; await the server to serve.
pub fn start(options: SimulateServerOptions) -> std::io::Result<(Server, SocketAddr)> {
    let provider = web::Data::from(Arc::new(Provider {
        defaults: options.defaults,
        journal: Journal::default(),
    }));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(provider.clone())
            .app_data(web::PayloadConfig::new(64 * 1024 * 1024))
            .route("/v1/chat/completions", web::post().to(respond::chat_completions))
            .route("/v1/models", web::get().to(models))
            .route("/journal", web::get().to(show_journal))
            .route("/stats", web::get().to(show_stats))
            .route("/healthz", web::get().to(|| async { "ok" }))
    })
    .workers(options.workers.max(1))
    .backlog(8192)
    .max_connections(100_000)
    .keep_alive(std::time::Duration::from_secs(120))
    .client_request_timeout(std::time::Duration::ZERO)
    .shutdown_timeout(1)
    .tcp_nodelay(true)
    // A caller that closes its side has hung up: its call ends at once, also one that has nothing to send.
    .h1_allow_half_closed(false)
    .bind(options.bind)?;
    let address = server.addrs().first().copied().unwrap_or(options.bind);
    Ok((server.run(), address))
}

async fn models() -> HttpResponse {
    HttpResponse::Ok().json(json!({"object": "list", "data": [
        {"id": super::simulated::script::MODEL_NAME, "object": "model", "created": 0, "owned_by": "callboard"}
    ]}))
}

async fn show_journal(provider: web::Data<Provider>, _request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().json(json!({"calls": provider.journal.calls()}))
}

async fn show_stats(provider: web::Data<Provider>) -> HttpResponse {
    HttpResponse::Ok().json(provider.journal.stats())
}

#[cfg(test)]
mod tests;
