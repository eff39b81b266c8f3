//! What is sent to `/responses`.

use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{ModelRequest, ToolDefinition};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::input::{InputItem, input_of};
use crate::llm::upstream::{ResponseFormat, ToolChoice};

#[derive(Serialize)]
pub(super) struct ResponsesRequest<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    input: Vec<InputItem<'a>>,
    stream: bool,
    /// The conversation is ours to keep.
    store: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(flatten)]
    options: OptionsInUse<'a>,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'a str,
    description: &'a str,
    parameters: &'a Value,
    /// True where left out, and then few schemas are good enough.
    strict: bool,
}

/// The run's `model_options` in this API's words.
#[derive(Debug, Default, Serialize)]
pub(super) struct OptionsInUse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulate: Option<&'a Value>,
}

#[derive(Debug, Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a Value>,
}

#[derive(Debug, Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a Value>,
}

impl<'a> OptionsInUse<'a> {
    /// Fails on an option that this API cannot express.
    pub(super) fn of(options: &'a Map<String, Value>) -> Result<Self, InvalidOption> {
        let (effort, summary) = (options.get("reasoning_effort"), options.get("reasoning_summary"));
        let format = ResponseFormat::of(options)?.map(text_format);
        let verbosity = options.get("verbosity");
        Ok(Self {
            temperature: options.get("temperature"),
            top_p: options.get("top_p"),
            tool_choice: ToolChoice::of(options)?.map(tool_choice),
            parallel_tool_calls: options.get("parallel_tool_calls"),
            reasoning: (effort.is_some() || summary.is_some()).then_some(Reasoning { effort, summary }),
            text: (format.is_some() || verbosity.is_some()).then_some(Text { format, verbosity }),
            prompt_cache_key: options.get("prompt_cache_key"),
            service_tier: options.get("service_tier"),
            simulate: options.get("simulate"),
        })
    }
}

/// Chat completions have the schema's fields one level deeper.
fn text_format(format: ResponseFormat<'_>) -> Value {
    match format {
        ResponseFormat::Text => json!({"type": "text"}),
        ResponseFormat::JsonObject => json!({"type": "json_object"}),
        ResponseFormat::JsonSchema(described) => {
            let mut format = described.clone();
            format.insert("type".into(), "json_schema".into());
            Value::Object(format)
        }
    }
}

fn tool_choice(choice: ToolChoice<'_>) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Function(name) => json!({"type": "function", "name": name}),
    }
}

impl<'a> ResponsesRequest<'a> {
    pub(super) fn new(
        model: &'a str,
        carries_reasoning: bool,
        request: &'a ModelRequest,
        options: OptionsInUse<'a>,
    ) -> Self {
        Self {
            model,
            instructions: request.instructions.as_deref(),
            input: input_of(&request.conversation, carries_reasoning),
            stream: true,
            store: false,
            include: carries_reasoning
                .then_some("reasoning.encrypted_content")
                .into_iter()
                .collect(),
            tools: request.tools.iter().map(tool).collect(),
            max_output_tokens: request.max_output_tokens,
            options,
        }
    }
}

fn tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool {
        kind: "function",
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.parameters,
        strict: false,
    }
}
