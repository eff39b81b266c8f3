//! [`RateLimits`] of one process: exact, in memory, and by a clock that tests can pause.
//!
//! What is kept of a key does not grow with the number of calls that were made, only with those under way: the last window is kept in 120
//! parts, each of which counts until all of it is older than the window. So of a limit at most 1 % stays unused, and none of it is
//! ever used twice.

mod key;
mod obstacle;
mod others_use;
mod recent_use;
mod resting;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

pub use self::key::SHORT_WAIT;
use self::key::{GrantedBy, Key, Room, Roominess};
pub use self::obstacle::Obstacle;
pub use self::resting::{LEAST_COOLING, LONGEST_COOLING};
use crate::ports::RateLimits;
use crate::ports::model::LimitHints;
use crate::ports::rate_limits::{
    Admission, CallEnd, Grant, KeyUsage, LONGEST_USUAL_COOLING, LimitedKey, LimitsReach, REFUSED_KEY_REST,
    TOLD_LIMIT_RULES_OUT_FOR, USUAL_COOLING, WINDOW, Wanted,
};

/// The times of the contract; tests make them short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitTimes {
    /// What "per minute" means.
    pub window: Duration,
    /// How long a key that was refused is not used.
    pub refused_key_rest: Duration,
    /// How long a key that met a 429 is not used at first, if the provider does not say.
    pub usual_cooling: Duration,
    /// How long it is not used at most, if the provider does not say.
    pub longest_usual_cooling: Duration,
    /// For how long a limit that only the provider told of rules out calls that are larger.
    pub told_limit_rules_out_for: Duration,
}

impl Default for LimitTimes {
    fn default() -> Self {
        Self {
            window: WINDOW,
            refused_key_rest: REFUSED_KEY_REST,
            usual_cooling: USUAL_COOLING,
            longest_usual_cooling: LONGEST_USUAL_COOLING,
            told_limit_rules_out_for: TOLD_LIMIT_RULES_OUT_FOR,
        }
    }
}

/// Rate limits of this process.
#[derive(Debug)]
pub struct LocalRateLimits {
    times: LimitTimes,
    /// How many share the limits, if more than this process do.
    instances: Option<Arc<AtomicU32>>,
    keys: Mutex<HashMap<Arc<str>, Key>>,
}

impl LocalRateLimits {
    /// Limits that nobody else uses.
    pub fn new(times: LimitTimes) -> Self {
        Self {
            times,
            instances: None,
            keys: Mutex::default(),
        }
    }

    /// This instance's share of limits that so many use at this moment (0 counts as 1): of each limit, the same part for every one, at least 1.
    /// A call that wants more tokens than the share counts with all of them, and waits for an empty minute.
    pub fn sharing_with(instances: Arc<AtomicU32>, times: LimitTimes) -> Self {
        Self {
            instances: Some(instances),
            ..Self::new(times)
        }
    }

    /// Counts a call that was granted elsewhere, whether there is room for it or not. It is answered and settled like any other.
    pub fn adopt(&self, grant: &Grant, key: &LimitedKey, lease: Duration) {
        let now = Instant::now();
        let mut keys = self.lock();
        let key = self.key(&mut keys, key, now);
        key.grant(now, grant.id, grant.tokens, lease, GrantedBy::SomebodyElse);
    }

    /// [`LocalRateLimits::adopt`] if there is room for it. Answers whether there was.
    pub fn adopt_if_room(&self, grant: &Grant, key: &LimitedKey, lease: Duration) -> bool {
        let (now, instances) = (Instant::now(), self.instances());
        let mut keys = self.lock();
        let key = self.key(&mut keys, key, now);
        let room = key.room(now, grant.tokens, instances);
        let is_there = matches!(room, Room::There(_));
        if is_there {
            key.grant(now, grant.id, grant.tokens, lease, GrantedBy::SomebodyElse);
        }
        is_there
    }

    /// What is in the way of a call on each of its keys, in their order: `None` where there is room. Counts nothing.
    pub fn obstacles(&self, wanted: &Wanted) -> Vec<Option<Obstacle>> {
        let (now, instances) = (Instant::now(), self.instances());
        let mut keys = self.lock();
        let rooms = wanted.keys.iter().map(|key| {
            let key = self.key(&mut keys, key, now);
            match key.room(now, wanted.tokens, instances) {
                Room::There(_) => None,
                Room::Not(obstacle) => Some(obstacle),
            }
        });
        rooms.collect()
    }

    /// [`RateLimits::admit`], which waits for nothing.
    pub fn admit_now(&self, wanted: &Wanted) -> Admission {
        let (now, instances) = (Instant::now(), self.instances());
        let mut keys = self.lock();
        let mut best: Option<(usize, Roominess)> = None;
        let mut obstacles = Vec::new();
        for (place, key) in wanted.keys.iter().enumerate() {
            match self.key(&mut keys, key, now).room(now, wanted.tokens, instances) {
                Room::There(room) if best.is_none_or(|(_, best)| room.is_better_than(&best)) => {
                    best = Some((place, room))
                }
                Room::There(_) => {}
                Room::Not(obstacle) => obstacles.push(obstacle),
            }
        }
        let Some((place, _)) = best else {
            return Obstacle::refusal(&obstacles);
        };
        let limited = &wanted.keys[place];
        let key = self.key(&mut keys, limited, now);
        let grant = Grant {
            id: Uuid::now_v7(),
            key: place,
            key_name: limited.name.clone(),
            provider: limited.provider.clone(),
            tokens: key.holding(wanted.tokens),
        };
        key.grant(now, grant.id, grant.tokens, wanted.lease, GrantedBy::Us);
        Admission::Granted(grant)
    }

    /// Whether this is a call under way that was granted here, and not adopted.
    pub fn has_granted(&self, grant: &Grant) -> bool {
        let keys = self.lock();
        let granted_by = keys.get(&grant.key_name).and_then(|key| key.granted_by(grant.id));
        granted_by == Some(GrantedBy::Us)
    }

    /// [`RateLimits::answered`], which waits for nothing.
    pub fn answered_now(&self, grant: &Grant, hints: LimitHints) {
        let (now, instances) = (Instant::now(), self.instances());
        if let Some(key) = self.lock().get_mut(&grant.key_name) {
            key.move_on(now);
            key.answered(now, grant.id, hints, instances);
        }
    }

    /// [`RateLimits::settle`], which waits for nothing.
    pub fn settle_now(&self, grant: &Grant, end: CallEnd) {
        let (now, instances) = (Instant::now(), self.instances());
        if let Some(key) = self.lock().get_mut(&grant.key_name) {
            key.move_on(now);
            key.settle(now, grant.id, end, instances);
        }
    }

    /// [`RateLimits::usage`], which waits for nothing.
    pub fn usage_now(&self, keys: &[LimitedKey]) -> Vec<KeyUsage> {
        let (now, instances) = (Instant::now(), self.instances());
        let mut known = self.lock();
        let usage = keys
            .iter()
            .map(|key| self.key(&mut known, key, now).usage(now, instances));
        usage.collect()
    }

    /// The key as it is now.
    fn key<'a>(&self, keys: &'a mut HashMap<Arc<str>, Key>, limited: &LimitedKey, now: Instant) -> &'a mut Key {
        let key = keys
            .entry(limited.name.clone())
            .or_insert_with(|| Key::new(now, self.times));
        key.set(limited.limits);
        key.move_on(now);
        key
    }

    fn instances(&self) -> u32 {
        let instances = self.instances.as_ref();
        instances.map_or(1, |instances| instances.load(Ordering::Relaxed).max(1))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Key>> {
        // Counts are changed in steps that cannot panic.
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LocalRateLimits {
    fn default() -> Self {
        Self::new(LimitTimes::default())
    }
}

#[async_trait]
impl RateLimits for LocalRateLimits {
    async fn admit(&self, wanted: &Wanted) -> Admission {
        self.admit_now(wanted)
    }

    async fn answered(&self, grant: &Grant, hints: LimitHints) {
        self.answered_now(grant, hints);
    }

    async fn settle(&self, grant: &Grant, end: CallEnd) {
        self.settle_now(grant, end);
    }

    async fn usage(&self, keys: &[LimitedKey]) -> Vec<KeyUsage> {
        self.usage_now(keys)
    }

    fn reach(&self) -> LimitsReach {
        match &self.instances {
            None => LimitsReach::Instance,
            Some(_) => LimitsReach::Share {
                instances: self.instances(),
            },
        }
    }
}
