//! The limits of one key, kept to exactly. Decides from what it is told, the time included; knows no clock and no HTTP.
//!
//! Tokens count when a call is let in, as what it may use at most, and are corrected when it ends, at the moment it was let in. A call that
//! is refused counts for nothing.

mod window;

use std::time::Duration;

use callboard_actors::ports::rate_limits::KeyLimits;

use window::CallWindow;

/// What a key has used, and whether it may use more.
#[derive(Debug)]
pub(super) struct KeyLimiter {
    limits: KeyLimits,
    window: CallWindow,
    concurrent_calls: u64,
}

/// A call that was let in, for [`KeyLimiter::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LetInCall(u64);

/// Why a call was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LimitReached {
    /// Calls per minute, and how long until one more is allowed.
    Requests { wait: Duration },
    /// Tokens per minute, and how long until so many are allowed.
    Tokens { wait: Duration },
    /// No minute allows so many tokens, or any call at all: waiting does not help.
    TooLarge,
    /// Calls at the same time; who knows when one ends.
    ConcurrentCalls,
}

/// How things stand with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) limits: KeyLimits,
    pub(super) requests: Used,
    pub(super) tokens: Used,
    pub(super) concurrent_calls: u64,
}

/// What is in use of a limit per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) amount: u64,
    /// When nothing of it will be in use any more.
    pub(super) resets_in: Duration,
}

impl Used {
    pub(super) fn remaining(self, limit: u64) -> u64 {
        limit.saturating_sub(self.amount)
    }
}

impl KeyLimiter {
    /// `minute` is how long what is used counts.
    pub(super) fn new(limits: KeyLimits, minute: Duration) -> Self {
        Self {
            limits,
            window: CallWindow::new(minute),
            concurrent_calls: 0,
        }
    }

    /// Other limits from now on; what has been used stays used.
    pub(super) fn set_limits(&mut self, limits: KeyLimits) {
        self.limits = limits;
    }

    /// Lets a call in that may use so many tokens, or says why not.
    pub(super) fn let_in(&mut self, now: Duration, tokens: u64) -> Result<LetInCall, LimitReached> {
        self.window.advance(now);
        if let Some(limit) = self.limits.concurrent_calls
            && self.concurrent_calls >= limit
        {
            return Err(LimitReached::ConcurrentCalls);
        }
        let wait_for_call = match self.limits.requests_per_minute {
            Some(limit) => self.window.room_for_call_in(now, limit),
            None => Some(Duration::ZERO),
        };
        let wait_for_tokens = match self.limits.tokens_per_minute {
            Some(limit) => self.window.room_for_tokens_in(now, limit, tokens),
            None => Some(Duration::ZERO),
        };
        let (Some(wait_for_call), Some(wait_for_tokens)) = (wait_for_call, wait_for_tokens) else {
            return Err(LimitReached::TooLarge);
        };
        let wait = wait_for_call.max(wait_for_tokens);
        if !wait.is_zero() {
            return Err(if wait == wait_for_call {
                LimitReached::Requests { wait }
            } else {
                LimitReached::Tokens { wait }
            });
        }
        self.concurrent_calls += 1;
        Ok(LetInCall(self.window.let_in(now, tokens)))
    }

    /// A call has ended and used so many tokens. Once per call.
    pub(super) fn settle(&mut self, call: LetInCall, tokens: u64) {
        self.concurrent_calls -= 1;
        self.window.correct(call.0, tokens);
    }

    pub(super) fn standing(&mut self, now: Duration) -> Standing {
        self.window.advance(now);
        Standing {
            limits: self.limits,
            requests: Used {
                amount: self.window.requests(),
                resets_in: self.window.no_calls_in(now),
            },
            tokens: Used {
                amount: self.window.tokens(),
                resets_in: self.window.no_tokens_in(now),
            },
            concurrent_calls: self.concurrent_calls,
        }
    }
}

#[cfg(test)]
mod tests;
