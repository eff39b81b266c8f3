//! `[models.<name>]`: a model is its own table over `[model_defaults]`, and says who may answer it.

use std::time::Duration;

use callboard_actors::llm::{CallSettings, Choice, ModelTimeouts, Price};
use callboard_actors::money::Money;
use callboard_actors::retry::RetryPolicy;
use serde::Deserialize;

use super::providers::Dialect;
use super::values;

/// A model that runs may name, with `[model_defaults]` filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelConfig {
    /// Who may answer; at least one.
    pub targets: Vec<TargetConfig>,
    /// In which order they are asked.
    pub choice: Choice,
    /// How it is called.
    pub calls: ModelCallConfig,
}

/// A model of a provider that may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetConfig {
    /// One of [`super::Config::providers`].
    pub provider: String,
    /// The provider's name for the model.
    pub upstream_model: String,
    /// How often it is asked first, compared to the others.
    pub weight: u32,
    /// What its tokens cost; `None` is not known.
    pub price: Option<Price>,
}

/// `[model_defaults]`: how models are called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCallConfig {
    /// To a connection.
    #[serde(deserialize_with = "values::duration")]
    pub connect_timeout: Duration,
    /// From the request to the first sign of an answer.
    #[serde(deserialize_with = "values::duration")]
    pub first_byte_timeout: Duration,
    /// Between two signs of life.
    #[serde(deserialize_with = "values::duration")]
    pub idle_timeout: Duration,
    /// The whole call.
    #[serde(deserialize_with = "values::duration")]
    pub call_timeout: Duration,
    /// Rounds over the targets, the first included.
    pub max_attempts: u32,
    /// The wait after the first failure.
    #[serde(deserialize_with = "values::duration")]
    pub backoff_initial: Duration,
    /// The longest wait.
    #[serde(deserialize_with = "values::duration")]
    pub backoff_maximum: Duration,
    /// How long a call may wait for room under the limits of the keys.
    #[serde(deserialize_with = "values::duration")]
    pub longest_wait: Duration,
    /// Output tokens that are reserved for an answer where the run sets no limit.
    pub expected_output_tokens: u64,
    /// Output tokens that an answer may have where the run sets no limit and somebody needs one.
    pub max_output_tokens: u64,
    /// How long an answer of temperature 0 is given again; `None` is never.
    #[serde(deserialize_with = "values::duration_or_none")]
    pub cache_for: Option<Duration>,
    /// Unused connections that are kept open.
    pub max_idle_connections: usize,
    /// Bytes of one event of the provider's stream.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_event_size: usize,
}

impl ModelCallConfig {
    fn timeouts(&self) -> ModelTimeouts {
        ModelTimeouts {
            first_byte: self.first_byte_timeout,
            idle: self.idle_timeout,
            call: self.call_timeout,
        }
    }

    /// How calls are made.
    pub fn settings(&self) -> CallSettings {
        CallSettings {
            timeouts: self.timeouts(),
            retry: self.retry_policy(),
            longest_wait: self.longest_wait,
            expected_output_tokens: self.expected_output_tokens,
            max_output_tokens: self.max_output_tokens,
            cache_for: self.cache_for,
        }
    }

    fn retry_policy(&self) -> RetryPolicy {
        RetryPolicy {
            max_attempts: self.max_attempts,
            initial_backoff: self.backoff_initial,
            maximum_backoff: self.backoff_maximum,
        }
    }
}

/// A model's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ModelTable {
    pub(super) targets: Option<Vec<TargetTable>>,
    pub(super) choice: Option<ChoiceName>,
    /// With the keys down to the prices: the only target, written shorter.
    pub(super) provider: Option<String>,
    pub(super) base_url: Option<String>,
    pub(super) api_key_env: Option<String>,
    pub(super) upstream_model: Option<String>,
    input_price: Option<Money>,
    cached_input_price: Option<Money>,
    cache_write_price: Option<Money>,
    output_price: Option<Money>,
    #[serde(deserialize_with = "values::optional_duration")]
    connect_timeout: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    first_byte_timeout: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    call_timeout: Option<Duration>,
    max_attempts: Option<u32>,
    #[serde(deserialize_with = "values::optional_duration")]
    backoff_initial: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    backoff_maximum: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    longest_wait: Option<Duration>,
    expected_output_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    #[serde(deserialize_with = "values::optional_duration")]
    cache_for: Option<Duration>,
    max_idle_connections: Option<usize>,
    #[serde(deserialize_with = "values::optional_memory_size")]
    max_event_size: Option<usize>,
}

/// One of a model's targets as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct TargetTable {
    pub(super) provider: Option<String>,
    pub(super) model: Option<String>,
    pub(super) weight: Option<u32>,
    input_price: Option<Money>,
    cached_input_price: Option<Money>,
    cache_write_price: Option<Money>,
    output_price: Option<Money>,
}

/// In which order targets are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChoiceName {
    Ordered,
    Weighted,
}

impl TargetTable {
    pub(super) fn has_price(&self) -> bool {
        let prices = [
            self.input_price,
            self.cached_input_price,
            self.cache_write_price,
            self.output_price,
        ];
        prices.iter().any(Option::is_some)
    }

    /// US dollars for a million tokens, from a provider of this dialect, or the simulated one; `None` if no price is written.
    pub(super) fn price(&self, dialect: Option<Dialect>) -> Option<Price> {
        if !self.has_price() {
            return None;
        }
        let input = self.input_price.unwrap_or_default();
        let usual_cache_write = match dialect {
            // Its price of writes that are kept for five minutes.
            Some(Dialect::Anthropic) => input.plus(Money::from_nanos(input.nanos() / 4)),
            Some(Dialect::OpenAi | Dialect::OpenAiResponses) | None => input,
        };
        Some(Price {
            input,
            cached_input: self.cached_input_price.unwrap_or(input),
            cache_write: self.cache_write_price.unwrap_or(usual_cache_write),
            output: self.output_price.unwrap_or_default(),
        })
    }
}

impl ModelTable {
    /// The target that is written in the table itself.
    pub(super) fn own_target(&self) -> TargetTable {
        TargetTable {
            provider: self.provider.clone(),
            model: self.upstream_model.clone(),
            weight: None,
            input_price: self.input_price,
            cached_input_price: self.cached_input_price,
            cache_write_price: self.cache_write_price,
            output_price: self.output_price,
        }
    }

    /// How this model is called: its own keys over the defaults.
    pub(super) fn calls_over(&self, defaults: &ModelCallConfig) -> ModelCallConfig {
        ModelCallConfig {
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            first_byte_timeout: self.first_byte_timeout.unwrap_or(defaults.first_byte_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(defaults.idle_timeout),
            call_timeout: self.call_timeout.unwrap_or(defaults.call_timeout),
            max_attempts: self.max_attempts.unwrap_or(defaults.max_attempts),
            backoff_initial: self.backoff_initial.unwrap_or(defaults.backoff_initial),
            backoff_maximum: self.backoff_maximum.unwrap_or(defaults.backoff_maximum),
            longest_wait: self.longest_wait.unwrap_or(defaults.longest_wait),
            expected_output_tokens: self.expected_output_tokens.unwrap_or(defaults.expected_output_tokens),
            max_output_tokens: self.max_output_tokens.unwrap_or(defaults.max_output_tokens),
            cache_for: match self.cache_for {
                Some(Duration::ZERO) => None,
                Some(time) => Some(time),
                None => defaults.cache_for,
            },
            max_idle_connections: self.max_idle_connections.unwrap_or(defaults.max_idle_connections),
            max_event_size: self.max_event_size.unwrap_or(defaults.max_event_size),
        }
    }
}
