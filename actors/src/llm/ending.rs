//! How a try has ended: what the limits, the circuit and the metrics are told of it, and whose fault a 403 was.

use std::sync::Arc;

use super::attempt::end_of_answer;
use super::grant::GrantHold;
use super::progress::CallInProgress;
use super::route::Target;
use crate::item::Usage;
use crate::ports::rate_limits::CallEnd;
use crate::ports::{ModelDelta, ModelError, ModelErrorKind};

/// Keys that were answered 403: their grants, which are settled when it is known whose fault that was. Another key of the provider that is
/// answered puts it on the key; another that is refused likewise puts it on the request. Nobody else can tell: a key may not be
/// set aside for everybody because of what one of them asks for.
#[derive(Default)]
pub(super) struct Suspects(Vec<(Arc<str>, GrantHold)>);

impl Suspects {
    /// Takes a key in; `false` if it is not the first of its provider: then no key of it is to be tried any more.
    pub(super) fn take_in(&mut self, provider: &Arc<str>, grant: GrantHold) -> bool {
        let is_first = self.0.iter().all(|(other, _)| other != provider);
        self.0.push((provider.clone(), grant));
        is_first
    }

    pub(super) fn have(&self, key_name: &str) -> bool {
        self.0.iter().any(|(_, grant)| **grant.key_name() == *key_name)
    }

    /// What was asked for was done with another key of this provider: those that may not do it are set aside.
    pub(super) fn answered_at(&mut self, provider: &Arc<str>) {
        for (_, grant) in self.0.extract_if(.., |(other, _)| other == provider) {
            grant.settle(CallEnd::KeyRefused);
        }
    }
}

impl Drop for Suspects {
    fn drop(&mut self) {
        for (_, grant) in self.0.drain(..) {
            grant.settle(CallEnd::Used { tokens: 0 });
        }
    }
}

pub(super) fn end_of_answered(last_pieces: &[ModelDelta]) -> CallEnd {
    match end_of_answer(last_pieces) {
        Some((_, usage)) if usage != Usage::default() => CallEnd::Used { tokens: usage.total() },
        _ => CallEnd::Unknown,
    }
}

pub(super) fn end_of(error: &ModelError, target: &Target, was_shown: bool) -> CallEnd {
    if error.is_rate_limited() && target.has_limits() {
        return CallEnd::RateLimited {
            retry_after: error.retry_after,
            hints: *error.hints,
        };
    }
    if error.is_key_refused() && target.has_keys {
        return CallEnd::KeyRefused;
    }
    match error.kind {
        _ if was_shown => CallEnd::Unknown,
        _ if error.is_too_large() => CallEnd::TooLarge { hints: *error.hints },
        // It has answered: it took the call, and used no tokens.
        ModelErrorKind::Status(_) => CallEnd::Used { tokens: 0 },
        ModelErrorKind::Connection | ModelErrorKind::Timeout | ModelErrorKind::Protocol => CallEnd::Unknown,
    }
}

pub(super) fn note_failure(target: &Target, error: &ModelError) {
    if !error.is_upstream_trouble() {
        return target.provider.circuit.succeeded();
    }
    if target.provider.circuit.failed() {
        tracing::warn!(provider = %target.provider.name, %error, "a model provider fails again and again; it is left alone for a while");
    }
}

pub(super) fn note_call(target: &Target, call: &CallInProgress, end: &Result<Vec<ModelDelta>, ModelError>) {
    let outcome = match end {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.kind {
            ModelErrorKind::Status(status) => status.to_string(),
            ModelErrorKind::Connection => "connection".to_owned(),
            ModelErrorKind::Timeout => "timeout".to_owned(),
            ModelErrorKind::Protocol => "protocol".to_owned(),
        },
    };
    let provider = target.provider.name.to_string();
    metrics::counter!("callboard_model_calls_total", "provider" => provider.clone(), "outcome" => outcome).increment(1);
    metrics::histogram!("callboard_model_call_seconds", "provider" => provider).record(call.elapsed());
}
