//! `/api/v1/models`: the models that runs may name and who answers them, and how things stand with the keys. Any caller may see it, as
//! with the cluster: it tells of the installation and of no account, and of a key no more than its end.

mod keys;
mod list;

use actix_web::web::{self, ServiceConfig};

use super::server::resource;

pub(super) use keys::key_gauges;

/// Adds the paths.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/models", "GET").route(web::get().to(list::get_models)))
        .service(resource("/models/keys", "GET").route(web::get().to(keys::get_model_keys)));
}
