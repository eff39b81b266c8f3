//! Reads a JSON body within limits of size and time.

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, web};
use serde_json::Value;

use super::strict_json;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::options::HttpOptions;

/// The request's body as JSON. Refuses other media types, compressed, large and late bodies.
pub(crate) async fn read_json(
    request: &HttpRequest,
    payload: web::Payload,
    options: &HttpOptions,
) -> Result<Value, ApiError> {
    let max_bytes = options.max_body_bytes;
    check_media_type(request)?;
    if content_length(request).is_some_and(|length| length > max_bytes as u64) {
        return Err(too_large(max_bytes));
    }
    let reading = tokio::time::timeout(options.request_timeout, payload.to_bytes_limited(max_bytes)).await;
    let Ok(read) = reading else {
        return Err(ApiError::new(
            ErrorCode::RequestTimeout,
            "the body did not arrive in time",
        ));
    };
    let Ok(body) = read else {
        return Err(too_large(max_bytes));
    };
    let bytes = body.map_err(|_| ApiError::new(ErrorCode::InvalidJson, "the body broke off"))?;
    strict_json::parse(&bytes)
}

fn content_length(request: &HttpRequest) -> Option<u64> {
    let value = request.headers().get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn too_large(max_bytes: usize) -> ApiError {
    ApiError::new(
        ErrorCode::BodyTooLarge,
        format!("the body is larger than {max_bytes} bytes"),
    )
    .with_detail("limit", max_bytes)
}

fn check_media_type(request: &HttpRequest) -> Result<(), ApiError> {
    if let Some(encoding) = request.headers().get(header::CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(
            ApiError::new(ErrorCode::UnsupportedMediaType, "the body must not be compressed")
                .with_param("Content-Encoding"),
        );
    }
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let is_json = content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| is_json_in_utf8(value, request.method()));
    if is_json {
        return Ok(());
    }
    Err(ApiError::new(
        ErrorCode::UnsupportedMediaType,
        "the body must be JSON in UTF-8: send the header `Content-Type: application/json`",
    )
    .with_param("Content-Type"))
}

/// The body of a `PATCH` is a JSON Merge Patch, which has a media type of its own (RFC 7396).
fn is_json_in_utf8(content_type: &str, method: &Method) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_known = |essence: &str| {
        essence.eq_ignore_ascii_case("application/json")
            || (method == Method::PATCH && essence.eq_ignore_ascii_case("application/merge-patch+json"))
    };
    let essence_fits = parts.next().is_some_and(is_known);
    let charset_fits = |parameter: &str| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    };
    essence_fits && parts.all(charset_fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types() {
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/json; charset=\"utf-8\"",
        ] {
            assert!(is_json_in_utf8(good, &Method::POST), "{good}");
        }
        for bad in [
            "",
            "text/plain",
            "application/json; charset=latin1",
            "application/jsonp",
        ] {
            assert!(!is_json_in_utf8(bad, &Method::PATCH), "{bad}");
        }
        let patch = "application/merge-patch+json; charset=utf-8";
        assert!(is_json_in_utf8(patch, &Method::PATCH));
        assert!(!is_json_in_utf8(patch, &Method::POST));
    }
}
