//! What a model name stands for: the providers that may answer it, in which order they are asked, and how.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::circuit::{Circuit, CircuitSettings};
use super::line::CallLine;
use super::price::Price;
use crate::local_limits::{LimitTimes, LocalRateLimits};
use crate::ports::Model;
use crate::ports::model::InvalidOption;
use crate::ports::rate_limits::{KeyLimits, LimitedKey};
use crate::retry::RetryPolicy;

/// A name that runs may ask for.
#[derive(Clone)]
pub struct ModelRoute {
    /// The name.
    pub name: Arc<str>,
    /// Who may answer; at least one.
    pub targets: Vec<Arc<Target>>,
    /// In which order they are asked.
    pub choice: Choice,
    /// How calls are made.
    pub calls: CallSettings,
}

/// How a route's calls are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSettings {
    /// How long each part of a call may take.
    pub timeouts: ModelTimeouts,
    /// When a failed call is made again.
    pub retry: RetryPolicy,
    /// How long a call may wait for room under the limits of the keys.
    pub longest_wait: Duration,
    /// Output tokens that an answer is expected to have where the run sets no limit: what is reserved until it is known.
    pub expected_output_tokens: u64,
    /// Output tokens that an answer may have where the run sets no limit and a budget needs one.
    pub max_output_tokens: u64,
    /// How long an answer of temperature 0 may be given again to the same account; `None` is never.
    pub cache_for: Option<Duration>,
}

/// In which order the targets of a route are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// As they are listed: the next one only when the one before has no room or is in trouble.
    Ordered,
    /// At random, by weight; the others after it in the same way.
    Weighted,
}

/// A model of a provider, with the keys that open it.
pub struct Target {
    /// Who answers.
    pub provider: Arc<Provider>,
    /// The provider's name for the model.
    pub upstream_model: Arc<str>,
    /// The keys: at least one, if only for its limits where the provider asks for none.
    pub keys: Arc<[LimitedKey]>,
    /// Whether the provider asks for keys. If not, a 401 or 403 says nothing about one.
    pub has_keys: bool,
    /// The adapters, one for each key, in the order of the keys.
    pub models: Vec<Arc<dyn Model>>,
    /// Where calls wait for room on these keys. Targets whose keys share limits share the line.
    pub line: Arc<CallLine>,
    /// How often this one is asked first, compared to the others.
    pub weight: u32,
    /// What tokens cost.
    pub price: Price,
}

/// A service that answers model calls, at one address.
pub struct Provider {
    /// As `config.toml` names it.
    pub name: Arc<str>,
    /// Whether it is in trouble.
    pub circuit: Circuit,
}

/// How long each part of a model call may take. Connecting is bounded by the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelTimeouts {
    /// From the request to the first sign of an answer.
    pub first_byte: Duration,
    /// Between two signs of life, be they pieces of the answer or not.
    pub idle: Duration,
    /// The whole call.
    pub call: Duration,
}

impl ModelRoute {
    /// Checks `model_options` of a run: every target must take them, as any may be asked.
    pub fn check_options(&self, options: &Map<String, Value>) -> Result<(), InvalidOption> {
        self.targets
            .iter()
            .filter_map(|target| target.models.first())
            .try_for_each(|model| model.check_options(options))
    }

    /// Whether no real model is ever asked.
    pub fn is_simulated(&self) -> bool {
        self.targets.iter().all(|target| target.is_simulated())
    }

    /// The targets in the order in which to ask them this time.
    pub(super) fn order(&self, mut random: impl FnMut() -> f64) -> Vec<Arc<Target>> {
        let mut left = self.targets.clone();
        if self.choice == Choice::Ordered {
            return left;
        }
        let mut order = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let total: f64 = left.iter().map(|target| f64::from(target.weight)).sum();
            let mut drawn = random() * total;
            let chosen = left.iter().position(|target| {
                drawn -= f64::from(target.weight);
                drawn < 0.0
            });
            // Weights of 0 are asked last, as they are listed.
            order.push(left.remove(chosen.unwrap_or(0)));
        }
        order
    }
}

impl Target {
    /// Whether a 429 tells of limits that its other calls share. One that was ordered of the simulated model tells nobody else anything.
    pub(super) fn has_limits(&self) -> bool {
        self.has_keys || !self.is_simulated()
    }

    /// Whether no real model is asked.
    pub fn is_simulated(&self) -> bool {
        self.models.first().is_some_and(|model| model.is_simulated())
    }
}

impl ModelRoute {
    /// A route to one model, without limits, a circuit breaker or a price.
    pub fn to(name: &str, model: Arc<dyn Model>, calls: CallSettings) -> Self {
        let name: Arc<str> = name.into();
        let key = LimitedKey {
            name: name.clone(),
            provider: name.clone(),
            limits: KeyLimits::default(),
        };
        let circuit = CircuitSettings {
            failures: 0,
            rest: Duration::ZERO,
            longest_rest: Duration::ZERO,
        };
        let target = Target {
            provider: Arc::new(Provider {
                name: name.clone(),
                circuit: Circuit::new(circuit),
            }),
            upstream_model: name.clone(),
            keys: Arc::new([key]),
            has_keys: false,
            models: vec![model],
            line: CallLine::new(Arc::new(LocalRateLimits::new(LimitTimes::default())), 0),
            weight: 1,
            price: Price::default(),
        };
        Self {
            name,
            targets: vec![Arc::new(target)],
            choice: Choice::Ordered,
            calls,
        }
    }
}
