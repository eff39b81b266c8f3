//! The conformance suite on one Redis and on a Cluster; Redis that goes away, comes back, forgets, or is slow; few rights.

mod both;
mod outages;
mod pressure;
mod words;

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::local_limits::LimitTimes;
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::{CallEnd, KeyLimits, LimitsReach};
use callboard_actors::testing::rate_limits_conformance::{LimitsFactory, granted, key, wanted};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::{RedisAddress, RedisLimitsOptions, RedisRateLimits};
use crate::redis_client::test_server;

const PATIENCE: Duration = Duration::from_secs(60);
const TIMES: LimitTimes = LimitTimes {
    window: Duration::from_secs(2),
    refused_key_rest: Duration::from_secs(3),
    usual_cooling: Duration::from_millis(200),
    longest_usual_cooling: Duration::from_millis(800),
    told_limit_rules_out_for: Duration::from_secs(2),
};

struct Factory(RedisAddress);

#[async_trait]
impl LimitsFactory for Factory {
    async fn open(&self, instances: usize) -> Vec<Arc<dyn RateLimits>> {
        let options = options(self.0.clone());
        let mut opened: Vec<Arc<dyn RateLimits>> = Vec::new();
        for _ in 0..instances {
            opened.push(open(&options, 1));
        }
        for limits in &opened {
            until_shared(limits).await;
        }
        opened
    }

    fn times(&self) -> LimitTimes {
        TIMES
    }
}

mod with_one_redis {
    use super::{Factory, test_server};

    callboard_actors::rate_limits_conformance!(
        Factory(test_server::single()),
        flavor = "multi_thread",
        worker_threads = 2
    );
}

mod with_a_cluster {
    use super::{Factory, test_server};

    callboard_actors::rate_limits_conformance!(
        Factory(test_server::cluster()),
        flavor = "multi_thread",
        worker_threads = 2
    );
}

/// Options of a fleet of its own. A busy machine is no slow Redis.
fn options(address: RedisAddress) -> RedisLimitsOptions {
    RedisLimitsOptions {
        key_prefix: format!("callboard:{}:", Uuid::now_v7()),
        times: TIMES,
        answer_within: Duration::from_secs(20),
        alone_for: Duration::from_millis(100),
        ..RedisLimitsOptions::new(address, Handle::current())
    }
}

/// One more instance of so many.
fn open(options: &RedisLimitsOptions, instances: u32) -> Arc<RedisRateLimits> {
    let limits = RedisRateLimits::start(options.clone(), Arc::new(AtomicU32::new(instances)));
    Arc::new(limits.expect("the options are right"))
}

/// Calls are made and taken back until the fleet alone decides on them.
async fn until_shared(limits: &Arc<dyn RateLimits>) {
    let asking = async {
        let wanted = wanted(&[key(99, KeyLimits::default())], 0);
        loop {
            let grant = granted(limits, &wanted).await;
            limits.settle(&grant, CallEnd::NotMade).await;
            if limits.reach() == LimitsReach::Fleet {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("it is shared in the end");
}

async fn until_reach(limits: &Arc<dyn RateLimits>, expected: LimitsReach) {
    let looking = async {
        while limits.reach() != expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it comes to that");
}
