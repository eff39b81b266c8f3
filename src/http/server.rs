//! The listening server and its routes.

use std::net::{SocketAddr, TcpListener};

use actix_web::dev::Server;
use actix_web::http::header::{self, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource};
use tokio::net::TcpSocket;

use super::error::{ApiError, ErrorCode};
use super::state::HttpState;
use super::{
    agents, authenticate, budget, capacity, cluster, files, head, metrics, models, openapi, readiness, request_id,
    runs, threads, unread_body, usage,
};

/// Listens. Connections wait until a server is made of it. Must be called on a thread of a runtime.
pub fn listen(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A server that was stopped a moment ago does not keep the next one from its port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)?.into_std()
}

/// The server on this listener, to be awaited.
///
/// The server ends when its handle is told to: it handles no signals. A graceful stop waits for open requests, event streams among them,
/// so [`close_streams`](super::HttpParts::close_streams) comes first.
pub fn server(state: HttpState, listener: TcpListener) -> std::io::Result<Server> {
    let options = state.options.clone();
    let workers = options.workers.max(1);
    let data = web::Data::new(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(head::as_get))
            .wrap(from_fn(request_id::name_and_log))
            .wrap(from_fn(unread_body::end_with_the_answer))
            .configure(configure)
            .default_service(web::to(not_found))
    })
    .workers(workers)
    .max_connections(options.max_connections.div_ceil(workers))
    .keep_alive(options.keep_alive)
    .client_request_timeout(options.request_timeout)
    .shutdown_timeout(options.shutdown_timeout.as_secs())
    // Small writes are whole events: they must not wait for more.
    .tcp_nodelay(true)
    // A client that closes its side has left; its stream ends at once and not with the next heartbeat.
    .h1_allow_half_closed(false)
    .disable_signals()
    .listen(listener)?;
    Ok(server.run())
}

fn configure(config: &mut ServiceConfig) {
    openapi::configure(config);
    config
        .service(resource("/healthz", "GET").route(web::get().to(readiness::healthz)))
        .service(resource("/readyz", "GET").route(web::get().to(readiness::readyz)))
        .service(
            web::scope("/metrics")
                .wrap(from_fn(authenticate::guard_from_browsers))
                .service(resource("", "GET").route(web::get().to(metrics::get_metrics)))
                .default_service(web::to(not_found)),
        )
        .service(
            web::scope("/api/v1")
                .wrap(from_fn(authenticate::authenticate))
                .service(resource("/capacity", "GET").route(web::get().to(capacity::get_capacity)))
                .service(resource("/cluster", "GET").route(web::get().to(cluster::get_cluster)))
                .service(resource("/budget", "GET").route(web::get().to(budget::get_budget)))
                .service(resource("/usage", "GET").route(web::get().to(usage::get_usage)))
                .configure(agents::configure)
                .configure(models::configure)
                .configure(runs::configure)
                .configure(threads::configure)
                .configure(files::configure)
                .default_service(web::to(not_found)),
        );
}

/// A path that answers other methods than those in `allow`, and `HEAD` where there is `GET`, with 405.
pub(super) fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move || async move {
        let allow = allow.replace("GET", "GET, HEAD");
        let message = format!("this path answers only to {allow}");
        let mut error = ApiError::new(ErrorCode::MethodNotAllowed, message);
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            error = error.with_header(header::ALLOW, allow);
        }
        Err::<HttpResponse, ApiError>(error)
    };
    web::resource(path).default_service(web::to(refuse))
}

async fn not_found(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    let message = format!("there is nothing at {} {}", request.method(), request.path());
    Err(ApiError::new(ErrorCode::NotFound, message))
}
