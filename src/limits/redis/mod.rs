//! `RateLimits` of a fleet: counted in Redis, one atomic script per question.
//!
//! What holds:
//! - Every instance counts what it was granted in memory as well ([`LocalRateLimits`]). When Redis does not answer in time, admissions are
//!   decided by that alone, with each limit divided by the number of instances, for a few seconds; then Redis is tried again.
//! - After that, and where Redis has begun to count anew (it was restarted, emptied, or is new), both decide for a window: what Redis says
//!   no to is not granted, nor what is more than this instance's share. So no window sees what Redis does not know of twice.
//! - A grant is settled wherever it is counted. What Redis could not be told is told when it is back; a grant whose admission was not heard
//!   in time, or that its caller did not wait for, is taken back.
//! - A grant's lease is what its `Wanted` says, from the grant on, and is not renewed: it is longer than any call may take.
//! - One connection (with a Cluster: one per node).

mod options;
mod script;
mod standing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::event::ModelWaitingReason;
use callboard_actors::local_limits::{LocalRateLimits, SHORT_WAIT};
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::model::LimitHints;
use callboard_actors::ports::rate_limits::{
    Admission, CallEnd, Grant, KeyLimits, KeyUsage, LimitedKey, LimitsReach, Wanted,
};
use redis::RedisError;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::options::RedisLimitsOptions;
use self::script::{Decision, Scripts};
use self::standing::{Decides, Standing, Word};
use crate::redis_client::{Connection, Endpoint, Link, describe, jittered};
pub use crate::redis_client::{RedisAddress, RedisSetupError};

/// Tokens come back when calls of other instances are settled, of which this one does not hear: it asks at least so often.
const LONGEST_WAIT_FOR_TOKENS: Duration = Duration::from_secs(1);

/// Rate limits that all instances share.
pub struct RedisRateLimits {
    shared: Arc<Shared>,
    instances: Arc<AtomicU32>,
    closed: watch::Sender<bool>,
}

struct Shared {
    link: Link,
    scripts: Scripts,
    local: LocalRateLimits,
    standing: Standing,
    options: RedisLimitsOptions,
}

impl Drop for RedisRateLimits {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

impl RedisRateLimits {
    /// Connects in the background: a Redis that is away does not keep the server from starting. `instances` is how many instances live,
    /// kept current by the caller; 0 counts as 1.
    pub fn start(options: RedisLimitsOptions, instances: Arc<AtomicU32>) -> Result<Self, RedisSetupError> {
        let connect = options.connect();
        let endpoint = Arc::new(Endpoint::new(&connect)?);
        let shared = Arc::new(Shared {
            link: Link::new(&connect, None),
            scripts: Scripts::new(&options),
            local: LocalRateLimits::sharing_with(instances.clone(), options.times),
            standing: Standing::new(options.times.window),
            options,
        });
        let closed = watch::Sender::new(false);
        let (linked, tended) = (shared.clone(), shared.clone());
        let mut is_closed = closed.subscribe();
        shared.options.runtime.spawn(async move {
            tokio::select! {
                _ = is_closed.wait_for(|closed| *closed) => {}
                () = linked.link.keep(endpoint) => {}
                () = tended.tend() => {}
            }
        });
        Ok(Self {
            shared,
            instances,
            closed,
        })
    }
}

impl Shared {
    /// Tells Redis what it has not heard, and finds out whether it is back, for ever.
    async fn tend(&self) {
        loop {
            let connection = self.link.connected().await;
            if self.standing.is_away() {
                let answers = self.try_out(connection.clone()).await && self.tell_all(connection).await;
                if answers && self.standing.found() {
                    continue;
                }
                tokio::time::sleep(jittered(self.options.alone_for)).await;
                continue;
            }
            self.standing.work.notified().await;
            if self.standing.is_away() {
                tokio::time::sleep(jittered(self.options.alone_for)).await;
            } else {
                self.tell_all(connection).await;
            }
        }
    }

    /// Whether Redis does all that is needed: a key that nobody has is granted, and given back.
    async fn try_out(&self, mut connection: Connection) -> bool {
        let wanted = Wanted {
            keys: Arc::new([LimitedKey {
                name: "trial".into(),
                provider: "trial".into(),
                limits: KeyLimits::default(),
            }]),
            tokens: 0,
            lease: self.options.alone_for,
        };
        let grant = grant(Uuid::now_v7(), &wanted, 0, 0);
        let trying = async {
            self.scripts.admit(&mut connection, grant.id, &wanted, true).await?;
            self.scripts.settle(&mut connection, &grant, &CallEnd::NotMade).await
        };
        self.in_time(trying).await.is_ok()
    }

    /// Whether Redis has heard everything.
    async fn tell_all(&self, mut connection: Connection) -> bool {
        while let Some(word) = self.standing.next_word() {
            let telling = async {
                match word.end_told_late() {
                    None => {
                        let nothing = LimitHints::default();
                        self.scripts.answered(&mut connection, &word.grant, &nothing).await
                    }
                    Some(end) => self.scripts.settle(&mut connection, &word.grant, &end).await,
                }
            };
            if self.in_time(telling).await.is_err() {
                self.standing.put_back(word);
                return false;
            }
        }
        true
    }

    /// Asks Redis; `Err` if it does not answer in time, or not as it should. Then Redis is away.
    async fn in_time<T>(&self, asking: impl Future<Output = Result<T, RedisError>>) -> Result<T, ()> {
        let reason = match tokio::time::timeout(self.options.answer_within, asking).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                self.link.report(&error);
                describe(&error)
            }
            Err(_) => "no answer in time".to_owned(),
        };
        self.standing.lost(&reason);
        Err(())
    }

    fn connection(&self) -> Result<Connection, ()> {
        let connection = self.link.now();
        if connection.is_none() {
            self.standing.lost("no connection");
        }
        connection.ok_or(())
    }

    /// Asks Redis for room.
    async fn ask(&self, id: Uuid, wanted: &Wanted, young_will_do: bool) -> Result<Decision, ()> {
        let mut connection = self.connection()?;
        // Wherever it would have been granted: nobody will use it.
        let unheard = wanted
            .keys
            .iter()
            .enumerate()
            .map(|(place, _)| grant(id, wanted, place, 0));
        let mut unheard = Unheard {
            standing: &self.standing,
            words: unheard.map(|grant| Word::new(&grant, Some(CallEnd::NotMade))).collect(),
        };
        let decision = self
            .in_time(self.scripts.admit(&mut connection, id, wanted, young_will_do))
            .await?;
        unheard.words.clear();
        Ok(decision)
    }

    async fn tell(&self, grant: &Grant, hints: LimitHints, end: Option<CallEnd>) {
        let word = Word::new(grant, end);
        if self.standing.is_away() {
            self.standing.tell_later(word);
            return;
        }
        let mut unheard = Unheard {
            standing: &self.standing,
            words: vec![word],
        };
        let Ok(mut connection) = self.connection() else {
            return;
        };
        let telling = async {
            match &end {
                None => self.scripts.answered(&mut connection, grant, &hints).await,
                Some(end) => self.scripts.settle(&mut connection, grant, end).await,
            }
        };
        if self.in_time(telling).await.is_ok() {
            unheard.words.clear();
        }
    }

    async fn admit_by_fleet(&self, wanted: &Wanted) -> Admission {
        let id = Uuid::now_v7();
        match self.ask(id, wanted, false).await {
            Ok(Decision::Granted { place, tokens }) => {
                let grant = grant(id, wanted, place, tokens);
                self.local.adopt(&grant, &wanted.keys[place], wanted.lease);
                Admission::Granted(grant)
            }
            Ok(Decision::Young { until_old }) => {
                self.standing.is_young(&wanted.keys[0].provider, until_old);
                self.admit_by_both(wanted).await
            }
            Ok(Decision::Refused(refusal)) => refused(refusal),
            Err(()) => self.local.admit_now(wanted),
        }
    }

    async fn admit_by_both(&self, wanted: &Wanted) -> Admission {
        let places = match self.local.places_with_room(wanted) {
            Ok(places) => places,
            Err(refusal) => return refusal,
        };
        let id = Uuid::now_v7();
        let narrowed = Wanted {
            keys: places.iter().map(|place| wanted.keys[*place].clone()).collect(),
            ..wanted.clone()
        };
        match self.ask(id, &narrowed, true).await {
            Ok(Decision::Granted { place, tokens }) => {
                let place = places[place];
                let grant = grant(id, wanted, place, tokens);
                if self.local.adopt_if_room(&grant, &wanted.keys[place], wanted.lease) {
                    return Admission::Granted(grant);
                }
                // Another call was faster.
                self.tell(&grant, LimitHints::default(), Some(CallEnd::NotMade)).await;
                ask_again_soon(ModelWaitingReason::Line)
            }
            Ok(Decision::Refused(Admission::AllKeysRefused)) if places.len() < wanted.keys.len() => {
                ask_again_soon(ModelWaitingReason::CoolingDown)
            }
            Ok(Decision::Refused(refusal)) => refused(refusal),
            Ok(Decision::Young { .. }) => ask_again_soon(ModelWaitingReason::Line),
            Err(()) => self.local.admit_now(wanted),
        }
    }
}

/// What Redis is told later unless it has heard it: also if whoever says it does not wait until it has.
struct Unheard<'a> {
    standing: &'a Standing,
    words: Vec<Word>,
}

impl Drop for Unheard<'_> {
    fn drop(&mut self) {
        for word in self.words.drain(..) {
            self.standing.tell_later(word);
        }
    }
}

fn grant(id: Uuid, wanted: &Wanted, place: usize, tokens: u64) -> Grant {
    let key = &wanted.keys[place];
    Grant {
        id,
        key: place,
        key_name: key.name.clone(),
        provider: key.provider.clone(),
        tokens,
    }
}

/// A refusal of Redis, as it is told to the caller.
fn refused(refusal: Admission) -> Admission {
    match refusal {
        Admission::NotYet { wait, reason } if reason == ModelWaitingReason::TokensPerMinute => Admission::NotYet {
            wait: wait.min(LONGEST_WAIT_FOR_TOKENS),
            reason,
        },
        refusal => refusal,
    }
}

fn ask_again_soon(reason: ModelWaitingReason) -> Admission {
    Admission::NotYet {
        wait: SHORT_WAIT,
        reason,
    }
}

#[async_trait]
impl RateLimits for RedisRateLimits {
    async fn admit(&self, wanted: &Wanted) -> Admission {
        let Some(first) = wanted.keys.first() else {
            return Admission::AllKeysRefused;
        };
        match self.shared.standing.decides(&first.provider) {
            Decides::Fleet => self.shared.admit_by_fleet(wanted).await,
            Decides::Both => self.shared.admit_by_both(wanted).await,
            Decides::Instance => self.shared.local.admit_now(wanted),
        }
    }

    async fn answered(&self, grant: &Grant, hints: LimitHints) {
        self.shared.local.answered_now(grant, hints);
        self.shared.tell(grant, hints, None).await;
    }

    async fn settle(&self, grant: &Grant, end: CallEnd) {
        self.shared.local.settle_now(grant, end);
        self.shared.tell(grant, LimitHints::default(), Some(end)).await;
    }

    async fn usage(&self, keys: &[LimitedKey]) -> Vec<KeyUsage> {
        let mut usage = self.shared.local.usage_now(keys);
        if self.shared.standing.is_away() {
            return usage;
        }
        let mut providers: Vec<&Arc<str>> = keys.iter().map(|key| &key.provider).collect();
        providers.sort_unstable();
        providers.dedup();
        for provider in providers {
            let places = (0..keys.len()).filter(|place| keys[*place].provider == *provider);
            let places: Vec<usize> = places.collect();
            let its_keys: Vec<&LimitedKey> = places.iter().map(|place| &keys[*place]).collect();
            let Ok(mut connection) = self.shared.connection() else {
                break;
            };
            let asking = self.shared.scripts.usage(&mut connection, provider, &its_keys);
            let Ok(told) = self.shared.in_time(asking).await else {
                break;
            };
            for (place, told) in places.into_iter().zip(told) {
                usage[place] = told;
            }
        }
        usage
    }

    fn reach(&self) -> LimitsReach {
        if self.shared.standing.is_fleets() {
            return LimitsReach::Fleet;
        }
        LimitsReach::Share {
            instances: self.instances.load(Ordering::Relaxed).max(1),
        }
    }
}
