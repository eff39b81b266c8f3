//! The dialects in which the provider is spoken to. Each reads requests, refusing what its original refuses, and writes answers.

mod chat;
mod conversation;
mod messages;
mod responses;

use actix_web::http::header::HeaderMap;
use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use callboard_actors::time::Timestamp;
use serde_json::{Value, json};

use super::limit_headers::span;
use super::limiter::{LimitReached, Standing};

pub(super) use chat::Chat;
pub(super) use messages::Messages;
pub(super) use responses::Responses;

/// One way of speaking.
pub(super) trait Dialect: Sync {
    /// What the journal calls it.
    fn name(&self) -> &'static str;

    /// Reads a request. `Err` is a sentence for who sent it.
    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Asked, String>;

    /// The body of an error.
    fn error(&self, problem: &Problem, request_id: &str) -> Value;

    /// Whose names the headers have.
    fn header_style(&self) -> HeaderStyle;

    /// A piece of a stream that is not of the dialect.
    fn garbage(&self) -> &'static str;
}

/// Whose names headers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderStyle {
    /// `x-ratelimit-limit-requests`, `x-request-id`
    OpenAi,
    /// `anthropic-ratelimit-requests-limit`, `request-id`
    Anthropic,
}

/// What a request wants.
pub(super) struct Asked {
    pub(super) stream: bool,
    /// Its `simulate` field.
    pub(super) simulate: Option<Value>,
    pub(super) max_output_tokens: Option<u64>,
    /// Answers of the conversation that called tools.
    pub(super) tool_rounds_done: u32,
    pub(super) input_tokens: u64,
    /// Writes the answer in the way that was asked for.
    pub(super) writer: Box<dyn AnswerWriter>,
}

/// Writes one answer: either its stream or the whole of it.
pub(super) trait AnswerWriter: Send {
    /// What a stream begins with.
    fn begin(&mut self, opening: &Opening, out: &mut String);

    /// A piece of a stream.
    fn write(&mut self, piece: &ModelDelta, out: &mut String);

    /// The error that a stream ends with.
    fn fail(&mut self, status: u16, out: &mut String);

    /// An answer in one piece.
    fn whole(&mut self, opening: &Opening, answer: &Answer) -> Value;
}

/// What is known when an answer begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Opening {
    /// 16 hexadecimal digits.
    pub(super) id: String,
    pub(super) input: Usage,
    /// Seconds since 1970.
    pub(super) created: i64,
}

impl Opening {
    pub(super) fn now(id: u64, input: Usage) -> Self {
        Self {
            id: format!("{id:016x}"),
            input,
            created: Timestamp::now().as_micros() / 1_000_000,
        }
    }
}

/// What was said so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) thought: String,
    pub(super) text: String,
    pub(super) calls: Vec<ToolCall>,
    pub(super) end: Option<(FinishReason, Usage)>,
}

#[derive(Debug, Clone)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Answer {
    pub(super) fn add(&mut self, piece: &ModelDelta) {
        match piece {
            ModelDelta::Text(text) => self.text.push_str(text),
            ModelDelta::Reasoning(text) => self.thought.push_str(text),
            // The simulated model seals nothing: each dialect does that in its own way.
            ModelDelta::ReasoningSealed(_) | ModelDelta::Working => {}
            ModelDelta::ToolCallStarted { call_id, name, .. } => self.calls.push(ToolCall {
                id: call_id.clone(),
                name: name.clone(),
                arguments: String::new(),
            }),
            ModelDelta::ToolCallArguments { delta, .. } => {
                if let Some(call) = self.calls.last_mut() {
                    call.arguments.push_str(delta);
                }
            }
            ModelDelta::Finished { reason, usage, .. } => self.end = Some((*reason, *usage)),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) enum Problem {
    /// The request is not what the dialect allows.
    Invalid(String),
    KeyRefused {
        ending: String,
    },
    RateLimited {
        reached: LimitReached,
        standing: Standing,
        tokens: u64,
    },
    /// Of the provider, with this status.
    Trouble(u16),
}

impl Problem {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Invalid(_) => 400,
            Self::KeyRefused { .. } => 401,
            Self::RateLimited { .. } => 429,
            Self::Trouble(status) => *status,
        }
    }

    /// One sentence or two.
    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid(message) => message.clone(),
            Self::KeyRefused { ending } => format!("Incorrect API key provided: ****{ending}."),
            Self::Trouble(status) => format!("The simulated provider was told to answer {status}."),
            Self::RateLimited {
                reached,
                standing,
                tokens,
            } => limit_message(*reached, standing, *tokens),
        }
    }
}

fn limit_message(reached: LimitReached, standing: &Standing, tokens: u64) -> String {
    let limits = standing.limits;
    let said = |limit: Option<u64>| limit.unwrap_or_default();
    match reached {
        LimitReached::Requests { wait } => format!(
            "Rate limit reached for simulated on requests per min (RPM): Limit {}, Used {}, Requested 1. Please try again in {}.",
            said(limits.requests_per_minute),
            standing.requests.amount,
            span(wait)
        ),
        LimitReached::Tokens { wait } => format!(
            "Rate limit reached for simulated on tokens per min (TPM): Limit {}, Used {}, Requested {tokens}. Please try again in {}.",
            said(limits.tokens_per_minute),
            standing.tokens.amount,
            span(wait)
        ),
        LimitReached::TooLarge => format!(
            "Request too large for simulated on tokens per min (TPM): Limit {}, Requested {tokens}.",
            said(limits.tokens_per_minute)
        ),
        LimitReached::ConcurrentCalls => {
            format!("Too many concurrent requests: Limit {}.", said(limits.concurrent_calls))
        }
    }
}

/// OpenAI's form of an error.
fn openai_error(problem: &Problem) -> Value {
    let (kind, code) = match problem {
        Problem::Invalid(_) => ("invalid_request_error", Value::Null),
        Problem::KeyRefused { .. } => ("invalid_request_error", "invalid_api_key".into()),
        Problem::RateLimited { reached, .. } => {
            let kind = match reached {
                LimitReached::Requests { .. } | LimitReached::ConcurrentCalls => "requests",
                LimitReached::Tokens { .. } | LimitReached::TooLarge => "tokens",
            };
            (kind, "rate_limit_exceeded".into())
        }
        Problem::Trouble(status) => openai_trouble(*status),
    };
    json!({"error": {"message": problem.message(), "type": kind, "param": null, "code": code}})
}

fn openai_trouble(status: u16) -> (&'static str, Value) {
    match status {
        429 => ("requests", "rate_limit_exceeded".into()),
        400..500 => ("invalid_request_error", Value::Null),
        503 | 529 => ("server_error", "server_is_overloaded".into()),
        _ => ("server_error", "server_error".into()),
    }
}

/// An event of a stream whose events have names.
fn write_event(name: &str, data: &Value, out: &mut String) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    write_data(data, out);
}

/// What an event says; all of it if it has no name.
fn write_data(data: &Value, out: &mut String) {
    out.push_str("data: ");
    out.push_str(&data.to_string());
    out.push_str("\n\n");
}
