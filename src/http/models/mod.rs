//! `/api/v1/models`: the models that runs may name and who answers them, which any caller may see; and for operators how things stand with
//! the providers' keys, of which it shows no more than their end.

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
