//! `POST /v1/messages`, as Anthropic has it.

mod check;
mod writer;

use actix_web::http::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Asked, Dialect, HeaderStyle, Problem};
use crate::llm::simulate_server::counting::InputSize;
use check::{blocks, check_messages, check_thinking, turns_of};
use writer::MessagesWriter;

pub(in super::super) struct Messages;

#[derive(Deserialize)]
struct Request {
    max_tokens: u64,
    messages: Vec<Value>,
    #[serde(default)]
    system: Value,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    thinking: Value,
    #[serde(default)]
    stream: bool,
    simulate: Option<Value>,
}

impl Dialect for Messages {
    fn name(&self) -> &'static str {
        "messages"
    }

    fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Asked, String> {
        if !headers.contains_key("anthropic-version") {
            return Err("anthropic-version: header is required".into());
        }
        let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if request.max_tokens == 0 {
            return Err("max_tokens: must be greater than or equal to 1".into());
        }
        check_thinking(&request.thinking, request.max_tokens)?;
        let turns = turns_of(&request.messages)?;
        check_messages(&turns)?;
        let calls_tools = |message: &&Value| blocks(message).any(|block| block["type"] == "tool_use");
        let rounds = request.messages.iter().filter(calls_tools).count();
        let mut size = InputSize::default();
        size.add(&request.system);
        size.add_messages(&request.messages);
        size.add_tools(&request.tools);
        Ok(Asked {
            stream: request.stream,
            simulate: request.simulate,
            max_output_tokens: Some(request.max_tokens),
            tool_rounds_done: u32::try_from(rounds).unwrap_or(u32::MAX),
            input_tokens: size.tokens(),
            writer: Box::new(MessagesWriter::default()),
        })
    }

    fn error(&self, problem: &Problem, request_id: &str) -> Value {
        let kind = error_kind(problem.status());
        json!({"type": "error", "error": {"type": kind, "message": problem.message()}, "request_id": request_id})
    }

    fn header_style(&self) -> HeaderStyle {
        HeaderStyle::Anthropic
    }

    fn garbage(&self) -> &'static str {
        "event: content_block_delta\ndata: {\"delta\": 7\n\n"
    }
}

const fn error_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
