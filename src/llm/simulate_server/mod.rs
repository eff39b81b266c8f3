//! `callboard simulate-llm`: the simulated model as a provider over HTTP, as an upstream for load and chaos.
//!
//! It speaks the dialects of OpenAI (chat completions, responses) and Anthropic (messages), keeps each key to its limits as strictly as any
//! provider does, and has troubles, by chance that follows from a seed. A request's `simulate` field says what to do; the settings say what
//! to do where it is silent. `GET /journal` tells of the last calls, `/stats` counts them, `/usage` has each key's use second by second;
//! `POST /admin/…` changes troubles and keys while it runs.
//!
//! It is no model, and no server for anything but tests: nobody has to show a key to see the journal or to change the settings.

mod admin;
mod counting;
mod dialects;
mod journal;
mod keys;
mod limit_headers;
mod limiter;
mod meter;
mod models;
mod provider;
mod seal;
mod serving;
pub mod settings;

use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::{App, HttpRequest, HttpServer, web};
use bytes::Bytes;

use dialects::{Chat, Messages, Responses};
use provider::Provider;
use serving::serve;
pub use settings::SimulateServerSettings;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct SimulateServerOptions {
    /// Where to listen; port 0 is any free one.
    pub bind: SocketAddr,
    /// Threads that serve.
    pub workers: usize,
    /// What it allows and does; checked.
    pub settings: SimulateServerSettings,
}

/// Starts listening. Must be called on the thread of an actix system; await the server to serve.
pub fn start(options: SimulateServerOptions) -> std::io::Result<(Server, SocketAddr)> {
    let provider = web::Data::from(Arc::new(Provider::new(options.settings)));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(provider.clone())
            .app_data(web::PayloadConfig::new(64 * 1024 * 1024))
            .route("/v1/chat/completions", web::post().to(chat))
            .route("/v1/messages", web::post().to(messages))
            .route("/v1/responses", web::post().to(responses))
            .route("/v1/models", web::get().to(models::list))
            .route("/healthz", web::get().to(|| async { "ok" }))
            .configure(admin::routes)
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

async fn chat(provider: web::Data<Provider>, request: HttpRequest, body: Bytes) -> actix_web::HttpResponse {
    serve(&Chat, provider, request, body).await
}

async fn messages(provider: web::Data<Provider>, request: HttpRequest, body: Bytes) -> actix_web::HttpResponse {
    serve(&Messages, provider, request, body).await
}

async fn responses(provider: web::Data<Provider>, request: HttpRequest, body: Bytes) -> actix_web::HttpResponse {
    serve(&Responses, provider, request, body).await
}

#[cfg(test)]
mod tests;
