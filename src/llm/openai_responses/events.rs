//! The events of a `/responses` stream, and the few of their fields that matter.

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(tag = "type")]
pub(super) enum Event {
    #[serde(rename = "response.output_item.added")]
    ItemAdded { output_index: u32, item: OutputItem },
    #[serde(rename = "response.output_item.done")]
    ItemDone { output_index: u32, item: OutputItem },
    #[serde(rename = "response.output_text.delta", alias = "response.refusal.delta")]
    Text { output_index: u32, delta: String },
    #[serde(rename = "response.reasoning_summary_part.added")]
    SummaryPart {
        #[serde(default)]
        summary_index: u32,
    },
    #[serde(
        rename = "response.reasoning_summary_text.delta",
        alias = "response.reasoning_text.delta"
    )]
    Reasoning { delta: String },
    #[serde(rename = "response.function_call_arguments.delta")]
    Arguments { output_index: u32, delta: String },
    #[serde(rename = "response.completed")]
    Completed { response: Response },
    #[serde(rename = "response.incomplete")]
    Incomplete { response: Response },
    #[serde(rename = "response.failed", alias = "response.cancelled")]
    Failed {
        #[serde(default)]
        response: Value,
    },
    #[serde(rename = "error")]
    Error(Value),
    #[serde(other)]
    Other,
}

/// Something that the model puts out.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum OutputItem {
    Message {
        #[serde(default)]
        content: Vec<OutputContent>,
    },
    Reasoning {
        summary: Option<Value>,
        encrypted_content: Option<Value>,
    },
    FunctionCall {
        call_id: Option<String>,
        name: String,
        arguments: Option<String>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputContent {
    pub(super) text: Option<String>,
    pub(super) refusal: Option<String>,
}

/// The response as a whole.
#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) model: Option<String>,
    pub(super) status: Option<String>,
    pub(super) usage: Option<ResponseUsage>,
    pub(super) incomplete_details: Option<IncompleteDetails>,
    #[serde(default)]
    pub(super) error: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct IncompleteDetails {
    pub(super) reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ResponseUsage {
    pub(super) input_tokens: Option<u64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) input_tokens_details: Option<InputTokens>,
    pub(super) output_tokens_details: Option<OutputTokens>,
}

#[derive(Debug, Deserialize)]
pub(super) struct InputTokens {
    pub(super) cached_tokens: Option<u64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct OutputTokens {
    pub(super) reasoning_tokens: Option<u64>,
}
