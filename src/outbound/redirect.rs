//! Answers that say to go elsewhere, as browsers understand them, but for content, which is never handed on to another server.

use reqwest::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, LOCATION};
use reqwest::{Method, Response, StatusCode, Url};

use super::{OutboundError, OutboundRequest};

/// Where an answer says to go, if it does.
pub(super) fn target(response: &Response) -> Result<Option<Url>, OutboundError> {
    let is_redirect = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
        return Ok(None);
    };
    let location = location.to_str().map_err(|_| OutboundError::InvalidRedirect)?;
    let target = response.url().join(location);
    target.map(Some).map_err(|_| OutboundError::InvalidRedirect)
}

/// Turns a request into the one that follows.
pub(super) fn follow(request: &mut OutboundRequest, status: StatusCode, target: Url) -> Result<(), OutboundError> {
    let keeps_method = matches!(status, StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
    let is_read = matches!(request.method, Method::GET | Method::HEAD);
    let is_elsewhere = request.url.origin() != target.origin();
    if keeps_method && !is_read && is_elsewhere {
        return Err(OutboundError::RedirectOfContent);
    }
    if !keeps_method && !is_read {
        request.method = Method::GET;
        request.body = None;
        for about_content in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
            request.headers.remove(&about_content);
            request.private_headers.remove(&about_content);
        }
    }
    if is_elsewhere {
        request.private_headers.clear();
    }
    request.url = target;
    Ok(())
}
