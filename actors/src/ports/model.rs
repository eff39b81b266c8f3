//! Port `Model`: one call to a language model, streamed.
//!
//! An adapter makes exactly one attempt: it neither retries nor times out (but for connecting); `LlmActor` does both for all of them.
//! Dropping the stream aborts the call. An adapter is one provider, one key and one model of it: which of several to ask is decided
//! before, by [`crate::llm`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde_json::{Map, Value};

use crate::error::RunErrorCode;
use crate::event::FinishReason;
use crate::ids::RunId;
use crate::item::{Item, ReasoningSeal, Usage};
use crate::ports::tool::ToolDefinition;

/// What the model says, in order. After an `Err` or `Finished` nothing comes.
pub type ModelStream = BoxStream<'static, Result<ModelDelta, ModelError>>;

/// A language model behind some provider.
#[async_trait]
pub trait Model: Send + Sync + 'static {
    /// Sends the request; returns when the provider has begun to answer.
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError>;

    /// Checks `model_options` of a run before it is admitted. `Err` has the offending key and a sentence.
    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption>;

    /// The options that [`Model::check_options`] may take, for people who look for one.
    fn option_names(&self) -> &'static [&'static str] {
        &[]
    }

    /// True if no real model is asked; every answer says so.
    fn is_simulated(&self) -> bool {
        false
    }
}

/// An answer that has begun.
pub struct ModelAnswer {
    /// What the provider says of the room that is left under its limits.
    pub hints: LimitHints,
    /// What it says.
    pub pieces: ModelStream,
}

impl ModelAnswer {
    /// From a provider that says nothing of its limits.
    pub fn unlimited(pieces: ModelStream) -> Self {
        Self {
            hints: LimitHints::default(),
            pieces,
        }
    }
}

/// What a provider's headers say of the limits of the key that was used, after this call was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitHints {
    /// Calls per minute.
    pub requests: WindowHint,
    /// Tokens per minute.
    pub tokens: WindowHint,
}

/// What a provider says of one of its limits; whatever it does not say is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WindowHint {
    /// What the limit is.
    pub limit: Option<u64>,
    /// What is left of it at this moment.
    pub remaining: Option<u64>,
    /// When all of it will be back.
    pub resets_in: Option<Duration>,
}

/// An option that a model does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct InvalidOption {
    /// Which one, dotted if nested.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

/// One call.
#[derive(Debug, Clone)]
pub struct ModelRequest {
    /// Whose call; for tracing and for what the provider is told to tell calls apart.
    pub run_id: RunId,
    /// Which model call of the run, from 1.
    pub step: u32,
    /// Which try of this call, from 1.
    pub attempt: u32,
    /// What the model is told first.
    pub instructions: Option<String>,
    /// Everything said so far: whole items only, oldest first.
    pub conversation: Arc<[Arc<Item>]>,
    /// What it may call.
    pub tools: Arc<[ToolDefinition]>,
    /// How many tokens it may still write.
    pub max_output_tokens: Option<u64>,
    /// The run's `model_options`.
    pub options: Arc<Map<String, Value>>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelDelta {
    /// The provider is at work and has nothing to show: a sign of life, no part of the answer.
    Working,
    /// The message grows.
    Text(String),
    /// The thought grows.
    Reasoning(String),
    /// The thought is whole and carries this. What is thought next is another thought.
    ReasoningSealed(ReasoningSeal),
    /// A tool call begins.
    ToolCallStarted {
        /// Tells parallel calls of one answer apart.
        index: u32,
        /// The provider's name for it.
        call_id: String,
        /// Which tool.
        name: String,
    },
    /// A tool call's arguments grow.
    ToolCallArguments {
        /// Which call.
        index: u32,
        /// By what.
        delta: String,
    },
    /// The answer is whole.
    Finished {
        /// Why it ended.
        reason: FinishReason,
        /// What it cost; zeros if the provider does not say.
        usage: Usage,
        /// What answered, as the provider names it.
        model: String,
    },
}

/// Why a call failed. The message is fit for clients: it never has keys, URLs or bodies in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelError {
    /// What sort of failure.
    pub kind: ModelErrorKind,
    /// One sentence.
    pub message: String,
    /// How long the provider wants us to wait.
    pub retry_after: Option<Duration>,
    /// What it says of its limits.
    pub hints: Box<LimitHints>,
}

/// What sort of failure a model call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelErrorKind {
    /// No connection, or it broke before the answer was whole.
    Connection,
    /// The provider answered with this HTTP status, or with an error that amounts to it.
    Status(u16),
    /// Connecting, the first byte, the next byte or the whole call took too long.
    Timeout,
    /// The answer is not the provider's protocol.
    Protocol,
}

impl ModelError {
    /// An error without advice on when to retry.
    pub fn new(kind: ModelErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            hints: Box::default(),
        }
    }

    /// Whether the key was refused: every further call with it would be. 402 is a key that nobody has paid for.
    pub fn is_key_refused(&self) -> bool {
        matches!(self.kind, ModelErrorKind::Status(401 | 402))
    }

    /// Whether it is the key that may not do this, or the request that nobody may make: 403 is said of both.
    pub fn is_forbidden(&self) -> bool {
        matches!(self.kind, ModelErrorKind::Status(403))
    }

    /// Whether the key has used up a limit. (Anthropic's 529 and other 5xx are the provider's trouble, not the key's.)
    pub fn is_rate_limited(&self) -> bool {
        matches!(self.kind, ModelErrorKind::Status(429))
    }

    /// Whether the request is larger than the provider takes from this key: as large as it is, it will never be answered.
    pub fn is_too_large(&self) -> bool {
        matches!(self.kind, ModelErrorKind::Status(413))
    }

    /// Whether it tells of trouble at the provider that another one may not have: what opens a circuit.
    pub fn is_upstream_trouble(&self) -> bool {
        match self.kind {
            ModelErrorKind::Connection | ModelErrorKind::Timeout | ModelErrorKind::Protocol => true,
            ModelErrorKind::Status(status) => matches!(status, 408 | 500..=599),
        }
    }

    /// Whether the same call may succeed later: 408, 409, 429, 5xx (529 among them), time-outs and broken connections.
    pub fn is_retryable(&self) -> bool {
        match self.kind {
            ModelErrorKind::Connection | ModelErrorKind::Timeout => true,
            ModelErrorKind::Status(status) => matches!(status, 408 | 409 | 429 | 500..=599),
            ModelErrorKind::Protocol => false,
        }
    }

    /// The code of a run that fails because of this.
    pub fn run_error_code(&self) -> RunErrorCode {
        match self.kind {
            ModelErrorKind::Timeout => RunErrorCode::ModelTimeout,
            ModelErrorKind::Protocol => RunErrorCode::ModelProtocol,
            ModelErrorKind::Connection => RunErrorCode::ModelUnavailable,
            ModelErrorKind::Status(_) if self.is_retryable() => RunErrorCode::ModelUnavailable,
            ModelErrorKind::Status(413) => RunErrorCode::ModelRequestTooLarge,
            ModelErrorKind::Status(_) => RunErrorCode::ModelRejected,
        }
    }
}
