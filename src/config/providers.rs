//! `[providers.<name>]`: a provider is its own table over `[provider_defaults]`.

use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::llm::CircuitSettings;
use callboard_actors::ports::rate_limits::KeyLimits;
use serde::Deserialize;

use super::values;

/// A service that answers model calls, with `[provider_defaults]` filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Whom to ask.
    pub service: ProviderService,
    /// What its keys allow.
    pub limits: ProviderLimitsConfig,
    /// How a chat completion is kept short, where the usual way is wrong.
    pub output_limit_field: Option<OutputLimitName>,
}

/// How a chat completion is kept short: the field of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputLimitName {
    /// `max_tokens`.
    MaxTokens,
    /// `max_completion_tokens`.
    MaxCompletionTokens,
}

/// Whom a provider's calls go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderService {
    /// Nobody: answers are made up in process.
    Simulated,
    /// A service over HTTP.
    Remote {
        /// What it understands.
        dialect: Dialect,
        /// What the dialect's path is appended to. `http` or `https`, without credentials, query or fragment.
        base_url: reqwest::Url,
        /// Its keys, each one once; none if it asks for none.
        keys: Vec<KeySource>,
    },
}

impl ProviderConfig {
    /// What it understands; `None` of the simulated one.
    pub(super) const fn dialect(&self) -> Option<Dialect> {
        match &self.service {
            ProviderService::Remote { dialect, .. } => Some(*dialect),
            ProviderService::Simulated => None,
        }
    }
}

/// What a service over HTTP understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions, as many others have them.
    OpenAi,
    /// OpenAI's Responses.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
}

impl Dialect {
    /// The name in `config.toml`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::OpenAiResponses => "openai-responses",
            Self::Anthropic => "anthropic",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::OpenAi, Self::OpenAiResponses, Self::Anthropic]
            .into_iter()
            .find(|dialect| dialect.as_str() == name)
    }
}

/// A key of a provider, which is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySource {
    /// The dotted key of the configuration that names it.
    pub named_by: String,
    /// Where it stands.
    pub place: KeyPlace,
}

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyPlace {
    /// In an environment variable of this name.
    Environment(String),
    /// In a file, with nothing else but white space.
    File(PathBuf),
}

/// `[provider_defaults]`: what keys allow, and when a provider is left alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderLimitsConfig {
    /// Calls of a key in a minute; `None` is no limit but what the provider says.
    #[serde(deserialize_with = "values::number_or_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens of a key in a minute, likewise.
    #[serde(deserialize_with = "values::number_or_none")]
    pub tokens_per_minute: Option<u64>,
    /// Calls of a key under way, likewise.
    #[serde(deserialize_with = "values::number_or_none")]
    pub concurrent_calls: Option<u64>,
    /// Whether all models share them.
    pub limits_per: LimitsPer,
    /// Calls that may wait for room.
    pub max_waiting: usize,
    /// Failures in a row after which the provider is left alone; 0 is never.
    pub circuit_failures: u32,
    /// For how long at first.
    #[serde(deserialize_with = "values::duration")]
    pub circuit_rest: Duration,
    /// For how long at most.
    #[serde(deserialize_with = "values::duration")]
    pub circuit_longest_rest: Duration,
}

/// What the limits of a key are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitsPer {
    /// All models together.
    Key,
    /// Each model.
    Model,
}

impl ProviderLimitsConfig {
    /// What each key allows.
    pub fn of_a_key(&self) -> KeyLimits {
        KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            concurrent_calls: self.concurrent_calls,
        }
    }

    /// When the provider is left alone.
    pub fn circuit(&self) -> CircuitSettings {
        CircuitSettings {
            failures: self.circuit_failures,
            rest: self.circuit_rest,
            longest_rest: self.circuit_longest_rest,
        }
    }
}

/// A provider's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProviderTable {
    pub(super) dialect: Option<DialectName>,
    pub(super) base_url: Option<String>,
    #[serde(deserialize_with = "values::text_or_list")]
    pub(super) key_envs: Vec<String>,
    #[serde(deserialize_with = "values::text_or_list")]
    pub(super) key_files: Vec<PathBuf>,
    pub(super) output_limit_field: Option<OutputLimitName>,
    requests_per_minute: Option<u64>,
    tokens_per_minute: Option<u64>,
    concurrent_calls: Option<u64>,
    limits_per: Option<LimitsPer>,
    max_waiting: Option<usize>,
    circuit_failures: Option<u32>,
    #[serde(deserialize_with = "values::optional_duration")]
    circuit_rest: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    circuit_longest_rest: Option<Duration>,
}

/// The dialects, and none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum DialectName {
    #[serde(rename = "openai")]
    OpenAi,
    #[serde(rename = "openai-responses")]
    OpenAiResponses,
    #[serde(rename = "anthropic")]
    Anthropic,
    #[serde(rename = "simulated")]
    Simulated,
}

impl DialectName {
    pub(super) const fn over_http(self) -> Option<Dialect> {
        match self {
            Self::OpenAi => Some(Dialect::OpenAi),
            Self::OpenAiResponses => Some(Dialect::OpenAiResponses),
            Self::Anthropic => Some(Dialect::Anthropic),
            Self::Simulated => None,
        }
    }
}

impl ProviderTable {
    /// What this provider's keys allow: its own keys over the defaults.
    pub(super) fn limits_over(&self, defaults: &ProviderLimitsConfig) -> ProviderLimitsConfig {
        let limit = |own: Option<u64>, default| own.map_or(default, |limit| values::none_if_zero(Some(limit)));
        ProviderLimitsConfig {
            requests_per_minute: limit(self.requests_per_minute, defaults.requests_per_minute),
            tokens_per_minute: limit(self.tokens_per_minute, defaults.tokens_per_minute),
            concurrent_calls: limit(self.concurrent_calls, defaults.concurrent_calls),
            limits_per: self.limits_per.unwrap_or(defaults.limits_per),
            max_waiting: self.max_waiting.unwrap_or(defaults.max_waiting),
            circuit_failures: self.circuit_failures.unwrap_or(defaults.circuit_failures),
            circuit_rest: self.circuit_rest.unwrap_or(defaults.circuit_rest),
            circuit_longest_rest: self.circuit_longest_rest.unwrap_or(defaults.circuit_longest_rest),
        }
    }
}
