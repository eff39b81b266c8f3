//! `POST /v1/chat/completions`, as OpenAI has it.

use actix_web::http::header::HeaderMap;
use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use serde::Deserialize;
use serde_json::{Value, json};

use super::conversation::OpenToolCalls;
use super::{
    Answer, AnswerWriter, Asked, Dialect, HeaderStyle, Opening, Problem, openai_error, openai_trouble, write_data,
};
use crate::llm::simulate_server::counting::InputSize;
use crate::llm::simulated::script::MODEL_NAME;

pub(in super::super) struct Chat;

#[derive(Deserialize)]
struct Request {
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    simulate: Option<Value>,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

impl Dialect for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn read(&self, _headers: &HeaderMap, body: &[u8]) -> Result<Asked, String> {
        let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        check(&request.messages)?;
        let calls_tools = |message: &&Value| !calls_of(message).is_empty();
        let rounds = request.messages.iter().filter(calls_tools).count();
        let mut size = InputSize::default();
        size.add_messages(&request.messages);
        size.add_tools(&request.tools);
        Ok(Asked {
            stream: request.stream,
            simulate: request.simulate,
            max_output_tokens: request.max_completion_tokens.or(request.max_tokens),
            tool_rounds_done: u32::try_from(rounds).unwrap_or(u32::MAX),
            input_tokens: size.tokens(),
            writer: Box::new(ChatWriter {
                include_usage: request.stream_options.is_some_and(|options| options.include_usage),
                opening: Opening::default(),
                is_first: true,
            }),
        })
    }

    fn error(&self, problem: &Problem, _request_id: &str) -> Value {
        openai_error(problem)
    }

    fn header_style(&self) -> HeaderStyle {
        HeaderStyle::OpenAi
    }

    fn garbage(&self) -> &'static str {
        "data: {\"choices\": 7\n\n"
    }
}

fn calls_of(message: &Value) -> &[Value] {
    message["tool_calls"].as_array().map_or(&[], Vec::as_slice)
}

fn check(messages: &[Value]) -> Result<(), String> {
    if messages.is_empty() {
        return Err("Invalid 'messages': empty array. Expected an array with minimum length 1.".into());
    }
    let mut open = OpenToolCalls::default();
    let unanswered = |open: &mut OpenToolCalls| match open.close() {
        Some(ids) => Err(format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
             The following tool_call_ids did not have response messages: {ids}"
        )),
        None => Ok(()),
    };
    for message in messages {
        match message["role"].as_str() {
            Some("tool") => {
                if !open.answer(message["tool_call_id"].as_str().unwrap_or_default()) {
                    let text =
                        "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
                    return Err(format!("Invalid parameter: {text}"));
                }
            }
            Some("system" | "developer" | "user" | "assistant") => unanswered(&mut open)?,
            _ => return Err("Invalid value: 'role' is none of system, developer, user, assistant, tool.".into()),
        }
        for call in calls_of(message) {
            open.call(call["id"].as_str().unwrap_or_default());
        }
    }
    unanswered(&mut open)
}

struct ChatWriter {
    include_usage: bool,
    opening: Opening,
    is_first: bool,
}

impl ChatWriter {
    fn write_choice(&self, delta: &Value, finish_reason: Option<&str>, out: &mut String) {
        let choices = json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        self.write_chunk(&choices, &Value::Null, out);
    }

    fn write_chunk(&self, choices: &Value, usage: &Value, out: &mut String) {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", self.opening.id), "object": "chat.completion.chunk", "created": self.opening.created,
            "model": MODEL_NAME, "choices": choices
        });
        if self.include_usage {
            chunk["usage"] = usage.clone();
        }
        write_data(&chunk, out);
    }
}

impl AnswerWriter for ChatWriter {
    fn begin(&mut self, opening: &Opening, _out: &mut String) {
        self.opening = opening.clone();
    }

    fn write(&mut self, piece: &ModelDelta, out: &mut String) {
        let mut delta = match piece {
            ModelDelta::Text(content) => json!({"content": content}),
            ModelDelta::Reasoning(content) => json!({"reasoning_content": content}),
            // This dialect has no such thing.
            ModelDelta::ReasoningSealed(_) | ModelDelta::Working => return,
            ModelDelta::ToolCallStarted { index, call_id, name } => json!({"tool_calls": [
                {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": ""}}
            ]}),
            ModelDelta::ToolCallArguments { index, delta } => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": delta}}]})
            }
            ModelDelta::Finished { .. } => json!({}),
        };
        if std::mem::take(&mut self.is_first) {
            // Clients that put the answer together want to hear once whose it is, whatever it begins with.
            delta["role"] = "assistant".into();
        }
        let ModelDelta::Finished { reason, usage, .. } = piece else {
            return self.write_choice(&delta, None, out);
        };
        self.write_choice(&delta, Some(reason_name(*reason)), out);
        if self.include_usage {
            self.write_chunk(&json!([]), &usage_json(usage), out);
        }
        out.push_str("data: [DONE]\n\n");
    }

    fn fail(&mut self, status: u16, out: &mut String) {
        let (kind, code) = openai_trouble(status);
        let message = Problem::Trouble(status).message();
        write_data(
            &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
            out,
        );
    }

    fn whole(&mut self, opening: &Opening, answer: &Answer) -> Value {
        let (reason, usage) = answer.end.unwrap_or((FinishReason::Stop, opening.input));
        let mut message = json!({"role": "assistant", "content": answer.text, "refusal": null});
        if !answer.thought.is_empty() {
            message["reasoning_content"] = answer.thought.clone().into();
        }
        if !answer.calls.is_empty() {
            let calls = answer.calls.iter().map(|call| {
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"id": call.id, "type": "function", "function": function})
            });
            message["tool_calls"] = calls.collect();
            message["content"] = Value::Null;
        }
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason_name(reason)});
        json!({
            "id": format!("chatcmpl-{}", opening.id), "object": "chat.completion", "created": opening.created,
            "model": MODEL_NAME, "choices": [choice], "usage": usage_json(&usage)
        })
    }
}

fn usage_json(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_input_tokens, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens, "audio_tokens": 0}
    })
}

const fn reason_name(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::ToolCalls => "tool_calls",
        FinishReason::Length => "length",
        FinishReason::ContentFilter => "content_filter",
    }
}
