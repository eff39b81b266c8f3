//! What calls to all providers over HTTP have in common: the client, the headers, the reading of a stream of events, the limits that
//! headers tell of, and errors that never quote the provider (no bodies, URLs or keys).
//!
//! A dialect is a body to send and an [`AnswerFold`] that makes pieces out of the events that come back.

mod failures;
mod limit_headers;
mod options;
mod reading;
mod sse;

use std::time::Duration;

use callboard_actors::ids::RunId;
use callboard_actors::ports::{ModelAnswer, ModelError, ModelRequest};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

pub(super) use failures::{broke_off, foreign_event, gave_up, log_unknown_reason, protocol, reported};
pub(super) use options::{ResponseFormat, ToolChoice, invalid, refuse_unknown, unusable_options};
pub(super) use reading::{AnswerFold, Pieces};

/// Which run a call belongs to: for the provider's logs, and for our simulated provider.
pub const RUN_HEADER: &str = "x-callboard-run";
/// Which try of the call it is, from 1.
pub const ATTEMPT_HEADER: &str = "x-callboard-attempt";

/// Connections to one provider. A clone shares them: one is enough for all keys and models of a base URL.
#[derive(Debug, Clone)]
pub struct ProviderClient(reqwest::Client);

impl ProviderClient {
    /// `connect_timeout` is for connecting only; what comes after is timed by whoever calls. Fails on a base URL that is none.
    pub fn new(base_url: &str, connect_timeout: Duration, max_idle_connections: usize) -> anyhow::Result<Self> {
        let mut client = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            .pool_max_idle_per_host(max_idle_connections)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            // Packed, the pieces of a stream would be held back.
            .no_gzip()
            .no_brotli()
            .http1_only();
        // A proxy of the environment is for the world outside, not for a provider on this machine.
        if is_loopback(&base_url.parse()?) {
            client = client.no_proxy();
        }
        Ok(Self(client.build()?))
    }
}

/// Where and how to call: the same for every dialect.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Shared with the other keys and models of this base URL.
    pub client: ProviderClient,
    /// What the dialect's path is appended to.
    pub base_url: String,
    /// In the header that the dialect has for it.
    pub api_key: Option<SecretString>,
    /// The provider's name for the model.
    pub upstream_model: String,
    /// Bytes of one event of the stream.
    pub max_event_size: usize,
}

/// One endpoint of a provider, ready to be called.
#[derive(Debug)]
pub(super) struct Upstream {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    max_event_size: usize,
}

impl Upstream {
    /// Fails on a URL that is none, or a key that cannot be a header.
    pub(super) fn new(options: &UpstreamOptions, path: &str, key_header: KeyHeader) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        if let Some(key) = &options.api_key {
            // The error of a bad header value would quote it.
            let mut value = HeaderValue::from_str(&format!("{}{}", key_header.prefix, key.expose_secret()))
                .map_err(|_| anyhow::anyhow!("the API key has characters that no header can carry"))?;
            value.set_sensitive(true);
            headers.insert(key_header.name, value);
        }
        Ok(Self {
            client: options.client.0.clone(),
            url: format!("{}{path}", options.base_url.trim_end_matches('/')).parse()?,
            headers,
            max_event_size: options.max_event_size,
        })
    }

    /// The same with a header on every call.
    pub(super) fn with_header(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers
            .insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }

    /// One call, whose answer `fold` reads. Returns when the provider has begun to answer.
    pub(super) async fn call(
        &self,
        body: Vec<u8>,
        caller: Caller,
        fold: impl AnswerFold,
    ) -> Result<ModelAnswer, ModelError> {
        let call = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .header(RUN_HEADER, caller.run_id.to_string())
            .header(ATTEMPT_HEADER, caller.attempt)
            .body(body);
        let response = call.send().await.map_err(|error| failures::connection(&error))?;
        if !response.status().is_success() {
            return Err(failures::refused(response).await);
        }
        let hints = limit_headers::limit_hints(response.headers());
        let pieces = reading::pieces_of(response, self.max_event_size, fold);
        Ok(ModelAnswer { hints, pieces })
    }
}

/// How a dialect sends its key.
pub(super) struct KeyHeader {
    pub(super) name: HeaderName,
    pub(super) prefix: &'static str,
}

impl KeyHeader {
    /// `Authorization: Bearer …`
    pub(super) const fn bearer() -> Self {
        Self {
            name: reqwest::header::AUTHORIZATION,
            prefix: "Bearer ",
        }
    }
}

/// Whose call it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) run_id: RunId,
    pub(super) attempt: u32,
}

impl Caller {
    pub(super) fn of(request: &ModelRequest) -> Self {
        Self {
            run_id: request.run_id,
            attempt: request.attempt,
        }
    }
}

/// The body of a call.
pub(super) fn json_body(body: &impl Serialize) -> Result<Vec<u8>, ModelError> {
    serde_json::to_vec(body).map_err(|_| protocol("the request could not be written"))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod connection_tests;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;
