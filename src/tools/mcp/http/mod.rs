//! MCP over streamable HTTP, through the guard of outgoing requests.

mod answers;
mod events;
mod tokens;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use rmcp::model::{ClientJsonRpcMessage, RequestId};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::common::client_side_sse::ExponentialBackoff;
use rmcp::transport::streamable_http_client::{
    HttpStatusError, SseError, StreamableHttpClient, StreamableHttpClientTransportConfig, StreamableHttpError,
    StreamableHttpPostResponse,
};
use sse_stream::Sse;

use crate::outbound::{FilledHeaders, Outbound, OutboundError, OutboundRequest, media_type};

pub(super) use tokens::{NoToken, TokenSource};

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";

/// How often a broken stream of events is taken up again, and after how long at most.
const RECONNECTIONS: usize = 5;
const LONGEST_RECONNECTION_DELAY: Duration = Duration::from_secs(10);

/// A server at an address.
#[derive(Clone)]
pub(super) struct GuardedHttp(Arc<Inner>);

struct Inner {
    outbound: Outbound,
    url: Url,
    headers: FilledHeaders,
    /// Where its access tokens come from, if it wants them.
    tokens: Option<TokenSource>,
    /// Bytes of a message.
    longest: usize,
}

impl GuardedHttp {
    pub(super) fn new(
        outbound: Outbound,
        url: Url,
        headers: FilledHeaders,
        tokens: Option<TokenSource>,
        longest: usize,
    ) -> Self {
        Self(Arc::new(Inner {
            outbound,
            url,
            headers,
            tokens,
            longest,
        }))
    }

    /// The line to the server, on which at most so many calls are under way.
    pub(super) fn transport(&self, calls: usize) -> StreamableHttpClientTransport<Self> {
        let mut reconnecting = ExponentialBackoff::default();
        reconnecting.max_times = Some(RECONNECTIONS);
        reconnecting.max_delay = Some(LONGEST_RECONNECTION_DELAY);
        // A session that has expired is no reason to repeat calls: that is decided here, by their retry class.
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.0.url.as_str())
            .reinit_on_expired_session(false)
            .max_concurrent_requests(calls);
        config.retry_config = Arc::new(reconnecting);
        StreamableHttpClientTransport::with_client(self.clone(), config)
    }

    fn request(
        &self,
        method: Method,
        session: Option<&str>,
        protocol_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<OutboundRequest, Failure> {
        let mut request = OutboundRequest::new(method, self.0.url.clone());
        request.headers = self.0.headers.headers.clone();
        request.private_headers = self.0.headers.private_headers.clone();
        request.headers.extend(protocol_headers);
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        request.headers.insert(ACCEPT, accept);
        if let Some(session) = session {
            // Whoever knows it can speak in this session's name.
            let mut session = header(session)?;
            session.set_sensitive(true);
            request.private_headers.insert(SESSION_ID, session);
        }
        Ok(request)
    }

    async fn send(&self, mut request: OutboundRequest) -> Result<Response, Failure> {
        let Some(tokens) = &self.0.tokens else {
            return self.send_once(request).await;
        };
        let first = tokens.bearer().await.map_err(token_failure)?;
        request.private_headers.insert(AUTHORIZATION, first.clone());
        let response = self.send_once(request.clone()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // It may have been taken back before its time. What is refused so was not done, so it can be said again whatever it is.
        let Some(second) = tokens.another(&first).await.map_err(token_failure)? else {
            return Ok(response);
        };
        request.private_headers.insert(AUTHORIZATION, second);
        self.send_once(request).await
    }

    async fn send_once(&self, request: OutboundRequest) -> Result<Response, Failure> {
        let sent = self.0.outbound.send(request).await;
        sent.map_err(|error| Failure::Client(HttpFailure::Outbound(error)))
    }
}

/// What goes wrong on the way to a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum HttpFailure {
    #[error("{0}")]
    Outbound(OutboundError),
    #[error("{0}")]
    NoToken(NoToken),
}

pub(super) type Failure = StreamableHttpError<HttpFailure>;

fn token_failure(reason: NoToken) -> Failure {
    Failure::Client(HttpFailure::NoToken(reason))
}

impl StreamableHttpClient for GuardedHttp {
    type Error = HttpFailure;

    async fn post_message(
        &self,
        _uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        protocol_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, Failure> {
        let mut request = self.request(Method::POST, session_id.as_deref(), protocol_headers)?;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        request.body = Some(Bytes::from(serde_json::to_vec(&message)?));
        let response = self.send(request).await?;
        answers::read(response, asked(&message), session_id.is_some(), self.0.longest).await
    }

    async fn delete_session(
        &self,
        _uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        protocol_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), Failure> {
        let request = self.request(Method::DELETE, Some(&session_id), protocol_headers)?;
        // Servers may not have that at all.
        self.send(request).await.map(drop)
    }

    async fn get_stream(
        &self,
        _uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        protocol_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, Failure> {
        let mut request = self.request(Method::GET, session_id.as_deref(), protocol_headers)?;
        if let Some(id) = &last_event_id {
            request.headers.insert(LAST_EVENT_ID, header(id)?);
        }
        let response = self.send(request).await?;
        let status = response.status();
        if status == StatusCode::METHOD_NOT_ALLOWED {
            return Err(StreamableHttpError::ServerDoesNotSupportSse);
        }
        if !status.is_success() {
            return Err(HttpStatusError::new(status.as_u16(), None).into());
        }
        if !is_of_type(response.headers(), EVENT_STREAM) {
            return Err(StreamableHttpError::UnexpectedContentType(None));
        }
        Ok(events::of(response.bytes_stream(), None, self.0.longest))
    }
}

/// The request that a message is.
fn asked(message: &ClientJsonRpcMessage) -> Option<RequestId> {
    match message {
        ClientJsonRpcMessage::Request(request) => Some(request.id.clone()),
        _ => None,
    }
}

fn header(text: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(text)
        .map_err(|_| StreamableHttpError::UnexpectedServerResponse("it cannot be said in a header".into()))
}

fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let written = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    media_type(written.unwrap_or_default()) == wanted
}
