//! `/api/v1/agents`: settings of runs under a name, in versions.

mod list;
mod one;
mod request;
mod view;
mod write;

use actix_web::web::{self, ServiceConfig};

use super::server::resource;

/// Adds the routes below `/api/v1`.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(
            resource("/agents", "GET, POST")
                .route(web::post().to(write::create_agent))
                .route(web::get().to(list::list_agents)),
        )
        .service(
            resource("/agents/{id}", "GET, PATCH, DELETE")
                .route(web::get().to(one::get_agent))
                .route(web::patch().to(write::update_agent))
                .route(web::delete().to(one::delete_agent)),
        )
        .service(resource("/agents/{id}/versions", "GET").route(web::get().to(list::list_versions)));
}
