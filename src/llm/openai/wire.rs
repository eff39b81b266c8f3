//! The `/chat/completions` dialect: what is sent, and the few fields of what comes that matter. Unknown ones are ignored.

use std::borrow::Cow;

use callboard_actors::item::{
    ContentPart, ImageDetail, ImageSource, Item, ItemContent, Role, shown_result, shown_summary, text_of,
};
use callboard_actors::ports::{ModelRequest, ToolDefinition};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::OutputLimitField;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
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
        content: UserContent<'a>,
    },
    Assistant {
        content: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCallEntry<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: Cow<'a, str>,
    },
}

/// A string where it can be one: not every server takes parts.
#[derive(Serialize)]
#[serde(untagged)]
enum UserContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<ImageDetail>,
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
    pub(super) fn new(model: &'a str, output_limit: OutputLimitField, request: &'a ModelRequest) -> Self {
        let limit_as = |field| request.max_output_tokens.filter(|_| field == output_limit);
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
            max_tokens: limit_as(OutputLimitField::MaxTokens),
            max_completion_tokens: limit_as(OutputLimitField::MaxCompletionTokens),
            options: &request.options,
        }
    }
}

/// An assistant's text and the tool calls beside it are one message in this dialect.
fn add_item<'a>(messages: &mut Vec<Message<'a>>, item: &'a Item) {
    match &item.content {
        ItemContent::Message { role, content } => match role {
            Role::System => messages.push(Message::System {
                content: text_of(content).into(),
            }),
            Role::User => messages.push(Message::User {
                content: user_content(content),
            }),
            Role::Assistant => add_assistant_text(messages, text_of(content)),
        },
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
        ItemContent::ToolResult {
            call_id,
            output,
            approved_arguments,
            ..
        } => messages.push(Message::Tool {
            tool_call_id: call_id,
            content: shown_result(output, approved_arguments.as_deref()),
        }),
        ItemContent::Summary { text, .. } => messages.push(Message::User {
            content: UserContent::Text(shown_summary(text).into()),
        }),
    }
}

/// Text that follows tool calls of the same answer is put before them: their results must come next.
fn add_assistant_text(messages: &mut Vec<Message<'_>>, text: String) {
    match messages.last_mut() {
        Some(Message::Assistant { content, tool_calls }) if !tool_calls.is_empty() => {
            content.get_or_insert_default().to_mut().push_str(&text);
        }
        _ => messages.push(Message::Assistant {
            content: Some(text.into()),
            tool_calls: Vec::new(),
        }),
    }
}

fn user_content(content: &[ContentPart]) -> UserContent<'_> {
    if let [ContentPart::Text { text, .. }] = content {
        return UserContent::Text(text.into());
    }
    if content.iter().any(|part| matches!(part, ContentPart::Image { .. })) {
        UserContent::Parts(content.iter().map(part_of).collect())
    } else {
        UserContent::Text(text_of(content).into())
    }
}

fn part_of(part: &ContentPart) -> Part<'_> {
    match part {
        ContentPart::Text { text, .. } => Part::Text { text },
        ContentPart::Image { source, detail, .. } => match source {
            ImageSource::Url { url } => Part::ImageUrl {
                image_url: ImageUrl { url, detail: *detail },
            },
            ImageSource::File { .. } => Part::Text {
                text: ImageSource::NOT_SHOWN,
            },
        },
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
    pub(super) model: Option<String>,
    pub(super) choices: Option<Vec<Choice>>,
    pub(super) usage: Option<ChunkUsage>,
    pub(super) error: Option<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub(super) delta: Option<Delta>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    pub(super) content: Option<Content>,
    pub(super) reasoning_content: Option<String>,
    pub(super) reasoning: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<ToolCallDelta>>,
}

impl Delta {
    /// Whether there is anything of an answer in it.
    pub(super) fn says_something(&self) -> bool {
        let texts = [&self.reasoning_content, &self.reasoning, &self.refusal];
        let has_text = texts.into_iter().flatten().any(|text| !text.is_empty());
        let has_content = match &self.content {
            Some(Content::Text(text)) => !text.is_empty(),
            Some(Content::Parts(parts)) => !parts.is_empty(),
            None => false,
        };
        has_text || has_content || self.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty())
    }
}

/// A string; Mistral's reasoning models send parts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Content {
    Text(String),
    Parts(Vec<ContentDelta>),
}

#[derive(Debug, Deserialize)]
pub(super) struct ContentDelta {
    pub(super) text: Option<String>,
    pub(super) thinking: Option<Vec<ThoughtDelta>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ThoughtDelta {
    pub(super) text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToolCallDelta {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionDelta>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionDelta {
    pub(super) name: Option<String>,
    pub(super) arguments: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChunkUsage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    pub(super) prompt_tokens_details: Option<PromptTokens>,
    pub(super) completion_tokens_details: Option<CompletionTokens>,
}

#[derive(Debug, Deserialize)]
pub(super) struct PromptTokens {
    pub(super) cached_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CompletionTokens {
    pub(super) reasoning_tokens: Option<u64>,
}
