//! The `/chat/completions` dialect: what is sent, and the few fields of what comes that matter. Unknown ones are ignored.

use std::borrow::Cow;

use callboard_actors::item::{Item, ItemContent, Role, text_of};
use callboard_actors::ports::{ModelRequest, ToolDefinition};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Serialize)]
pub(super) struct ChatRequest<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(flatten)]
    options: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Message<'a> {
    System {
        content: Cow<'a, str>,
    },
    User {
        content: Cow<'a, str>,
    },
    Assistant {
        content: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCallEntry<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
struct ToolCallEntry<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionCall<'a>,
}

#[derive(Serialize)]
struct FunctionCall<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct ToolEntry<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
}

impl<'a> ChatRequest<'a> {
    pub(super) fn new(model: &'a str, request: &'a ModelRequest) -> Self {
        let instructions = request
            .instructions
            .as_deref()
            .map(|text| Message::System { content: text.into() });
        let mut messages: Vec<Message<'a>> = instructions.into_iter().collect();
        for item in request.conversation.iter() {
            add_item(&mut messages, item);
        }
        Self {
            model,
            messages,
            stream: true,
            stream_options: StreamOptions { include_usage: true },
            tools: request.tools.iter().map(tool_entry).collect(),
            max_tokens: request.max_output_tokens,
            options: &request.options,
        }
    }
}

/// An assistant's text and the tool calls that follow it are one message in this dialect.
fn add_item<'a>(messages: &mut Vec<Message<'a>>, item: &'a Item) {
    match &item.content {
        ItemContent::Message { role, content } => {
            let content = text_of(content).into();
            messages.push(match role {
                Role::System => Message::System { content },
                Role::User => Message::User { content },
                Role::Assistant => Message::Assistant {
                    content: Some(content),
                    tool_calls: Vec::new(),
                },
            });
        }
        ItemContent::Reasoning { .. } => {}
        ItemContent::ToolCall {
            call_id,
            name,
            arguments,
        } => {
            let function = FunctionCall { name, arguments };
            let entry = ToolCallEntry {
                id: call_id,
                kind: "function",
                function,
            };
            match messages.last_mut() {
                Some(Message::Assistant { tool_calls, .. }) => tool_calls.push(entry),
                _ => messages.push(Message::Assistant {
                    content: None,
                    tool_calls: vec![entry],
                }),
            }
        }
        ItemContent::ToolResult { call_id, output, .. } => {
            messages.push(Message::Tool {
                tool_call_id: call_id,
                content: output,
            });
        }
    }
}

fn tool_entry(tool: &ToolDefinition) -> ToolEntry<'_> {
    let function = Function {
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.parameters,
    };
    ToolEntry {
        kind: "function",
        function,
    }
}

/// One event of the stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) choices: Vec<Choice>,
    #[serde(default)]
    pub(super) usage: Option<ChunkUsage>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) delta: Delta,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default, alias = "reasoning")]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) refusal: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<ToolCallDelta>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToolCallDelta {
    #[serde(default)]
    pub(super) index: u32,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<FunctionDelta>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionDelta {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChunkUsage {
    #[serde(default)]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(default)]
    pub(super) completion_tokens: Option<u64>,
}
