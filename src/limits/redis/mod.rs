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

mod admitting;
mod asking;
mod options;
mod script;
mod standing;
mod tending;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use callboard_actors::local_limits::LocalRateLimits;
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::model::LimitHints;
use callboard_actors::ports::rate_limits::{Admission, CallEnd, Grant, KeyUsage, LimitedKey, LimitsReach, Wanted};
use tokio::sync::watch;

pub use self::options::RedisLimitsOptions;
use self::script::Scripts;
use self::standing::{Decides, Standing};
use crate::redis_client::{Endpoint, Link};
pub use crate::redis_client::{RedisAddress, RedisSetupError};

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
        let is_ours_alone = self.shared.local.has_granted(grant);
        self.shared.local.answered_now(grant, hints);
        if !is_ours_alone {
            self.shared.tell(grant, hints, None).await;
        }
    }

    async fn settle(&self, grant: &Grant, end: CallEnd) {
        let is_ours_alone = self.shared.local.has_granted(grant);
        self.shared.local.settle_now(grant, end);
        let concerns_all = matches!(
            end,
            CallEnd::RateLimited { .. } | CallEnd::TooLarge { .. } | CallEnd::KeyRefused
        );
        if !is_ours_alone || concerns_all {
            self.shared.tell(grant, LimitHints::default(), Some(end)).await;
        }
    }

    /// What Redis does not say in time is shown as this instance counts it.
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
            let Some(mut connection) = self.shared.link.now() else {
                break;
            };
            let asking = self.shared.scripts.usage(&mut connection, provider, &its_keys);
            let Some(told) = self.shared.seen_in_time(asking).await else {
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
