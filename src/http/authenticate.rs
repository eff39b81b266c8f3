//! The layer in front of `/api/v1`: who calls, from where, how often. Nothing behind it runs for a stranger.

use std::future::{Ready, ready};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::middleware::Next;
use actix_web::{Error, FromRequest, HttpMessage, HttpRequest, web};

use super::error::{ApiError, ErrorCode};
use super::state::HttpState;
use crate::auth::{AuthError, Caller, is_loopback_host, is_loopback_origin};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Lets callers in, with their account, or answers why not.
pub(super) async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match admit(&request).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        Err(refusal) => Ok(request.error_response(refusal)),
    }
}

/// For what is no account's business (`/metrics`): on a server without keys, only for programs of this machine.
pub(super) async fn guard_from_browsers(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match guard_if_keyless(&request).await {
        Ok(()) => Ok(next.call(request).await?.map_into_boxed_body()),
        Err(refusal) => Ok(request.error_response(refusal)),
    }
}

async fn guard_if_keyless(request: &ServiceRequest) -> Result<(), ApiError> {
    let state = state_of(request)?;
    match state.parts.authenticator.is_keyless().await {
        Ok(false) => Ok(()),
        // Whoever looks for what is broken must see it while the store is gone.
        Ok(true) => refuse_foreign_pages(request),
        Err(unknown) => refuse_foreign_pages(request).map_err(|_| unknown.into()),
    }
}

async fn admit(request: &ServiceRequest) -> Result<Caller, ApiError> {
    let state = state_of(request)?;
    let authorization = request.headers().get(header::AUTHORIZATION);
    let caller = state
        .parts
        .authenticator
        .authenticate(authorization.map(|value| value.as_bytes()))
        .await?;
    if !caller.has_key {
        refuse_foreign_pages(request)?;
    }
    state
        .parts
        .rate_limiters
        .check(&caller.tier, &caller.account)
        .map_err(|wait| {
            ApiError::new(
                ErrorCode::RateLimited,
                "your account sends more requests a second than its tier allows",
            )
            .with_retry_after(wait.as_secs_f64().ceil() as u64)
        })?;
    Ok(caller)
}

fn state_of(request: &ServiceRequest) -> Result<&HttpState, ApiError> {
    request
        .app_data::<web::Data<HttpState>>()
        .map(|state| state.get_ref())
        .ok_or_else(ApiError::internal)
}

fn refuse_foreign_pages(request: &ServiceRequest) -> Result<(), ApiError> {
    let headers = request.headers();
    let named_host = request.uri().authority().map(|authority| authority.as_str());
    let hosts = header_values(headers, &header::HOST).chain(named_host);
    for host in hosts {
        if !is_loopback_host(host) {
            return Err(ApiError::new(
                ErrorCode::HostNotAllowed,
                "this server has no API keys and so answers only to localhost, 127.0.0.1 and [::1]",
            )
            .with_param("Host"));
        }
    }
    let foreign_origin = header_values(headers, &header::ORIGIN).any(|origin| !is_loopback_origin(origin));
    let cross_site = header_values(headers, &SEC_FETCH_SITE).any(|site| site == "cross-site");
    if foreign_origin || cross_site {
        return Err(ApiError::new(
            ErrorCode::OriginNotAllowed,
            "this server has no API keys and so answers no pages of other sites",
        )
        .with_param("Origin"));
    }
    Ok(())
}

/// The header's values; one that is not text is given as an empty one, which no rule accepts.
fn header_values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).map(|value| value.to_str().unwrap_or_default())
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Missing => ApiError::new(
                ErrorCode::MissingApiKey,
                "this server asks for an API key: send the header `Authorization: Bearer ck_…`",
            )
            .with_param("Authorization"),
            AuthError::Invalid => {
                ApiError::new(ErrorCode::InvalidApiKey, "this is no API key of this server").with_param("Authorization")
            }
            AuthError::Revoked => {
                ApiError::new(ErrorCode::RevokedApiKey, "this API key was revoked").with_param("Authorization")
            }
            AuthError::Store(error) => error.into(),
        }
    }
}

impl FromRequest for Caller {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        // Absent only if a route was put outside the authenticated scope: a bug, and closed rather than open.
        let caller = request.extensions().get::<Caller>().cloned();
        ready(caller.ok_or_else(ApiError::internal))
    }
}

/// A caller who operates the installation. A handler that takes one answers everybody else `403 admin_required`, and nothing more.
pub(super) struct Operator;

impl FromRequest for Operator {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _payload: &mut Payload) -> Self::Future {
        let is_admin = request.extensions().get::<Caller>().map(|caller| caller.is_admin);
        ready(match is_admin {
            Some(true) => Ok(Self),
            Some(false) => Err(ApiError::new(
                ErrorCode::AdminRequired,
                "this shows the whole installation, and needs a key of its operator (`callboard keys create --admin`)",
            )
            .with_param("Authorization")),
            // As for `Caller`.
            None => Err(ApiError::internal()),
        })
    }
}
