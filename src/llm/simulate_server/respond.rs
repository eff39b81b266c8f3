//! `POST /v1/chat/completions`, streamed and not.

use actix_web::http::header::ContentEncoding;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Provider;
use super::journal::OpenCall;
use crate::llm::openai::{ATTEMPT_HEADER, RUN_HEADER};
use crate::llm::simulated::options::{FailureKind, SimulateOptions};
use crate::llm::simulated::script::{Act, MODEL_NAME, Performance, estimate_tokens, hash_of};

#[derive(Deserialize)]
struct Request {
    messages: Vec<RequestMessage>,
    #[serde(default)]
    stream: bool,
    #[serde(default)]
    max_tokens: Option<u64>,
    #[serde(default)]
    max_completion_tokens: Option<u64>,
    #[serde(default)]
    simulate: Option<Value>,
    #[serde(default)]
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize)]
struct RequestMessage {
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

impl Request {
    /// Answers of this conversation that called tools.
    fn tool_rounds_done(&self) -> u32 {
        let calls_tools =
            |message: &&RequestMessage| message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty());
        u32::try_from(self.messages.iter().filter(calls_tools).count()).unwrap_or(u32::MAX)
    }
}

pub(super) async fn chat_completions(provider: web::Data<Provider>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let attempt = header(ATTEMPT_HEADER).and_then(|text| text.parse().ok()).unwrap_or(1);
    let asked: Result<Request, _> = serde_json::from_slice(&body);
    let tool_rounds_done = asked.as_ref().map_or(0, Request::tool_rounds_done);
    let run = header(RUN_HEADER).map(str::to_owned);
    let call = provider.journal.begin(run, attempt, tool_rounds_done);
    let asked = match asked {
        Ok(asked) => asked,
        Err(error) => return refusal(400, "invalid_request_error", &error.to_string()),
    };
    let options = match asked.simulate.as_ref().map(SimulateOptions::from_value) {
        Some(Ok(options)) => options,
        Some(Err(error)) => return refusal(400, "invalid_request_error", &error.to_string()),
        None => provider.defaults.clone(),
    };
    let performance = Performance {
        options,
        prompt_hash: hash_of(&body),
        input_tokens: estimate_tokens(body.len()),
        tool_rounds_done,
        attempt,
        max_output_tokens: asked.max_completion_tokens.or(asked.max_tokens),
    };
    if let Some(failure) = performance.failure() {
        match failure.kind {
            FailureKind::Status => {
                let mut response = refusal(failure.status, "simulated_failure", "told to fail");
                if let Some(millis) = failure.retry_after_ms {
                    let value = actix_web::http::header::HeaderValue::from(millis);
                    let name = actix_web::http::header::HeaderName::from_static("retry-after-ms");
                    response.headers_mut().insert(name, value);
                }
                return response;
            }
            // There is a connection already; closing it without an answer is the nearest thing.
            FailureKind::Connect => return broken(),
            FailureKind::Break | FailureKind::Stall | FailureKind::Garbage | FailureKind::Panic => {}
        }
    }
    if asked.stream {
        let include_usage = asked.stream_options.is_some_and(|options| options.include_usage);
        return streamed(performance, include_usage, call);
    }
    whole(performance, call).await
}

fn refusal(status: u16, kind: &str, message: &str) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).unwrap_or(actix_web::http::StatusCode::BAD_REQUEST);
    let body = json!({"error": {"message": message, "type": kind, "param": null, "code": null}});
    HttpResponse::build(status).json(body)
}

/// An answer whose connection closes before it is whole.
fn broken() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(stream::iter([Err::<Bytes, _>(Broken)]))
}

#[derive(Debug, thiserror::Error)]
#[error("told to break off")]
struct Broken;

fn streamed(performance: Performance, include_usage: bool, call: OpenCall) -> HttpResponse {
    let id = format!("chatcmpl-{:016x}", performance.prompt_hash);
    let mut first = true;
    let body = performance.play().flat_map(move |act| {
        // The call is open as long as its answer is.
        let _ = &call;
        match act {
            Act::Say(pieces) => {
                let mut text = String::new();
                for piece in &pieces {
                    write_piece(&mut text, &id, piece, std::mem::take(&mut first), include_usage);
                }
                stream::iter([Ok(Bytes::from(text))]).boxed()
            }
            Act::Fail(FailureKind::Stall) => stream::pending().boxed(),
            Act::Fail(FailureKind::Garbage) => {
                stream::iter([Ok(Bytes::from_static(b"data: {\"choices\": 7\n\n"))]).boxed()
            }
            Act::Fail(_) => stream::iter([Err(Broken)]).boxed(),
        }
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(ContentEncoding::Identity)
        .insert_header(("cache-control", "no-store"))
        .streaming(body)
}

fn write_piece(text: &mut String, id: &str, piece: &ModelDelta, first: bool, include_usage: bool) {
    let mut delta = match piece {
        ModelDelta::Text(content) => json!({"content": content}),
        ModelDelta::Reasoning(content) => json!({"reasoning_content": content}),
        // This dialect has no such thing.
        ModelDelta::ReasoningSealed(_) => return,
        ModelDelta::ToolCallStarted { index, call_id, name } => json!({"tool_calls": [
            {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
        ]}),
        ModelDelta::ToolCallArguments { index, delta } => {
            json!({"tool_calls": [{"index": index, "function": {"arguments": delta}}]})
        }
        ModelDelta::Finished { .. } => json!({}),
    };
    if first {
        // Clients that put the answer together want to hear once whose it is, whatever it begins with.
        delta["role"] = "assistant".into();
    }
    let ModelDelta::Finished { reason, usage, .. } = piece else {
        return write_choice(text, id, delta, None);
    };
    write_choice(text, id, delta, Some(reason_name(*reason)));
    if include_usage {
        write_chunk(text, id, json!([]), usage_json(usage));
    }
    text.push_str("data: [DONE]\n\n");
}

fn write_choice(text: &mut String, id: &str, delta: Value, finish_reason: Option<&str>) {
    let choices = json!([{"index": 0, "delta": delta, "finish_reason": finish_reason}]);
    write_chunk(text, id, choices, Value::Null);
}

fn write_chunk(text: &mut String, id: &str, choices: Value, usage: Value) {
    let chunk = json!({
        "id": id, "object": "chat.completion.chunk", "created": 0, "model": MODEL_NAME, "choices": choices, "usage": usage
    });
    text.push_str("data: ");
    text.push_str(&chunk.to_string());
    text.push_str("\n\n");
}

fn usage_json(usage: &Usage) -> Value {
    let total = usage.input_tokens + usage.output_tokens;
    json!({"prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": total})
}

const fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    }
}

/// The answer in one piece.
async fn whole(performance: Performance, _call: OpenCall) -> HttpResponse {
    let id = format!("chatcmpl-{:016x}", performance.prompt_hash);
    let (mut content, mut calls, mut end) = (String::new(), Vec::<Value>::new(), None);
    let mut acts = performance.play();
    while let Some(act) = acts.next().await {
        let Act::Say(pieces) = act else { return broken() };
        for piece in pieces {
            match piece {
                ModelDelta::Text(text) => content.push_str(&text),
                ModelDelta::Reasoning(_) | ModelDelta::ReasoningSealed(_) => {}
                ModelDelta::ToolCallStarted { call_id, name, .. } => {
                    calls.push(json!({"id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}));
                }
                ModelDelta::ToolCallArguments { delta, .. } => {
                    if let Some(call) = calls.last_mut() {
                        call["function"]["arguments"] = Value::String(delta);
                    }
                }
                ModelDelta::Finished { reason, usage, .. } => end = Some((reason, usage)),
            }
        }
    }
    let Some((reason, usage)) = end else { return broken() };
    let mut message = json!({"role": "assistant", "content": content});
    if !calls.is_empty() {
        message["tool_calls"] = Value::Array(calls);
        message["content"] = Value::Null;
    }
    HttpResponse::Ok().json(json!({
        "id": id, "object": "chat.completion", "created": 0, "model": MODEL_NAME,
        "choices": [{"index": 0, "message": message, "finish_reason": reason_name(reason)}],
        "usage": usage_json(&usage)
    }))
}
