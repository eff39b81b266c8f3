//! The conformance suite on one Redis and on a Cluster; several instances on one Redis; Redis that goes away, comes back, and forgets.

mod economy;
mod instances;
mod outages;
mod secrets;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ports::{EventLog, Store};
use callboard_actors::testing::event_log_conformance::LogFactory;
use callboard_actors::testing::memory_store::MemoryStore;
use tokio::runtime::Handle;

use super::{RedisAddress, RedisEventLog, RedisLogHealth, RedisLogOptions};
use crate::redis_client::test_server;
use crate::stream::memory::{MemoryEventLog, MemoryLogOptions};

const PATIENCE: Duration = Duration::from_secs(60);

struct Factory(RedisAddress);

#[async_trait]
impl LogFactory for Factory {
    async fn open(&self, store: Arc<dyn Store>) -> Arc<dyn EventLog> {
        Arc::new(open(store, self.0.clone()))
    }
}

mod with_one_redis {
    use super::{Factory, test_server};

    callboard_actors::event_log_conformance!(Factory(test_server::single()));
}

mod with_a_cluster {
    use super::{Factory, test_server};

    callboard_actors::event_log_conformance!(Factory(test_server::cluster()));
}

/// The log of one more instance.
fn open(store: Arc<dyn Store>, address: RedisAddress) -> RedisEventLog {
    let options = RedisLogOptions::new(address, Handle::current());
    open_with(store, options)
}

fn open_with(store: Arc<dyn Store>, options: RedisLogOptions) -> RedisEventLog {
    let local = MemoryEventLog::new(Arc::clone(&store), MemoryLogOptions::default());
    RedisEventLog::start(Arc::new(local), store, options).expect("the options are right")
}

/// Two instances over one store and one Redis.
struct Pair {
    store: Arc<MemoryStore>,
    first: RedisEventLog,
    second: RedisEventLog,
}

impl Pair {
    fn open(address: &RedisAddress) -> Self {
        let store = Arc::new(MemoryStore::new());
        Self {
            first: open(store.clone(), address.clone()),
            second: open(store.clone(), address.clone()),
            store,
        }
    }

    async fn connected(address: &RedisAddress) -> Self {
        let pair = Self::open(address);
        for log in [&pair.first, &pair.second] {
            until(log, |health| health.sends && health.hears).await;
        }
        pair
    }
}

fn shared(log: &RedisEventLog) -> Arc<dyn EventLog> {
    Arc::new(log.clone())
}

/// Waits until the log's health is as wanted.
async fn until(log: &RedisEventLog, wanted: impl Fn(RedisLogHealth) -> bool) {
    let waiting = async {
        while !wanted(log.health()) {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "it never came to that: {:?}", log.health());
}
