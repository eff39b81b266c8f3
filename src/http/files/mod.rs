//! `/api/v1/files`.

mod errors;
pub(super) mod images;
mod list;
mod read;
mod upload;
mod view;

use actix_web::web::{self, ServiceConfig};

use super::server::resource;

/// Adds the routes below `/api/v1`.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(
            resource("/files", "GET, POST")
                .route(web::post().to(upload::create_file))
                .route(web::get().to(list::list_files)),
        )
        .service(
            resource("/files/{id}", "GET, DELETE")
                .route(web::get().to(read::get_file))
                .route(web::delete().to(read::delete_file)),
        )
        .service(resource("/files/{id}/content", "GET").route(web::get().to(read::get_content)));
}
