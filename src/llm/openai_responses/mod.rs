//! Adapter `openai_responses`: OpenAI's `/responses`, streamed and stateless (`store: false`).
//!
//! Thoughts come encrypted and are sent back as they came, in a [`callboard_actors::item::ReasoningSeal`] of the dialect
//! [`SEAL_DIALECT`]. They belong to the provider's account that wrote them: a key of another account has its calls refused with 400.
//! `model_options` are written as for chat completions and put into this API's words.

mod answer;
mod events;
mod input;
mod request;

use async_trait::async_trait;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelError, ModelRequest};
use serde_json::{Map, Value};

use super::upstream::{Caller, KeyHeader, Upstream, UpstreamOptions, json_body, refuse_unknown, unusable_options};
use answer::ResponseFold;
use request::{OptionsInUse, ResponsesRequest};

/// Whose thoughts this adapter sends back.
pub const SEAL_DIALECT: &str = "openai-responses";

/// The `model_options` that can be said in this API. (`stop`, `seed`, `logit_bias` and the penalties cannot.) `reasoning_summary` is its own:
/// `auto`, `concise` or `detailed` makes the model tell what it thinks. `simulate` is for `callboard simulate-llm` as the provider.
pub const TAKEN: [&str; 11] = [
    "temperature",
    "top_p",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "reasoning_summary",
    "verbosity",
    "prompt_cache_key",
    "service_tier",
    "simulate",
];

/// A model behind OpenAI's Responses API.
#[derive(Debug)]
pub struct OpenAiResponsesModel {
    upstream: Upstream,
    upstream_model: String,
    /// Whether encrypted thoughts are asked for and sent back. OpenAI refuses the wish for models that do not think.
    carries_reasoning: bool,
}

impl OpenAiResponsesModel {
    /// `base_url` is what `/responses` is appended to. Fails on one that is none, or a key that cannot be a header.
    pub fn new(options: UpstreamOptions) -> anyhow::Result<Self> {
        Ok(Self {
            upstream: Upstream::new(&options, "/responses", KeyHeader::bearer())?,
            carries_reasoning: thinks(&options.upstream_model),
            upstream_model: options.upstream_model,
        })
    }
}

/// Whether a model of this name thinks: all of OpenAI's do, but for these. A fine-tuned one is named after what it was made of.
fn thinks(model: &str) -> bool {
    let name = model.strip_prefix("ft:").unwrap_or(model);
    !["gpt-3", "gpt-4", "chatgpt-", "gpt-5-chat"]
        .iter()
        .any(|family| name.starts_with(family))
}

#[async_trait]
impl Model for OpenAiResponsesModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let options = OptionsInUse::of(&request.options).map_err(unusable_options)?;
        let body = ResponsesRequest::new(&self.upstream_model, self.carries_reasoning, &request, options);
        let body = json_body(&body)?;
        let caller = Caller::of(&request);
        drop(request);
        self.upstream.call(body, caller, ResponseFold::default()).await
    }

    fn option_names(&self) -> &'static [&'static str] {
        &TAKEN
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        refuse_unknown(options, &TAKEN)?;
        OptionsInUse::of(options).map(drop)
    }
}

#[cfg(test)]
mod tests;
