//! How things stand with every key, as `GET /api/v1/models/keys` shows it and `/metrics` counts it.

use std::time::Duration;

use callboard_actors::llm::CircuitState;
use callboard_actors::ports::rate_limits::{KeyLimits, KeyUsage, LimitsReach};
use callboard_actors::time::Timestamp;
use serde::Serialize;

use super::{KeyPool, ListedKey, ListedProvider, MINUTES, ModelDirectory};
use crate::json_durations::whole_milliseconds_or_null;

/// All providers. Durations are in whole milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ModelKeysView {
    object: &'static str,
    pub(crate) data: Vec<ProviderView>,
}

/// A provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ProviderView {
    pub(crate) provider: String,
    dialect: &'static str,
    pub(crate) circuit: CircuitView,
    pub(crate) pools: Vec<KeyPoolView>,
}

/// Whether a provider is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct CircuitView {
    pub(crate) state: CircuitName,
    /// Until one call may try again.
    #[serde(rename = "open_for_ms", serialize_with = "whole_milliseconds_or_null")]
    open_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CircuitName {
    Closed,
    Open,
    HalfOpen,
}

/// Keys that calls choose from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct KeyPoolView {
    /// The only model that they are counted for; `None` is all.
    pub(crate) model: Option<String>,
    pub(crate) reach: ReachName,
    /// How many instances share what the keys allow, if each keeps to its share.
    sharing_instances: Option<u32>,
    /// Calls that wait for room, on this instance.
    pub(crate) waiting: usize,
    pub(crate) keys: Vec<KeyView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReachName {
    Instance,
    Fleet,
    Share,
}

/// A key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct KeyView {
    /// Its place in the configuration, from 1.
    pub(crate) number: usize,
    last_four: Option<String>,
    pub(crate) limits: LimitsView,
    pub(crate) used: UsedView,
    #[serde(rename = "cooling_for_ms", serialize_with = "whole_milliseconds_or_null")]
    pub(crate) cooling_for: Option<Duration>,
    #[serde(rename = "refused_for_ms", serialize_with = "whole_milliseconds_or_null")]
    pub(crate) refused_for: Option<Duration>,
    pub(crate) recent: RecentView,
}

/// `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LimitsView {
    pub(crate) requests_per_minute: Option<u64>,
    pub(crate) tokens_per_minute: Option<u64>,
    pub(crate) concurrent_calls: Option<u64>,
}

/// Of the last minute and under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct UsedView {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) concurrent_calls: u64,
}

/// Calls of the last minutes, of this instance.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RecentView {
    minutes: usize,
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    pub(crate) rate_limited: u64,
    last_failure: Option<FailureView>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct FailureView {
    at: Timestamp,
    message: String,
}

impl ModelDirectory {
    /// How things stand now.
    pub(crate) async fn view(&self) -> ModelKeysView {
        let mut data = Vec::with_capacity(self.providers.len());
        for provider in &self.providers {
            data.push(provider.view().await);
        }
        ModelKeysView {
            object: "model_keys",
            data,
        }
    }
}

impl ListedProvider {
    async fn view(&self) -> ProviderView {
        let mut pools = Vec::with_capacity(self.pools.len());
        for pool in &self.pools {
            pools.push(pool.view().await);
        }
        let (state, open_for) = match self.provider.circuit.state() {
            CircuitState::Closed => (CircuitName::Closed, None),
            CircuitState::Open(left) => (CircuitName::Open, Some(left)),
            CircuitState::HalfOpen => (CircuitName::HalfOpen, None),
        };
        ProviderView {
            provider: self.provider.name.to_string(),
            dialect: self.dialect,
            circuit: CircuitView { state, open_for },
            pools,
        }
    }
}

impl KeyPool {
    async fn view(&self) -> KeyPoolView {
        let usage = self.limits.usage(&self.keys).await;
        let (reach, sharing_instances) = match self.limits.reach() {
            LimitsReach::Instance => (ReachName::Instance, None),
            LimitsReach::Fleet => (ReachName::Fleet, None),
            LimitsReach::Share { instances } => (ReachName::Share, Some(instances)),
        };
        let keys = self.listed.iter().zip(usage).enumerate();
        KeyPoolView {
            model: self.model.as_deref().map(str::to_owned),
            reach,
            sharing_instances,
            waiting: self.line.waiting(),
            keys: keys
                .map(|(place, (listed, usage))| KeyView::of(place + 1, listed, &usage))
                .collect(),
        }
    }
}

impl KeyView {
    fn of(number: usize, listed: &ListedKey, usage: &KeyUsage) -> Self {
        let (counts, last_failure) = listed.calls.now();
        let KeyLimits {
            requests_per_minute,
            tokens_per_minute,
            concurrent_calls,
        } = usage.limits;
        Self {
            number,
            last_four: listed.last_four.clone(),
            limits: LimitsView {
                requests_per_minute,
                tokens_per_minute,
                concurrent_calls,
            },
            used: UsedView {
                requests: usage.requests,
                tokens: usage.tokens,
                concurrent_calls: usage.concurrent_calls,
            },
            cooling_for: usage.cooling_for,
            refused_for: usage.refused_for,
            recent: RecentView {
                minutes: MINUTES,
                calls: counts.calls,
                failed: counts.failed,
                rate_limited: counts.rate_limited,
                last_failure: last_failure.map(|failure| FailureView {
                    at: failure.at,
                    message: failure.message,
                }),
            },
        }
    }
}
