//! When a server that failed is tried again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// The wait after the second failure in a row; it doubles with each. After the first there is none.
const FIRST_DELAY: Duration = Duration::from_millis(500);

const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Failures of a server in a row.
#[derive(Debug)]
pub(super) struct Restarts {
    failures: u32,
    delays: ExponentialBackoff,
    not_before: Option<Instant>,
}

impl Default for Restarts {
    fn default() -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(FIRST_DELAY)
            .with_max_delay(LONGEST_DELAY)
            .with_jitter()
            .without_max_times()
            .build();
        Self {
            failures: 0,
            delays,
            not_before: None,
        }
    }
}

impl Restarts {
    /// It failed once more.
    pub(super) fn failed(&mut self) {
        self.failures += 1;
        let delay = if self.failures == 1 {
            Duration::ZERO
        } else {
            self.delays.next().unwrap_or(LONGEST_DELAY)
        };
        self.not_before = Some(Instant::now() + delay);
    }

    /// It has shown that it works.
    pub(super) fn worked(&mut self) {
        if self.failures > 0 {
            *self = Self::default();
        }
    }

    /// How long it has to be left alone yet.
    pub(super) fn rest(&self) -> Duration {
        self.not_before
            .map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_costs_nothing_and_each_further_one_more() {
        let mut restarts = Restarts::default();
        restarts.failed();
        assert_eq!(restarts.rest(), Duration::ZERO);
        restarts.failed();
        assert!(restarts.rest() >= FIRST_DELAY, "{:?}", restarts.rest());
        for _ in 0..20 {
            restarts.failed();
        }
        let rest = restarts.rest();
        assert!(rest >= LONGEST_DELAY && rest <= LONGEST_DELAY * 3, "{rest:?}");
        tokio::time::advance(rest).await;
        assert_eq!(restarts.rest(), Duration::ZERO);
        restarts.worked();
        restarts.failed();
        assert_eq!(restarts.rest(), Duration::ZERO);
    }
}
