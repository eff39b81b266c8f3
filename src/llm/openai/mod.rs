//! Adapter `openai`: any OpenAI-compatible `/chat/completions`, streamed.
//!
//! One attempt per call; retries and time-outs are the caller's, but for connecting. Reasoning is shown where a provider shows it, and
//! never sent back: this dialect has no place for it.

mod answer;
mod wire;

use async_trait::async_trait;
use callboard_actors::ports::model::InvalidOption;
use callboard_actors::ports::{Model, ModelAnswer, ModelError, ModelRequest};
use serde_json::{Map, Value};

use super::upstream::{Caller, KeyHeader, Upstream, UpstreamOptions, json_body, refuse_unknown};
use answer::ChunkFold;

pub use super::upstream::{ATTEMPT_HEADER, RUN_HEADER};

/// The `model_options` that are passed on as they are. `simulate` is for `callboard simulate-llm` as the provider.
pub const PASSED_ON: [&str; 15] = [
    "temperature",
    "top_p",
    "seed",
    "stop",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
    "logit_bias",
    "prompt_cache_key",
    "service_tier",
    "simulate",
];

/// How the most tokens of an answer are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputLimitField {
    /// `max_tokens`: all compatible servers know it, but OpenAI's own reasoning models refuse it.
    MaxTokens,
    /// `max_completion_tokens`: all models of OpenAI know it, but few other servers; those that do not ignore it or refuse the call.
    MaxCompletionTokens,
}

impl OutputLimitField {
    /// What is right for most models at this URL: OpenAI itself and Azure want the new name, everybody else is sure to know the old one.
    pub fn usual_at(base_url: &str) -> Self {
        let url: Option<reqwest::Url> = base_url.parse().ok();
        match url.as_ref().and_then(reqwest::Url::host_str) {
            Some(host) if host == "api.openai.com" || host.ends_with(".openai.azure.com") => Self::MaxCompletionTokens,
            _ => Self::MaxTokens,
        }
    }
}

/// A model behind an OpenAI-compatible API.
#[derive(Debug)]
pub struct OpenAiModel {
    upstream: Upstream,
    upstream_model: String,
    output_limit: OutputLimitField,
}

impl OpenAiModel {
    /// Fails on a base URL that is none, or a key that cannot be a header.
    pub fn new(options: UpstreamOptions) -> anyhow::Result<Self> {
        Ok(Self {
            upstream: Upstream::new(&options, "/chat/completions", KeyHeader::bearer())?,
            output_limit: OutputLimitField::usual_at(&options.base_url),
            upstream_model: options.upstream_model,
        })
    }

    /// For a provider where [`OutputLimitField::usual_at`] is wrong.
    pub fn with_output_limit(mut self, field: OutputLimitField) -> Self {
        self.output_limit = field;
        self
    }
}

#[async_trait]
impl Model for OpenAiModel {
    async fn call(&self, request: ModelRequest) -> Result<ModelAnswer, ModelError> {
        let body = wire::ChatRequest::new(&self.upstream_model, self.output_limit, &request);
        let body = json_body(&body)?;
        let caller = Caller::of(&request);
        drop(request);
        self.upstream.call(body, caller, ChunkFold::default()).await
    }

    fn option_names(&self) -> &'static [&'static str] {
        &PASSED_ON
    }

    fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        refuse_unknown(options, &PASSED_ON)
    }
}

#[cfg(test)]
mod tests;
