//! The one error type of the HTTP surface and its body:
//! `{"error": {"code", "message", "type", "param", "request_id", …details}}`.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use callboard_actors::ids::RunId;
use callboard_actors::ports::StoreError;
use callboard_actors::supervisor::messages::StartError;
use serde_json::{Map, Value, json};

pub use super::error_code::{ErrorCode, ErrorKind};

/// Tells clients that retry by themselves whether they should.
pub(super) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What errors say beside what all have, by the names in JSON. The OpenAPI document has them too.
pub(super) const DETAILS: &[&str] = &[
    "active_run",
    "agent_id",
    "available",
    "bytes",
    "files",
    "last_seq",
    "limit",
    "max_bytes",
    "max_files",
    "needs",
    "queue_full",
    "queued",
    "run_id",
    "running",
    "state",
    "version",
];

/// A refusal or failure as a client sees it. Its texts never quote internals.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(transparent)]
pub struct ApiError(Box<Parts>);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}: {message}", code.as_str())]
struct Parts {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    details: Map<String, Value>,
    retry_after_seconds: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with this code and sentence.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            message: message.into(),
            param: None,
            details: Map::new(),
            retry_after_seconds: code.retry_after_seconds(),
            headers: Vec::new(),
        }))
    }

    /// Something of ours broke; the caller has logged what.
    pub fn internal() -> Self {
        Self::new(
            ErrorCode::Internal,
            "the server hit an internal error; its log has the details under this request's id",
        )
    }

    /// The run does not exist, or belongs to someone else: nobody can tell which.
    pub fn run_not_found() -> Self {
        Self::new(ErrorCode::RunNotFound, "there is no run with this id")
    }

    /// The agent does not exist, or belongs to someone else: nobody can tell which.
    pub fn agent_not_found() -> Self {
        Self::new(ErrorCode::AgentNotFound, "there is no agent with this id")
    }

    /// A run names an agent that does not exist, or belongs to someone else.
    pub fn unknown_agent(param: &str, named: &str) -> Self {
        Self::new(ErrorCode::UnknownAgent, format!("there is no agent `{named}`")).with_param(param)
    }

    /// What a run got from its agent is wrong by now: no field of the request is.
    pub fn of_agent(mut self) -> Self {
        self.0.message = format!("the agent does not fit this server: {}", self.0.message);
        self.with_param("agent")
    }

    /// The thread does not exist (any more), or belongs to someone else: nobody can tell which.
    pub fn thread_not_found() -> Self {
        Self::new(ErrorCode::ThreadNotFound, "there is no thread with this id")
    }

    /// The run is there, its events are not any more.
    pub fn events_expired(run: RunId) -> Self {
        let message =
            "the events of this run were deleted some time after its end; the run itself and its items are kept";
        Self::new(ErrorCode::EventsExpired, message).with_detail("run_id", run.to_string())
    }

    /// The store did not answer.
    pub fn store_unavailable() -> Self {
        Self::new(
            ErrorCode::StoreUnavailable,
            "the store does not answer at the moment; nothing was changed",
        )
    }

    /// Names the field, header or parameter that is wrong.
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Adds a machine-readable detail beside the message: one of [`DETAILS`].
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        debug_assert!(DETAILS.contains(&key), "`{key}` is not documented");
        self.0.details.insert(key.to_owned(), value.into());
        self
    }

    /// Says when to come back, in seconds, rounded up by the caller.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds.max(1));
        self
    }

    /// Adds a response header.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// What sort of error it is.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The field, header or parameter that is wrong.
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The body, with the id of the request if it is known.
    pub fn body(&self, request_id: Option<&str>) -> Value {
        let mut error = self.0.details.clone();
        error.insert("code".into(), self.0.code.as_str().into());
        error.insert("message".into(), self.0.message.as_str().into());
        error.insert("type".into(), self.0.code.kind().as_str().into());
        error.insert("param".into(), self.0.param.as_deref().into());
        error.insert("request_id".into(), request_id.into());
        json!({ "error": error })
    }

    /// The whole response.
    pub fn response(&self, request_id: Option<&str>) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.0.code.status());
        for (name, value) in &self.0.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        if let Some(seconds) = self.0.retry_after_seconds {
            response.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        if self.0.code.kind() == ErrorKind::Authentication {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"callboard\""));
        }
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        response.json(self.body(request_id))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(None)
    }
}

impl From<StoreError> for ApiError {
    /// Logs what the client is not told.
    fn from(error: StoreError) -> Self {
        match error {
            // The store tells of that itself, once for all who ask.
            StoreError::Unavailable(_) => {
                tracing::debug!(%error, "store did not answer a request");
                Self::store_unavailable()
            }
            StoreError::Fenced | StoreError::IllegalMove { .. } | StoreError::Damaged(_) => {
                tracing::error!(%error, "store refused a request");
                Self::internal()
            }
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Quota {
                limit,
                running,
                queued,
                queue_full,
            } => quota_exceeded(limit, running, queued, queue_full),
            StartError::AtCapacity { limit } => {
                Self::new(ErrorCode::AtCapacity, "this server runs as many runs as it can bear")
                    .with_detail("limit", limit)
            }
            StartError::QueueFull { limit } => {
                Self::new(ErrorCode::QueueFull, "the queue is full").with_detail("limit", limit)
            }
            StartError::ShuttingDown => Self::new(ErrorCode::ShuttingDown, "this server is shutting down"),
            StartError::IdempotencyConflict => Self::new(
                ErrorCode::IdempotencyConflict,
                "this Idempotency-Key was used before, with another request",
            )
            .with_param("Idempotency-Key"),
            StartError::ThreadBusy { active } => Self::new(
                ErrorCode::ThreadBusy,
                format!(
                    "the thread is busy with {active}; wait for its end, or say with `on_busy` what to do about it"
                ),
            )
            .with_detail("active_run", active.to_string()),
            StartError::ThreadNotFound => Self::thread_not_found(),
            StartError::UnknownTier => Self::new(
                ErrorCode::TierNotConfigured,
                "the tier of your account is not configured on this server; its operator can help",
            ),
            StartError::Store(error) => error.into(),
        }
    }
}

fn quota_exceeded(limit: u32, running: u32, queued: u64, queue_full: bool) -> ApiError {
    let message = if queue_full {
        format!("your account has {queued} runs in the queue and its tier allows {limit}")
    } else {
        format!("your account has {running} runs running and its tier allows {limit}")
    };
    ApiError::new(ErrorCode::QuotaExceeded, message)
        .with_detail("limit", limit)
        .with_detail("running", running)
        .with_detail("queued", queued)
        .with_detail("queue_full", queue_full)
        .with_header(SHOULD_RETRY, HeaderValue::from_static("false"))
}
