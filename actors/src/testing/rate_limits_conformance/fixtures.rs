//! Keys, wishes, and a record of grants that tells whether a limit was passed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::event::ModelWaitingReason;
use crate::ports::RateLimits;
use crate::ports::model::{LimitHints, WindowHint};
use crate::ports::rate_limits::{Admission, CallEnd, Grant, KeyLimits, KeyUsage, LimitedKey, Wanted};

/// The provider of all keys of the suite.
pub(super) const PROVIDER: &str = "upstream";
/// Longer than any test takes.
pub(super) const LONG_LEASE: Duration = Duration::from_secs(3600);
/// By the real clock, also where time is paused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Limits of calls per minute.
pub fn calls(limit: u64) -> KeyLimits {
    KeyLimits {
        requests_per_minute: Some(limit),
        ..KeyLimits::default()
    }
}

pub(super) fn tokens(limit: u64) -> KeyLimits {
    KeyLimits {
        tokens_per_minute: Some(limit),
        ..KeyLimits::default()
    }
}

pub(super) fn concurrent(limit: u64) -> KeyLimits {
    KeyLimits {
        concurrent_calls: Some(limit),
        ..KeyLimits::default()
    }
}

/// A key of the suite's provider.
pub fn key(number: usize, limits: KeyLimits) -> LimitedKey {
    LimitedKey {
        name: format!("{PROVIDER}/{number}").into(),
        provider: PROVIDER.into(),
        limits,
    }
}

/// A call on one of these keys.
pub fn wanted(keys: &[LimitedKey], tokens: u64) -> Wanted {
    Wanted {
        keys: keys.into(),
        tokens,
        lease: LONG_LEASE,
    }
}

/// Takes room that must be there.
pub async fn granted(limits: &Arc<dyn RateLimits>, wanted: &Wanted) -> Grant {
    match limits.admit(wanted).await {
        Admission::Granted(grant) => grant,
        refusal => panic!("there should be room: {refusal:?}"),
    }
}

/// Asks for room that must not be there.
pub async fn not_yet(limits: &Arc<dyn RateLimits>, wanted: &Wanted) -> (Duration, ModelWaitingReason) {
    match limits.admit(wanted).await {
        Admission::NotYet { wait, reason } => {
            assert!(!wait.is_zero(), "a wait is never zero");
            (wait, reason)
        }
        other => panic!("there should be no room: {other:?}"),
    }
}

/// The provider answers, and the call has used so many tokens.
pub async fn end_call(limits: &Arc<dyn RateLimits>, grant: &Grant, tokens: u64) {
    limits.answered(grant, LimitHints::default()).await;
    limits.settle(grant, CallEnd::Used { tokens }).await;
}

/// Asks as often as it takes, as long as it is told to be patient.
pub(super) async fn granted_in_the_end(limits: &Arc<dyn RateLimits>, wanted: &Wanted) -> Grant {
    let begun = std::time::Instant::now();
    loop {
        match limits.admit(wanted).await {
            Admission::Granted(grant) => return grant,
            Admission::NotYet { wait, .. } => tokio::time::sleep(wait).await,
            other => panic!("there never will be room: {other:?}"),
        }
        assert!(begun.elapsed() < PATIENCE, "there never was room");
    }
}

pub(super) async fn usage(limits: &Arc<dyn RateLimits>, key: &LimitedKey) -> KeyUsage {
    let mut usage = limits.usage(std::slice::from_ref(key)).await;
    assert_eq!(usage.len(), 1);
    usage.remove(0)
}

/// Looks at the key until it is as wanted.
pub(super) async fn until(limits: &Arc<dyn RateLimits>, key: &LimitedKey, wanted: impl Fn(&KeyUsage) -> bool) {
    let begun = std::time::Instant::now();
    let looking_since = Instant::now();
    loop {
        let usage = usage(limits, key).await;
        if wanted(&usage) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "it never came to that: {usage:?}");
        let pause = looking_since.elapsed() / 50;
        tokio::time::sleep(pause.max(Duration::from_millis(5))).await;
    }
}

/// What a provider says of its calls per minute.
pub(super) fn calls_left(limit: u64, remaining: u64) -> LimitHints {
    LimitHints {
        requests: WindowHint {
            limit: Some(limit),
            remaining: Some(remaining),
            resets_in: None,
        },
        tokens: WindowHint::default(),
    }
}

/// What was granted, and when.
#[derive(Debug, Default)]
pub struct GrantedCalls(Mutex<Vec<Granted>>);

/// A call that was granted between two moments.
#[derive(Debug, Clone, Copy)]
pub struct Granted {
    /// Not before this.
    pub asked_at: Instant,
    /// Not after this.
    pub heard_at: Instant,
    /// How much of the limit it takes.
    pub amount: u64,
}

impl GrantedCalls {
    /// A call that was asked for at this moment was granted just now.
    pub fn add(&self, asked_at: Instant, amount: u64) {
        let heard_at = Instant::now();
        let granted = Granted {
            asked_at,
            heard_at,
            amount,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(granted);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The most that was granted, for certain, within any time of this length.
    pub fn most_within(&self, window: Duration) -> u64 {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        calls.sort_unstable_by_key(|call| call.asked_at);
        let mut most = 0;
        for (place, first) in calls.iter().enumerate() {
            let until = first.asked_at + window;
            let later = calls[place..].iter().take_while(|call| call.asked_at < until);
            let within = later.filter(|call| call.heard_at < until).map(|call| call.amount);
            most = most.max(within.sum());
        }
        most
    }
}
