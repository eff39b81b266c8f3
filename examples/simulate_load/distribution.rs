//! Many durations in little memory.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// Durations, microseconds, to three digits.
#[derive(Clone)]
pub(crate) struct Distribution {
    pub(crate) name: &'static str,
    histogram: Histogram<u64>,
}

impl Distribution {
    pub(crate) fn new(name: &'static str) -> Self {
        let histogram = Histogram::new(3).expect("three digits are supported");
        Self { name, histogram }
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        // It cannot fail: the histogram grows as it must.
        let _ = self.histogram.record(micros);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        // As above.
        let _ = self.histogram.add(&other.histogram);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// The duration, in ms, that this part (0 to 1) of all stay at or under.
    pub(crate) fn milliseconds_at(&self, part: f64) -> f64 {
        self.histogram.value_at_quantile(part) as f64 / 1000.0
    }

    /// For charts: nines of the part that stays under (1 is 90 %, 2 is 99 %, …) and ms.
    pub(crate) fn curve(&self) -> Vec<(f64, f64)> {
        // A nine more needs ten times as many values to mean something.
        let nines = (self.histogram.len() as f64).log10().max(0.0);
        (0_u32..)
            .map(|step| f64::from(step) * 0.05)
            .take_while(|place| *place <= nines)
            .map(|place| (place, self.milliseconds_at(1.0 - 10_f64.powf(-place)).max(0.001)))
            .collect()
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "count": self.histogram.len(),
            "unit": "ms",
            "mean": self.histogram.mean() / 1000.0,
            "p50": self.milliseconds_at(0.50),
            "p95": self.milliseconds_at(0.95),
            "p99": self.milliseconds_at(0.99),
            "max": self.histogram.max() as f64 / 1000.0,
        })
    }
}
