//! Adapter `anthropic`: the Messages API, streamed.
//!
//! Thoughts carry a signature, or are encrypted as a whole, and are sent back in front of what was said after them, in a
//! [`callboard_actors::item::ReasoningSeal`] of the dialect [`SEAL_DIALECT`]. `model_options` are written as for chat completions where
//! those have the same thing, and put into this API's words. Structured output is `output_config.format` there (it was `output_format`
//! behind a beta header), effort is `output_config.effort`.

mod answer;
mod cache_marks;
mod events;
mod messages;
mod options;
mod request;

use async_trait::async_trait;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelError, ModelRequest};
use reqwest::header::HeaderName;
use serde_json::{Map, Value};

use super::upstream::{Caller, KeyHeader, Upstream, UpstreamOptions, json_body, refuse_unknown, unusable_options};
use answer::MessageFold;
use options::OptionsInUse;
use request::MessagesRequest;

/// Whose thoughts this adapter sends back.
pub const SEAL_DIALECT: &str = "anthropic";

/// The version of the API that this adapter speaks.
const API_VERSION: &str = "2023-06-01";

/// The `model_options` that can be said in this API. `thinking` and `top_k` are its own and passed on as they are, `cache_control` marks the
/// tools, the system prompt and the end of the conversation. `simulate` is for `callboard simulate-llm` as the provider.
pub const TAKEN: [&str; 11] = [
    "temperature",
    "top_p",
    "top_k",
    "stop",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "thinking",
    "cache_control",
    "simulate",
];

/// A model behind Anthropic's Messages API.
#[derive(Debug)]
pub struct AnthropicModel {
    upstream: Upstream,
    upstream_model: String,
    default_max_tokens: u64,
}

impl AnthropicModel {
    /// `base_url` may end in `/v1` or not (`https://api.anthropic.com`, as Anthropic's own clients have it): `/v1/messages` is asked either
    /// way. An answer may have `default_max_tokens` where the run does not say: the API wants a number. Fails on a base URL that is none, or a
    /// key that cannot be a header.
    pub fn new(options: UpstreamOptions, default_max_tokens: u64) -> anyhow::Result<Self> {
        let has_version = options.base_url.trim_end_matches('/').ends_with("/v1");
        let path = if has_version { "/messages" } else { "/v1/messages" };
        let key_header = KeyHeader {
            name: HeaderName::from_static("x-api-key"),
            prefix: "",
        };
        Ok(Self {
            upstream: Upstream::new(&options, path, key_header)?.with_header("anthropic-version", API_VERSION),
            upstream_model: options.upstream_model,
            default_max_tokens,
        })
    }
}

#[async_trait]
impl Model for AnthropicModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let options = OptionsInUse::of(&request.options).map_err(unusable_options)?;
        let body = MessagesRequest::new(&self.upstream_model, self.default_max_tokens, &request, options);
        let body = json_body(&body)?;
        let caller = Caller::of(&request);
        drop(request);
        self.upstream.call(body, caller, MessageFold::default()).await
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
mod answer_tests;
#[cfg(test)]
mod request_tests;
