//! Whether there is room on a key, and how much.

use std::time::Duration;

use tokio::time::Instant;

use super::super::obstacle::Obstacle;
use super::super::recent_use::PerMinute;
use super::Key;
use crate::event::ModelWaitingReason;
use crate::ports::rate_limits::may_fit;

/// When to ask again if only calls under way are in the way.
pub const SHORT_WAIT: Duration = Duration::from_millis(250);

/// Whether a call can be made on a key now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) enum Room {
    There(Roominess),
    Not(Obstacle),
}

/// How much room there is: what makes one key better than another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Roominess {
    /// Of the limit with the smallest share of room; 1 if there is none.
    pub(in super::super) share: f64,
    pub(in super::super) under_way: usize,
    pub(in super::super) recent: u64,
}

impl Roominess {
    pub(in super::super) fn is_better_than(&self, other: &Self) -> bool {
        let load = |room: &Self| (room.under_way, room.recent);
        self.share > other.share || (self.share == other.share && load(self) < load(other))
    }
}

impl Key {
    /// Whether there is room for a call that would use so many tokens.
    pub(in super::super) fn room(&self, now: Instant, tokens: u64, instances: u32) -> Room {
        let limits = self.limits(instances);
        if let Some(until_retried) = self.resting.refused_for(now) {
            return Room::Not(Obstacle::KeyRefused { until_retried });
        }
        if let Some(limit) = self.limit_that_rules_out(now, tokens) {
            return Room::Not(Obstacle::NeverFits { limit });
        }
        if self.resting.is_tried() {
            return Room::Not(Obstacle::NotYet {
                wait: SHORT_WAIT,
                reason: ModelWaitingReason::CoolingDown,
            });
        }
        let mut share = 1.0_f64;
        let mut blocked: Option<(Duration, ModelWaitingReason)> = None;
        let mut block = |wait: Duration, reason| {
            if blocked.is_none_or(|(longest, _)| wait > longest) {
                blocked = Some((wait, reason));
            }
        };
        if let Some(cooling) = self.resting.cooling_for(now) {
            block(cooling, ModelWaitingReason::CoolingDown);
        }
        let per_minute = [
            (
                PerMinute::Calls,
                limits.requests_per_minute,
                1,
                ModelWaitingReason::RequestsPerMinute,
            ),
            (
                PerMinute::Tokens,
                limits.tokens_per_minute,
                tokens,
                ModelWaitingReason::TokensPerMinute,
            ),
        ];
        for (which, limit, wanted, reason) in per_minute {
            let Some(limit) = limit else { continue };
            let used = self.used(now, which);
            let too_much = used.saturating_add(wanted.min(limit)).saturating_sub(limit);
            if limit == 0 {
                block(self.times.refused_key_rest, reason);
            } else if too_much > 0 {
                block(self.gone_in(now, which, too_much), reason);
            } else {
                share = share.min((limit - used) as f64 / limit as f64);
            }
        }
        let under_way = self.leases.len();
        if self.resting.is_careful() {
            block(SHORT_WAIT, ModelWaitingReason::CoolingDown);
        }
        if let Some(limit) = limits.concurrent_calls {
            let used = under_way as u64;
            if used >= limit {
                block(SHORT_WAIT, ModelWaitingReason::ConcurrentCalls);
            } else {
                share = share.min((limit - used) as f64 / limit as f64);
            }
        }
        match blocked {
            Some((wait, reason)) => Room::Not(Obstacle::NotYet { wait, reason }),
            None => Room::There(Roominess {
                share,
                under_way,
                recent: self.used(now, PerMinute::Calls),
            }),
        }
    }

    /// The limit of tokens a minute under which a call of so many can never be made. The whole limit, whoever shares it.
    fn limit_that_rules_out(&self, now: Instant, tokens: u64) -> Option<u64> {
        let told_lately = |at: Instant| now.saturating_duration_since(at) < self.times.told_limit_rules_out_for;
        let is_told_lately = self.tokens_told_at.is_some_and(told_lately);
        let told = self.told.tokens_per_minute.filter(|_| is_told_lately);
        let limit = self.set.tokens_per_minute.into_iter().chain(told).min()?;
        (!may_fit(tokens, limit)).then_some(limit)
    }

    /// When so much of what is used will not count any more, if nothing comes between.
    fn gone_in(&self, now: Instant, which: PerMinute, amount: u64) -> Duration {
        let others = self.others(which);
        let with_others = self.answered.gone_in(now, which, amount);
        let rest = amount.saturating_sub(others.amount(now));
        let without = self
            .answered
            .gone_in(now, which, rest)
            .map(|ours| ours.max(others.gone_in(now)));
        // Else calls under way are in the way.
        with_others.into_iter().chain(without).min().unwrap_or(SHORT_WAIT)
    }
}
