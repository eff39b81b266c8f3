//! `POST /v1/responses`, as OpenAI has it. Nothing is stored: a `previous_response_id` is never known.

mod output;
mod writer;

use actix_web::http::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::conversation::OpenToolCalls;
use super::{Asked, Dialect, HeaderStyle, Problem, openai_error};
use crate::llm::simulate_server::counting::InputSize;
use crate::llm::simulate_server::seal::is_encrypted;
use writer::{ResponsesWriter, Thoughts};

pub(in super::super) struct Responses;

/// What `include` has in it for thoughts that can be sent back.
const ENCRYPTED_THOUGHTS: &str = "reasoning.encrypted_content";

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    input: Value,
    #[serde(default)]
    instructions: Value,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    include: Option<Vec<String>>,
    #[serde(default)]
    reasoning: Value,
    #[serde(default)]
    previous_response_id: Option<String>,
    #[serde(default)]
    stream: bool,
    max_output_tokens: Option<u64>,
    parallel_tool_calls: Option<bool>,
    #[serde(default)]
    tool_choice: Value,
    store: Option<bool>,
    #[serde(default)]
    metadata: Value,
    simulate: Option<Value>,
}

impl Dialect for Responses {
    fn name(&self) -> &'static str {
        "responses"
    }

    fn read(&self, _headers: &HeaderMap, body: &[u8]) -> Result<Asked, String> {
        let request: Request = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if let Some(id) = &request.previous_response_id {
            return Err(format!("Previous response with id '{id}' not found."));
        }
        let items = match &request.input {
            Value::String(text) => vec![json!({"role": "user", "content": text})],
            Value::Array(items) => items.clone(),
            _ => return Err("Missing required parameter: 'input'.".into()),
        };
        check(&items)?;
        let mut size = InputSize::default();
        size.add(&request.instructions);
        size.add_messages(&items);
        size.add_tools(&request.tools);
        let include = request.include.unwrap_or_default();
        let thoughts = Thoughts {
            with_summary: request.reasoning["summary"].is_string(),
            with_encrypted: include.iter().any(|what| what == ENCRYPTED_THOUGHTS),
        };
        let frame = json!({
            "object": "response", "instructions": request.instructions, "max_output_tokens": request.max_output_tokens,
            "metadata": if request.metadata.is_null() { json!({}) } else { request.metadata },
            "parallel_tool_calls": request.parallel_tool_calls.unwrap_or(true), "previous_response_id": null,
            "store": request.store.unwrap_or(true), "tools": request.tools, "temperature": 1.0, "top_p": 1.0, "truncation": "disabled",
            "tool_choice": if request.tool_choice.is_null() { "auto".into() } else { request.tool_choice },
            "text": {"format": {"type": "text"}}, "reasoning": request.reasoning,
            "error": null, "incomplete_details": null
        });
        Ok(Asked {
            stream: request.stream,
            simulate: request.simulate,
            max_output_tokens: request.max_output_tokens,
            tool_rounds_done: tool_rounds(&items),
            input_tokens: size.tokens(),
            writer: Box::new(ResponsesWriter::new(frame, thoughts)),
        })
    }

    fn error(&self, problem: &Problem, _request_id: &str) -> Value {
        openai_error(problem)
    }

    fn header_style(&self) -> HeaderStyle {
        HeaderStyle::OpenAi
    }

    fn garbage(&self) -> &'static str {
        "event: response.output_text.delta\ndata: {\"delta\": 7\n\n"
    }
}

/// Calls that stand together were made by one answer.
fn tool_rounds(items: &[Value]) -> u32 {
    let mut rounds = 0;
    let mut in_round = false;
    for item in items {
        let is_call = item["type"] == "function_call";
        rounds += u32::from(is_call && !in_round);
        in_round = is_call;
    }
    rounds
}

fn check(items: &[Value]) -> Result<(), String> {
    let mut open = OpenToolCalls::default();
    for item in items {
        let text = |field: &str| item[field].as_str().unwrap_or_default();
        match text("type") {
            "function_call" => open.call(text("call_id")),
            "function_call_output" if !open.answer(text("call_id")) => {
                let id = text("call_id");
                return Err(format!(
                    "No tool call found for function call output with call_id {id}."
                ));
            }
            "reasoning"
                if item["encrypted_content"]
                    .as_str()
                    .is_some_and(|text| !is_encrypted(text)) =>
            {
                let id = text("id");
                return Err(format!("The encrypted content for item {id} could not be verified."));
            }
            "" | "message" if !matches!(text("role"), "user" | "assistant" | "system" | "developer") => {
                return Err("Invalid value: 'role' is none of user, assistant, system, developer.".into());
            }
            _ => {}
        }
    }
    match open.close() {
        Some(ids) => Err(format!("No tool output found for function call {ids}.")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_results_belong_together() {
        let user = json!({"role": "user", "content": "Hello"});
        let call = |id| json!({"type": "function_call", "call_id": id, "name": "now", "arguments": "{}"});
        let result = |id| json!({"type": "function_call_output", "call_id": id, "output": ""});
        let right = [
            user.clone(),
            call("a"),
            call("b"),
            result("a"),
            result("b"),
            call("c"),
            result("c"),
        ];
        assert_eq!((check(&right), tool_rounds(&right)), (Ok(()), 2));
        assert!(check(&[user.clone(), call("a")]).is_err());
        assert!(check(&[user, result("a")]).is_err());
        assert!(check(&[json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "mine"})]).is_err());
    }
}
