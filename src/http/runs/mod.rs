//! `/api/v1/runs`.

pub(super) mod agent;
mod calls;
mod cancel;
pub(super) mod create;
pub(super) mod cursor;
mod idempotency;
pub(super) mod input_items;
pub(super) mod list;
mod read;
pub(super) mod request;
pub(super) mod settings;
mod thread;
mod tools;
mod view;

use actix_web::web::{self, ServiceConfig};

use super::events;
use super::server::resource;

/// Adds the routes below `/api/v1`.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(
            resource("/runs", "GET, POST")
                .route(web::post().to(create::create_run))
                .route(web::get().to(list::list_runs)),
        )
        .service(resource("/runs/{id}", "GET").route(web::get().to(read::get_run)))
        .service(resource("/runs/{id}/items", "GET").route(web::get().to(list::list_items)))
        .service(resource("/runs/{id}/events", "GET").route(web::get().to(events::get_events)))
        .service(resource("/runs/{id}/tool_outputs", "POST").route(web::post().to(calls::post_tool_outputs)))
        .service(resource("/runs/{id}/approvals", "POST").route(web::post().to(calls::post_approvals)))
        .service(resource("/runs/{id}/review", "POST").route(web::post().to(calls::post_review)))
        .service(resource("/runs/{id}/cancel", "POST").route(web::post().to(cancel::cancel_run)));
}
