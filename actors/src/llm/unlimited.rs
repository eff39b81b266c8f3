//! Limits that limit nothing: for models that ask nobody.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::circuit::{Circuit, CircuitSettings};
use super::line::CallLine;
use super::price::Price;
use super::route::{CallSettings, Choice, ModelRoute, Provider, Target};
use crate::ports::model::LimitHints;
use crate::ports::rate_limits::{Admission, CallEnd, Grant, KeyLimits, KeyUsage, LimitedKey, LimitsReach, Wanted};
use crate::ports::{Model, RateLimits};

/// Grants everything and counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unlimited;

#[async_trait]
impl RateLimits for Unlimited {
    async fn admit(&self, wanted: &Wanted) -> Admission {
        let key = &wanted.keys[0];
        Admission::Granted(Grant {
            id: Uuid::nil(),
            key: 0,
            key_name: key.name.clone(),
            provider: key.provider.clone(),
            tokens: wanted.tokens,
        })
    }

    async fn answered(&self, _grant: &Grant, _hints: LimitHints) {}

    async fn settle(&self, _grant: &Grant, _end: CallEnd) {}

    async fn usage(&self, keys: &[LimitedKey]) -> Vec<KeyUsage> {
        keys.iter().map(|_| KeyUsage::default()).collect()
    }

    fn reach(&self) -> LimitsReach {
        LimitsReach::Instance
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
            line: CallLine::new(Arc::new(Unlimited), 0),
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
