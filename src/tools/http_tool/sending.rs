//! When a request is sent again, and after how long.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use callboard_actors::ids::AccountId;
use callboard_actors::ports::{RetryClass, ToolError};
use reqwest::StatusCode;
use reqwest::header::RETRY_AFTER;

use super::DeclaredHttpTool;
use crate::outbound::{OutboundAnswer, OutboundError, OutboundRequest};

/// Tries of a call that may be repeated, the first included.
const MOST_TRIES: usize = 5;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// A server that wants to be left alone for longer than this is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl DeclaredHttpTool {
    /// Sends it, again if that is right and there is hope. Whoever calls bounds the time.
    pub(super) async fn answer(
        &self,
        request: &OutboundRequest,
        account: &AccountId,
        key: &str,
    ) -> Result<OutboundAnswer, ToolError> {
        let mut waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(MOST_TRIES - 1)
            .with_jitter()
            .build();
        let mut may_be_done = false;
        loop {
            let mut signed = request.clone();
            self.sign(&mut signed, account, key)?;
            let outcome = self.reach.outbound.fetch(signed, self.declaration.timeout).await;
            may_be_done |= outcome.as_ref().is_err_and(OutboundError::may_have_been_done);
            let wait = match &outcome {
                Ok(answer) if self.is_worth_another_try(answer.status) => {
                    let wanted = retry_after(answer);
                    let wait = waits.next().map(|wait| wanted.map_or(wait, |wanted| wanted.max(wait)));
                    wait.filter(|wait| *wait <= LONGEST_WAIT)
                }
                Err(error) if self.may_follow(error) => waits.next(),
                _ => None,
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return outcome.map_err(|error| self.told(&error, may_be_done)),
            }
        }
    }

    /// What the model is told if there is no answer. Of a call that changes something it has to know that it may have been done.
    fn told(&self, error: &OutboundError, may_be_done: bool) -> ToolError {
        if may_be_done && self.declaration.retry != RetryClass::Safe {
            return ToolError::new(format!("{error}; it is not known whether the call was done"));
        }
        ToolError::new(error.to_string())
    }

    fn is_repeatable(&self) -> bool {
        matches!(self.declaration.retry, RetryClass::Safe | RetryClass::Idempotent)
    }

    fn is_worth_another_try(&self, status: StatusCode) -> bool {
        let passes = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        passes && self.is_repeatable()
    }

    fn may_follow(&self, error: &OutboundError) -> bool {
        error.may_pass() && (self.is_repeatable() || error.nothing_was_sent())
    }
}

/// Whole seconds; dates are not understood.
fn retry_after(answer: &OutboundAnswer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}
