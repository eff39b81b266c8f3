//! Adapter `openai`: any OpenAI-compatible `/chat/completions`, streamed.
//!
//! One attempt per call; retries and time-outs are the caller's, but for connecting. Error texts never quote the provider: no
//! bodies, URLs or keys.

mod answer;
mod sse;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use callboard_actors::time::Timestamp;
use futures::stream::{self, StreamExt};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use answer::{ChunkFold, protocol};
use sse::SseReader;

/// The `model_options` that are passed on as they are. `simulate` is for `callboard simulate-llm` as the provider.
pub const PASSED_ON: [&str; 12] = [
    "temperature",
    "top_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "logit_bias",
    "simulate",
];

/// Which run a call belongs to, and which try it is: for the provider's logs, and for our simulated provider.
pub const RUN_HEADER: &str = "x-callboard-run";
/// See [`RUN_HEADER`].
pub const ATTEMPT_HEADER: &str = "x-callboard-attempt";

/// Where and how to call.
#[derive(Debug, Clone)]
pub struct OpenAiOptions {
    /// What `/chat/completions` is appended to.
    pub base_url: String,
    /// Sent as a bearer token.
    pub api_key: Option<SecretString>,
    /// The provider's name for the model.
    pub upstream_model: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Idle connections kept for the next call.
    pub max_idle_connections: usize,
    /// Bytes of one event of the stream.
    pub max_event_size: usize,
}

/// A model behind an OpenAI-compatible API.
#[derive(Debug)]
pub struct OpenAiModel {
    client: reqwest::Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    upstream_model: String,
    max_event_size: usize,
}

impl OpenAiModel {
    /// Fails on a base URL that is none, or a key that cannot be a header.
    pub fn new(options: OpenAiOptions) -> anyhow::Result<Self> {
        let url: reqwest::Url = format!("{}/chat/completions", options.base_url.trim_end_matches('/')).parse()?;
        let mut client = reqwest::Client::builder()
            .connect_timeout(options.connect_timeout)
            .pool_max_idle_per_host(options.max_idle_connections)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .http1_only();
        // A proxy of the environment is for the world outside, not for a provider on this machine.
        if is_loopback(&url) {
            client = client.no_proxy();
        }
        let client = client.build()?;
        let authorization = options.api_key.map(|key| {
            HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).map(|mut value| {
                value.set_sensitive(true);
                value
            })
        });
        // The error of a bad header value would quote it.
        let authorization = authorization
            .transpose()
            .map_err(|_| anyhow::anyhow!("the API key has characters that no header can carry"))?;
        Ok(Self {
            client,
            url,
            authorization,
            upstream_model: options.upstream_model,
            max_event_size: options.max_event_size,
        })
    }
}

#[async_trait]
impl Model for OpenAiModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let body = serde_json::to_vec(&wire::ChatRequest::new(&self.upstream_model, &request))
            .map_err(|_| protocol("the request could not be written"))?;
        let mut call = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream")
            .header(RUN_HEADER, request.run_id.to_string())
            .header(ATTEMPT_HEADER, request.attempt);
        if let Some(authorization) = &self.authorization {
            call = call.header(AUTHORIZATION, authorization.clone());
        }
        drop(request);
        let response = call.body(body).send().await.map_err(|error| connection(&error))?;
        let status = response.status();
        if !status.is_success() {
            let message = format!("the model's provider answered {}", status.as_u16());
            let mut error = ModelError::new(ModelErrorKind::Status(status.as_u16()), message);
            error.retry_after = retry_after(response.headers());
            return Err(error);
        }
        let reading = Reading {
            is_event_stream: is_event_stream(response.headers()),
            bytes: response.bytes_stream().boxed(),
            reader: SseReader::new(self.max_event_size),
            fold: ChunkFold::default(),
            pieces: VecDeque::new(),
        };
        Ok(ModelAnswer::unlimited(stream::unfold(reading, Reading::next).boxed()))
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        match options.keys().find(|key| !PASSED_ON.contains(&key.as_str())) {
            Some(key) => {
                let problem = format!("this model takes no such option; it takes {}", PASSED_ON.join(", "));
                Err(InvalidOption {
                    key: key.clone(),
                    problem,
                })
            }
            None => Ok(()),
        }
    }
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A response being read.
struct Reading {
    /// What the provider says it sends. Some send events under another name, so it is believed only if there were none.
    is_event_stream: bool,
    bytes: stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    reader: SseReader,
    fold: ChunkFold,
    pieces: VecDeque<Result<ModelDelta, ModelError>>,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<ModelDelta, ModelError>, Self)> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Some((piece, self));
            }
            if self.fold.has_ended() {
                return None;
            }
            let (fold, pieces) = (&mut self.fold, &mut self.pieces);
            match self.bytes.next().await {
                Some(Ok(bytes)) => {
                    if self.reader.feed(&bytes, |data| fold.event(data, pieces)).is_err() {
                        self.fold.fail(
                            protocol("the model's provider sent an event that is too long or no text"),
                            &mut self.pieces,
                        );
                    }
                }
                Some(Err(error)) => fold.fail(connection(&error), pieces),
                None if !self.is_event_stream && !fold.has_heard() => fold.fail(
                    protocol("the model's provider answered with something that is no event stream"),
                    pieces,
                ),
                None => fold.end(pieces),
            }
        }
    }
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// Says what went wrong without saying where: reqwest's own text has the URL in it.
fn connection(error: &reqwest::Error) -> ModelError {
    if error.is_connect() && error.is_timeout() {
        return ModelError::new(
            ModelErrorKind::Timeout,
            "connecting to the model's provider took too long",
        );
    }
    let message = if error.is_connect() {
        "the model's provider cannot be reached"
    } else {
        "the connection to the model's provider broke"
    };
    ModelError::new(ModelErrorKind::Connection, message)
}

/// How long the provider wants us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    if let Some(millis) = text("retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let value = text("retry-after")?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .ok()?;
    Some(Timestamp::from_micros(until.as_microsecond()).since(Timestamp::now()))
}

#[cfg(test)]
mod tests;
