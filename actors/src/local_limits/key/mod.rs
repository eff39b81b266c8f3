//! One key: what was granted on it and what its provider said. Whether there is room is decided in [`room`].

mod room;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

pub use self::room::SHORT_WAIT;
pub(super) use self::room::{Room, Roominess};
use super::LimitTimes;
use super::others_use::OthersUse;
use super::recent_use::{Amount, PartNumber, PerMinute, RecentUse};
use super::resting::{CoolingNumber, Resting};
use crate::ports::model::{LimitHints, WindowHint};
use crate::ports::rate_limits::{CallEnd, KeyLimits, KeyUsage};

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Key {
    times: LimitTimes,
    /// What the operator set, as far as was heard.
    set: KeyLimits,
    /// What the provider says its limits are.
    told: KeyLimits,
    /// When it last said so of its tokens.
    tokens_told_at: Option<Instant>,
    answered: RecentUse,
    /// All that was ever answered.
    answered_ever: Amount,
    on_their_way: Amount,
    calls: HashMap<Uuid, Call>,
    leases: BTreeSet<(Instant, Uuid)>,
    others_calls: OthersUse,
    others_tokens: OthersUse,
    resting: Resting,
}

/// A call that is not settled.
#[derive(Debug)]
struct Call {
    granted_by: GrantedBy,
    tokens: u64,
    lease_until: Instant,
    answered: Option<PartNumber>,
    coolings: CoolingNumber,
    /// What had ever been answered when it was granted: that the provider had counted before this call, for certain.
    answered_before: Amount,
}

/// Who granted a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GrantedBy {
    Us,
    SomebodyElse,
}

impl Key {
    pub(super) fn new(now: Instant, times: LimitTimes) -> Self {
        Self {
            times,
            set: KeyLimits::default(),
            told: KeyLimits::default(),
            tokens_told_at: None,
            answered: RecentUse::new(now, times.window),
            answered_ever: Amount::default(),
            on_their_way: Amount::default(),
            calls: HashMap::new(),
            leases: BTreeSet::new(),
            others_calls: OthersUse::default(),
            others_tokens: OthersUse::default(),
            resting: Resting::default(),
        }
    }

    /// Lets go what is over: old use, and grants that nobody settled.
    pub(super) fn move_on(&mut self, now: Instant) {
        self.answered.forget_old(now);
        while let Some((until, id)) = self.leases.first().copied() {
            if until > now {
                return;
            }
            self.leases.pop_first();
            self.end(now, id, Some);
            self.resting.nothing_found_out(id);
        }
    }

    /// What counts in each minute: the operator's limits, or the provider's where they are lower; this instance's share of them.
    pub(super) fn limits(&self, instances: u32) -> KeyLimits {
        let share = |limit: u64| (limit / u64::from(instances.max(1))).max(limit.min(1));
        let lower = |set: Option<u64>, told: Option<u64>| set.into_iter().chain(told).min();
        KeyLimits {
            requests_per_minute: lower(self.set.requests_per_minute, self.told.requests_per_minute).map(share),
            tokens_per_minute: lower(self.set.tokens_per_minute, self.told.tokens_per_minute).map(share),
            concurrent_calls: self.set.concurrent_calls.map(share),
        }
    }

    /// The operator's limits: they may be others than last time.
    pub(super) fn set(&mut self, limits: KeyLimits) {
        self.set = limits;
    }

    /// What a call that wants so many tokens would hold.
    pub(super) fn holding(&self, tokens: u64) -> u64 {
        self.limits(1)
            .tokens_per_minute
            .map_or(tokens, |limit| tokens.min(limit))
    }

    /// A call is granted.
    pub(super) fn grant(&mut self, now: Instant, id: Uuid, tokens: u64, lease: Duration, granted_by: GrantedBy) {
        let call = Call {
            granted_by,
            tokens,
            lease_until: now + lease,
            answered: None,
            coolings: self.resting.number_a_call(),
            answered_before: self.answered_ever,
        };
        self.on_their_way = self.on_their_way.plus(Amount::of_call(tokens));
        self.leases.insert((call.lease_until, id));
        self.calls.insert(id, call);
        self.resting.granted(id);
    }

    /// Who granted a call that is under way.
    pub(super) fn granted_by(&self, id: Uuid) -> Option<GrantedBy> {
        self.calls.get(&id).map(|call| call.granted_by)
    }

    pub(super) fn answered(&mut self, now: Instant, id: Uuid, hints: LimitHints, instances: u32) {
        self.told(now, hints);
        let Some(call) = self.calls.get_mut(&id).filter(|call| call.answered.is_none()) else {
            return;
        };
        self.resting.was_answered(call.coolings);
        let amount = Amount::of_call(call.tokens);
        call.answered = Some(self.answered.add(now, amount));
        let meanwhile = self.answered_ever.minus(call.answered_before);
        self.on_their_way = self.on_their_way.minus(amount);
        self.answered_ever = self.answered_ever.plus(amount);
        self.heard_what_is_left(now, hints, meanwhile, instances);
        self.resting.key_was_taken(id);
    }

    pub(super) fn settle(&mut self, now: Instant, id: Uuid, end: CallEnd, instances: u32) {
        let call = self.calls.get(&id);
        let granted_at = call.map(|call| call.coolings);
        let meanwhile = call.map(|call| self.answered_ever.minus(call.answered_before));
        match end {
            CallEnd::Used { tokens } => {
                if let Some(call) = call.filter(|call| call.answered.is_none()) {
                    self.resting.was_answered(call.coolings);
                }
                self.end(now, id, |_| Some(tokens));
                self.resting.key_was_taken(id);
            }
            CallEnd::Unknown => {
                self.end(now, id, Some);
                self.resting.nothing_found_out(id);
            }
            CallEnd::NotMade => {
                self.end(now, id, |_| None);
                self.resting.nothing_found_out(id);
            }
            CallEnd::RateLimited { hints, .. } | CallEnd::TooLarge { hints } => {
                self.end(now, id, |_| Some(0));
                self.resting.key_was_taken(id);
                self.told(now, hints);
                if let Some(meanwhile) = meanwhile {
                    self.heard_what_is_left(now, hints, meanwhile, instances);
                }
                if let CallEnd::RateLimited { retry_after, .. } = end {
                    self.resting.cool_down(now, granted_at, retry_after, &self.times);
                }
            }
            CallEnd::KeyRefused => {
                self.end(now, id, |_| Some(0));
                self.resting.refuse(now, self.times.refused_key_rest);
            }
        }
    }

    pub(super) fn usage(&self, now: Instant, instances: u32) -> KeyUsage {
        KeyUsage {
            limits: self.limits(instances),
            requests: self.used(now, PerMinute::Calls),
            tokens: self.used(now, PerMinute::Tokens),
            concurrent_calls: self.leases.len() as u64,
            cooling_for: self.resting.cooling_for(now),
            refused_for: self.resting.refused_for(now),
        }
    }

    /// The call is over: it was made and used so many tokens of those reserved, or it was not made.
    fn end(&mut self, now: Instant, id: Uuid, used: impl FnOnce(u64) -> Option<u64>) {
        let Some(call) = self.calls.remove(&id) else {
            return;
        };
        self.leases.remove(&(call.lease_until, id));
        self.resting.ended(call.coolings);
        let reserved = Amount::of_call(call.tokens);
        let used = used(call.tokens).map_or(Amount::default(), Amount::of_call);
        match call.answered {
            Some(part) => self.answered.correct(part, reserved, used),
            None => {
                self.on_their_way = self.on_their_way.minus(reserved);
                self.answered_ever = self.answered_ever.plus(used);
                self.answered.add(now, used);
            }
        }
    }

    fn told(&mut self, now: Instant, hints: LimitHints) {
        // A limit of 0 is how some say that there is none.
        let limit = |hint: WindowHint| hint.limit.filter(|limit| *limit > 0);
        if limit(hints.tokens).is_some() {
            self.tokens_told_at = Some(now);
        }
        self.told.requests_per_minute = limit(hints.requests).or(self.told.requests_per_minute);
        self.told.tokens_per_minute = limit(hints.tokens).or(self.told.tokens_per_minute);
    }

    /// What the provider says is left, to one of ours since whose grant so much was answered.
    fn heard_what_is_left(&mut self, now: Instant, hints: LimitHints, meanwhile: Amount, instances: u32) {
        let limits = self.limits(instances);
        let certain = self.answered.sum().minus(meanwhile);
        let at_most = self.answered.sum().plus(self.on_their_way);
        let words = [
            (PerMinute::Calls, limits.requests_per_minute, hints.requests),
            (PerMinute::Tokens, limits.tokens_per_minute, hints.tokens),
        ];
        for (which, limit, hint) in words {
            let (Some(limit), Some(left)) = (limit, hint.remaining) else {
                continue;
            };
            let used = limit.saturating_sub(left);
            let forgotten_in = hint
                .resets_in
                .map_or(self.times.window, |all| all.min(self.times.window));
            let others = match which {
                PerMinute::Calls => &mut self.others_calls,
                PerMinute::Tokens => &mut self.others_tokens,
            };
            let least = used.saturating_sub(at_most.of(which));
            let most = used.saturating_sub(certain.of(which));
            others.heard(now, least, most, forgotten_in);
        }
    }

    fn others(&self, which: PerMinute) -> &OthersUse {
        match which {
            PerMinute::Calls => &self.others_calls,
            PerMinute::Tokens => &self.others_tokens,
        }
    }

    fn used(&self, now: Instant, which: PerMinute) -> u64 {
        let ours = self.answered.sum().plus(self.on_their_way).of(which);
        ours.saturating_add(self.others(which).amount(now))
    }
}
