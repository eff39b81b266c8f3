//! `/docs`: Swagger UI on `/openapi.json`. Its files are part of the binary; the page loads nothing from elsewhere.

use std::sync::{Arc, LazyLock};

use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, web};
use utoipa_swagger_ui::Config;

use crate::http::error::{ApiError, ErrorCode};

/// Only what this server serves; styles and small pictures are set by the page's own script.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'";
const CONTENT_TYPE_OPTIONS: HeaderName = HeaderName::from_static("x-content-type-options");

static CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("/openapi.json")
        // Else the page has its document checked by a service on the internet.
        .validator_url("none")
        .use_base_layout()
        .doc_expansion("list")
        .default_models_expand_depth(0)
        .default_model_rendering("model")
        .display_request_duration(true)
        .try_it_out_enabled(true);
    Arc::new(config)
});

/// Leads to the page.
pub(super) async fn to_page() -> HttpResponse {
    HttpResponse::Found()
        .insert_header((header::LOCATION, "/docs/"))
        .finish()
}

/// The page and its files.
pub(super) async fn get_file(path: web::Path<String>) -> Result<HttpResponse, ApiError> {
    let file = utoipa_swagger_ui::serve(&path, CONFIG.clone()).map_err(|error| {
        tracing::error!(%error, "the page of the interface could not be written");
        ApiError::internal()
    })?;
    let Some(file) = file else {
        return Err(ApiError::new(
            ErrorCode::NotFound,
            format!("there is nothing at /docs/{path}"),
        ));
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, file.content_type))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(file.bytes.into_owned()))
}
