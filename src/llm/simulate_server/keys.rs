//! The keys of the provider: which are taken, what each may use and has used.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ports::rate_limits::KeyLimits;
use serde::Serialize;

use super::limiter::{KeyLimiter, LetInCall, LimitReached, Standing};
use super::meter::{Meter, Second};
use super::settings::{LimitSettings, SimulateServerSettings, ending_of};

/// Keys that are told apart if none are listed; further ones are refused.
const MOST_UNLISTED_KEYS: usize = 10_000;

/// All keys. Times are since the provider's start.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: Vec<Key>,
    by_text: HashMap<String, KeyId>,
    takes_every_key: bool,
    limits: KeyLimits,
    minute: Duration,
}

/// A key of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(usize);

#[derive(Debug)]
struct Key {
    /// Its last four characters, never more.
    name: Arc<str>,
    limiter: KeyLimiter,
    refused_from: Option<Duration>,
    counts: Counts,
    meter: Meter,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Counts {
    /// Calls that were let in.
    let_in: u64,
    /// Calls that were answered 429.
    rate_limited: u64,
    /// Calls that were answered 401.
    refused: u64,
    /// Tokens that calls used; for those that go on, what they may use.
    tokens: u64,
}

/// Room that a call has taken, for [`KeyRing::settle`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    key: KeyId,
    call: LetInCall,
    second: u64,
    tokens: u64,
}

/// What is told of a key.
#[derive(Debug, Serialize)]
pub(super) struct KeyReport {
    key: Arc<str>,
    is_refused: bool,
    limits: LimitSettings,
    #[serde(flatten)]
    counts: Counts,
    /// What counts against the limits now.
    in_use: InUse,
}

#[derive(Debug, Serialize)]
struct InUse {
    requests: u64,
    tokens: u64,
    concurrent_calls: u64,
}

/// What a key did second by second.
#[derive(Debug, Serialize)]
pub(super) struct KeyHistory {
    key: Arc<str>,
    limits: LimitSettings,
    seconds: Vec<Second>,
}

impl KeyRing {
    pub(super) fn new(settings: &SimulateServerSettings) -> Self {
        let mut ring = Self {
            keys: Vec::new(),
            by_text: HashMap::new(),
            takes_every_key: settings.keys.is_empty(),
            limits: settings.limits.into(),
            minute: settings.window(),
        };
        for listed in &settings.keys {
            let limits = listed.limits.map_or(ring.limits, KeyLimits::from);
            let key = ring.add(&listed.key, limits);
            ring.keys[key.0].refused_from = listed.refused_from_ms.map(Duration::from_millis);
        }
        ring
    }

    fn add(&mut self, text: &str, limits: KeyLimits) -> KeyId {
        let key = KeyId(self.keys.len());
        self.keys.push(Key {
            name: ending_of(text).into(),
            limiter: KeyLimiter::new(limits, self.minute),
            refused_from: None,
            counts: Counts::default(),
            meter: Meter::default(),
        });
        self.by_text.insert(text.to_owned(), key);
        key
    }

    /// The key that a caller showed, if it is taken now. A caller that shows none has the empty one.
    pub(super) fn find(&mut self, now: Duration, text: &str) -> Option<KeyId> {
        let key = match self.by_text.get(text) {
            Some(key) => *key,
            None if self.takes_every_key && self.keys.len() < MOST_UNLISTED_KEYS => self.add(text, self.limits),
            None => return None,
        };
        let known = &mut self.keys[key.0];
        if known.is_refused(now) {
            known.counts.refused += 1;
            return None;
        }
        Some(key)
    }

    /// Takes room for a call that may use so many tokens.
    pub(super) fn let_in(&mut self, now: Duration, key: KeyId, tokens: u64) -> Result<Room, LimitReached> {
        let known = &mut self.keys[key.0];
        let second = now.as_secs();
        match known.limiter.let_in(now, tokens) {
            Ok(call) => {
                known.counts.let_in += 1;
                known.counts.tokens += tokens;
                known.meter.let_in(second, tokens);
                Ok(Room {
                    key,
                    call,
                    second,
                    tokens,
                })
            }
            Err(reached) => {
                known.counts.rate_limited += 1;
                known.meter.rate_limited(second);
                Err(reached)
            }
        }
    }

    /// A call has ended and used so many tokens.
    pub(super) fn settle(&mut self, room: Room, tokens: u64) {
        let known = &mut self.keys[room.key.0];
        known.limiter.settle(room.call, tokens);
        known.counts.tokens = known.counts.tokens - room.tokens + tokens;
        known.meter.correct(room.second, room.tokens, tokens);
    }

    pub(super) fn standing(&mut self, now: Duration, key: KeyId) -> Standing {
        self.keys[key.0].limiter.standing(now)
    }

    /// The keys that end in these characters.
    pub(super) fn ending_in(&self, ending: &str) -> Vec<KeyId> {
        let numbered = self.keys.iter().enumerate();
        numbered
            .filter(|(_, key)| &*key.name == ending)
            .map(|(index, _)| KeyId(index))
            .collect()
    }

    /// Refuses a key from now on, or takes it again.
    pub(super) fn set_refused(&mut self, now: Duration, key: KeyId, is_refused: bool) {
        self.keys[key.0].refused_from = is_refused.then_some(now);
    }

    pub(super) fn set_limits(&mut self, key: KeyId, limits: KeyLimits) {
        self.keys[key.0].limiter.set_limits(limits);
    }

    pub(super) fn report(&mut self, now: Duration, key: KeyId) -> KeyReport {
        let known = &mut self.keys[key.0];
        let standing = known.limiter.standing(now);
        KeyReport {
            key: known.name.clone(),
            is_refused: known.is_refused(now),
            limits: standing.limits.into(),
            counts: known.counts,
            in_use: InUse {
                requests: standing.requests.amount,
                tokens: standing.tokens.amount,
                concurrent_calls: standing.concurrent_calls,
            },
        }
    }

    pub(super) fn reports(&mut self, now: Duration) -> Vec<KeyReport> {
        (0..self.keys.len()).map(|key| self.report(now, KeyId(key))).collect()
    }

    pub(super) fn histories(&mut self, now: Duration) -> Vec<KeyHistory> {
        let keys = self.keys.iter_mut();
        keys.map(|key| KeyHistory {
            key: key.name.clone(),
            limits: key.limiter.standing(now).limits.into(),
            seconds: key.meter.seconds(),
        })
        .collect()
    }
}

impl Key {
    fn is_refused(&self, now: Duration) -> bool {
        self.refused_from.is_some_and(|from| now >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ring(settings: serde_json::Value) -> KeyRing {
        KeyRing::new(&serde_json::from_value(settings).expect("the right form"))
    }

    #[test]
    fn listed_keys_are_taken_until_they_are_refused() {
        let mut ring = ring(json!({"keys": [{"key": "sk-one-0001", "refused_from_ms": 2000}, {"key": "sk-two-0002"}]}));
        let second = Duration::from_secs;
        assert!(ring.find(second(1), "sk-one-0001").is_some());
        assert!(ring.find(second(2), "sk-one-0001").is_none());
        assert!(ring.find(second(2), "sk-three-0003").is_none() && ring.find(second(2), "").is_none());
        let [two] = ring.ending_in("0002")[..] else {
            panic!("one key")
        };
        ring.set_refused(second(3), two, true);
        assert!(ring.find(second(3), "sk-two-0002").is_none());
        ring.set_refused(second(4), two, false);
        assert_eq!(ring.find(second(4), "sk-two-0002"), Some(two));
        let report = serde_json::to_value(ring.reports(second(4))).expect("JSON");
        assert_eq!(
            (&report[0]["key"], &report[0]["is_refused"]),
            (&json!("0001"), &json!(true))
        );
        assert_eq!((&report[0]["refused"], &report[1]["refused"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn without_a_list_each_key_has_limits_of_its_own() {
        let mut ring = ring(json!({"limits": {"requests_per_minute": 1}}));
        let now = Duration::from_secs(5);
        for text in ["one", "two", ""] {
            let key = ring.find(now, text).expect("taken");
            let room = ring.let_in(now, key, 10).expect("room");
            assert!(ring.let_in(now, key, 10).is_err());
            ring.settle(room, 4);
            let report = serde_json::to_value(ring.report(now, key)).expect("JSON");
            assert_eq!((&report["tokens"], &report["rate_limited"]), (&json!(4), &json!(1)));
        }
        let histories = serde_json::to_value(ring.histories(now)).expect("JSON");
        assert_eq!(
            histories[0]["seconds"],
            json!([{"second": 5, "requests": 1, "tokens": 4, "rate_limited": 1}])
        );
    }
}
