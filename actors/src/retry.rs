//! When a model call is made again, and after how long.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::ports::ModelError;

/// How often and how patiently a model call is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries in all, the first included; at least 1.
    pub max_attempts: u32,
    /// The wait after the first failure; doubles each time, with jitter.
    pub initial_backoff: Duration,
    /// The longest wait. A provider that asks for more than this is not asked again.
    pub maximum_backoff: Duration,
}

/// The tries of one model call.
#[derive(Debug)]
pub struct Attempts {
    policy: RetryPolicy,
    made: u32,
    delays: ExponentialBackoff,
}

impl Attempts {
    /// No try was made yet.
    pub fn new(policy: RetryPolicy) -> Self {
        let delays = ExponentialBuilder::default()
            .with_min_delay(policy.initial_backoff)
            .with_max_delay(policy.maximum_backoff)
            .with_jitter()
            .without_max_times()
            .build();
        Self {
            policy,
            made: 0,
            delays,
        }
    }

    /// Counts a try; the first is 1.
    pub fn begin(&mut self) -> u32 {
        self.made += 1;
        self.made
    }

    /// How long to wait before the next try, or `None` if there should be none: the error will not pass, the tries are used
    /// up, or the provider wants a longer wait than we are ready for.
    pub fn next_delay(&mut self, error: &ModelError) -> Option<Duration> {
        if !error.is_retryable() || self.made >= self.policy.max_attempts {
            return None;
        }
        let delay = self.delays.next()?.min(self.policy.maximum_backoff);
        match error.retry_after {
            Some(wanted) if wanted > self.policy.maximum_backoff => None,
            Some(wanted) => Some(wanted.max(delay)),
            None => Some(delay),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::ModelErrorKind;

    const POLICY: RetryPolicy = RetryPolicy {
        max_attempts: 3,
        initial_backoff: Duration::from_millis(100),
        maximum_backoff: Duration::from_secs(10),
    };

    fn after_one_try(error: &ModelError) -> Option<Duration> {
        let mut attempts = Attempts::new(POLICY);
        attempts.begin();
        attempts.next_delay(error)
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in 400..600 {
            let error = ModelError::new(ModelErrorKind::Status(status), "no");
            let retryable = matches!(status, 408 | 409 | 429) || status >= 500;
            assert_eq!(after_one_try(&error).is_some(), retryable, "{status}");
        }
        assert!(after_one_try(&ModelError::new(ModelErrorKind::Connection, "gone")).is_some());
        assert!(after_one_try(&ModelError::new(ModelErrorKind::Timeout, "slow")).is_some());
        assert!(after_one_try(&ModelError::new(ModelErrorKind::Protocol, "what")).is_none());
    }

    #[test]
    fn tries_are_counted() {
        let error = ModelError::new(ModelErrorKind::Connection, "gone");
        let mut attempts = Attempts::new(POLICY);
        let mut made = 0;
        loop {
            made = attempts.begin().max(made);
            if attempts.next_delay(&error).is_none() {
                break;
            }
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn a_provider_that_says_when_is_obeyed_within_reason() {
        let mut error = ModelError::new(ModelErrorKind::Status(429), "slow down");
        error.retry_after = Some(Duration::from_secs(7));
        assert_eq!(after_one_try(&error), Some(Duration::from_secs(7)));
        error.retry_after = Some(Duration::from_secs(11));
        assert_eq!(after_one_try(&error), None);
    }
}
