//! `/api/v1/threads`.

mod create;
mod list;
mod one;
mod view;

use actix_web::web::{self, ServiceConfig};

use super::server::resource;

/// Adds the routes below `/api/v1`.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(
            resource("/threads", "GET, POST")
                .route(web::post().to(create::create_thread))
                .route(web::get().to(list::list_threads)),
        )
        .service(
            resource("/threads/{id}", "GET, DELETE")
                .route(web::get().to(one::get_thread))
                .route(web::delete().to(one::delete_thread)),
        )
        .service(resource("/threads/{id}/items", "GET").route(web::get().to(list::list_items)))
        .service(resource("/threads/{id}/runs", "POST").route(web::post().to(one::create_run)));
}
