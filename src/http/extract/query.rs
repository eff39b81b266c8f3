//! Query parameters, each known, each at most once.

use std::collections::BTreeMap;

use actix_web::HttpRequest;
use actix_web::web;

use crate::http::error::{ApiError, ErrorCode};

/// The parameters of a request.
pub(crate) struct QueryParameters(BTreeMap<String, String>);

impl QueryParameters {
    /// Refuses parameters that are not in `known` or come twice.
    pub(crate) fn of(request: &HttpRequest, known: &[&str]) -> Result<Self, ApiError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let Ok(pairs) = pairs else {
            return Err(ApiError::new(
                ErrorCode::InvalidParameter,
                "the query string cannot be decoded",
            ));
        };
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs.into_inner() {
            if !known.contains(&name.as_str()) {
                let message = if known.is_empty() {
                    "this endpoint takes no query parameters".to_owned()
                } else {
                    format!("this endpoint takes only these query parameters: {}", known.join(", "))
                };
                return Err(ApiError::new(ErrorCode::UnknownParameter, message).with_param(name));
            }
            if value.contains('\0') {
                return Err(invalid(&name, "it has a NUL character in it"));
            }
            if parameters.insert(name.clone(), value).is_some() {
                return Err(invalid(&name, "it comes twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// The parameter's value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A whole number within these bounds.
    pub(crate) fn count(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        match number.filter(|_| digits_only) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(
                name,
                &format!("it must be a whole number from {least} to {most}"),
            )),
        }
    }
}

/// The parameter has a value it cannot take.
pub(crate) fn invalid(name: &str, problem: &str) -> ApiError {
    ApiError::new(
        ErrorCode::InvalidParameter,
        format!("the query parameter `{name}` is wrong: {problem}"),
    )
    .with_param(name)
}
