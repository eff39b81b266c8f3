//! The answer to a message that was posted.

use bytes::BytesMut;
use reqwest::{Response, StatusCode};
use rmcp::model::{RequestId, ServerJsonRpcMessage};
use rmcp::transport::streamable_http_client::{HttpStatusError, StreamableHttpError, StreamableHttpPostResponse};

use super::{EVENT_STREAM, Failure, JSON, SESSION_ID, events, is_of_type};
use crate::tools::mcp::too_large;

/// Reads it. `asked` is the request that it answers; `longest` is in bytes.
pub(super) async fn read(
    response: Response,
    asked: Option<RequestId>,
    has_session: bool,
    longest: usize,
) -> Result<StreamableHttpPostResponse, Failure> {
    let status = response.status();
    if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    if status == StatusCode::NOT_FOUND && has_session {
        return Err(StreamableHttpError::SessionExpired);
    }
    let session = response.headers().get(SESSION_ID);
    let session = session.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_json = is_of_type(response.headers(), JSON);
    let is_refused_as_such = status.is_client_error() && is_json && asked.is_some();
    if !status.is_success() && !is_refused_as_such {
        return Err(HttpStatusError::new(status.as_u16(), None).into());
    }
    let Some(asked) = asked else {
        // Nothing was asked, so nothing in the answer matters.
        return Ok(StreamableHttpPostResponse::Accepted);
    };
    if is_of_type(response.headers(), EVENT_STREAM) {
        let events = events::of(response.bytes_stream(), Some(asked), longest);
        return Ok(StreamableHttpPostResponse::Sse(events, session));
    }
    if !is_json {
        return Err(StreamableHttpError::UnexpectedContentType(None));
    }
    let Some(body) = whole_body(response, longest).await? else {
        return Ok(StreamableHttpPostResponse::Json(too_large::answer(asked), session));
    };
    match serde_json::from_slice(&body) {
        Ok(message) if status.is_success() || matches!(message, ServerJsonRpcMessage::Error(_)) => {
            Ok(StreamableHttpPostResponse::Json(message, session))
        }
        Ok(_) => Err(HttpStatusError::new(status.as_u16(), None).into()),
        Err(_) if !status.is_success() => Err(HttpStatusError::new(status.as_u16(), None).into()),
        Err(error) => Err(error.into()),
    }
}

/// `None` if it is longer.
async fn whole_body(mut response: Response, longest: usize) -> Result<Option<BytesMut>, Failure> {
    let mut body = BytesMut::new();
    loop {
        let piece = response.chunk().await.map_err(|error| {
            // What the error says may name the address.
            let kind = if error.is_timeout() { "in time" } else { "whole" };
            StreamableHttpError::Io(std::io::Error::other(format!("the answer did not arrive {kind}")))
        })?;
        let Some(piece) = piece else { return Ok(Some(body)) };
        if body.len() + piece.len() > longest {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
}
