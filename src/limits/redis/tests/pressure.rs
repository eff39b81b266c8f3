//! Two instances that want more than there is, while Redis is killed and comes back, or forgets everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use callboard_actors::ports::RateLimits;
use callboard_actors::ports::rate_limits::{Admission, CallEnd, KeyLimits, LimitsReach};
use callboard_actors::testing::rate_limits_conformance::{GrantedCalls, key, wanted};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{PATIENCE, TIMES, open, options, until_reach, until_shared};
use crate::redis_client::test_server::OwnServer;

const TASKS: usize = 64;
const LIMIT: u64 = 200;
const CONCURRENT: u64 = 20;
const SHARE: LimitsReach = LimitsReach::Share { instances: 2 };

/// Two instances under pressure.
struct Pressure {
    instances: Vec<Arc<dyn RateLimits>>,
    seen: Arc<Seen>,
    go_on: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    calls: GrantedCalls,
    under_way: AtomicU64,
    most_under_way: AtomicU64,
}

impl Pressure {
    async fn on(server: &OwnServer) -> Self {
        let options = options(server.address());
        let instances: Vec<Arc<dyn RateLimits>> = vec![open(&options, 2), open(&options, 2)];
        let (seen, go_on) = (Arc::new(Seen::default()), watch::Sender::new(true));
        let mut tasks = JoinSet::new();
        for limits in &instances {
            until_shared(limits).await;
        }
        for limits in &instances {
            for _ in 0..TASKS {
                tasks.spawn(call_and_call(limits.clone(), seen.clone(), go_on.subscribe()));
            }
        }
        Self {
            instances,
            seen,
            go_on,
            tasks,
        }
    }

    async fn until_all_reach(&self, expected: LimitsReach) {
        for limits in &self.instances {
            until_reach(limits, expected).await;
        }
    }

    /// Waits for so many more calls.
    async fn until_more_calls(&self, more: u64) {
        let wanted = self.seen.calls.count() as u64 + more;
        let counting = async {
            while (self.seen.calls.count() as u64) < wanted {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counting).await.expect("calls go on");
    }

    async fn end(mut self) -> Arc<Seen> {
        self.go_on.send_replace(false);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("no task panics");
        }
        self.seen
    }
}

async fn call_and_call(limits: Arc<dyn RateLimits>, seen: Arc<Seen>, go_on: watch::Receiver<bool>) {
    let limited = KeyLimits {
        requests_per_minute: Some(LIMIT),
        tokens_per_minute: None,
        concurrent_calls: Some(CONCURRENT),
    };
    let wanted = wanted(&[key(0, limited)], 1);
    while *go_on.borrow() {
        let asked_at = Instant::now();
        let grant = match limits.admit(&wanted).await {
            Admission::Granted(grant) => grant,
            Admission::NotYet { wait, .. } => {
                tokio::time::sleep(wait.min(Duration::from_millis(50))).await;
                continue;
            }
            other => panic!("nobody refused it: {other:?}"),
        };
        seen.calls.add(asked_at, 1);
        let under_way = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(3)).await;
        limits.answered(&grant, Default::default()).await;
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        limits.settle(&grant, CallEnd::Used { tokens: 1 }).await;
    }
}

/// In the moment of a loss one instance may have used more than its share: the other's share comes on top of that, and nothing else does.
fn expect_no_more_than_a_share_on_top(seen: &Seen) {
    let most = seen.calls.most_within(TIMES.window);
    assert!(most <= LIMIT + LIMIT / 2, "{most} calls in one window");
    let most = seen.most_under_way.load(Ordering::SeqCst);
    assert!(most <= CONCURRENT + CONCURRENT / 2, "{most} were under way at once");
}

async fn limits_hold_while_redis_restarts(mut server: OwnServer) {
    let pressure = Pressure::on(&server).await;
    pressure.until_more_calls(LIMIT * 2).await;
    server.stop();
    pressure.until_all_reach(SHARE).await;
    pressure.until_more_calls(LIMIT * 2).await;
    server.run().await;
    pressure.until_all_reach(LimitsReach::Fleet).await;
    pressure.until_more_calls(LIMIT * 2).await;
    expect_no_more_than_a_share_on_top(pressure.end().await.as_ref());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_while_redis_restarts_with_what_it_knew() {
    limits_hold_while_redis_restarts(OwnServer::lasting().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_while_redis_restarts_with_nothing() {
    limits_hold_while_redis_restarts(OwnServer::forgetful().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_hold_while_redis_forgets_everything() {
    let server = OwnServer::forgetful().await;
    let pressure = Pressure::on(&server).await;
    let mut connection = server.connection().await;
    for _ in 0..2 {
        pressure.until_more_calls(LIMIT * 2).await;
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .expect("it answers");
        pressure.until_all_reach(SHARE).await;
        pressure.until_all_reach(LimitsReach::Fleet).await;
    }
    pressure.until_more_calls(LIMIT).await;
    expect_no_more_than_a_share_on_top(pressure.end().await.as_ref());
}
