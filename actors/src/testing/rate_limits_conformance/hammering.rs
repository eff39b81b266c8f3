//! Many who want more than there is, on two instances, for several windows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::LimitsFactory;
use super::fixtures::{GrantedCalls, key, wanted};
use crate::ports::RateLimits;
use crate::ports::rate_limits::{Admission, CallEnd, KeyLimits, LimitedKey};

const TASKS: usize = 64;
const WINDOWS: u32 = 4;
const CONCURRENT: u64 = 12;

/// As many calls as one can get, each with so many tokens, ended in all the ways there are.
async fn hammer(limits: Arc<dyn RateLimits>, key: LimitedKey, tokens: u64, until: Instant, seen: Arc<Seen>) {
    let mut ends = 0_u64;
    while Instant::now() < until {
        let asked_at = Instant::now();
        let grant = match limits.admit(&wanted(std::slice::from_ref(&key), tokens)).await {
            Admission::Granted(grant) => grant,
            Admission::NotYet { wait, .. } => {
                tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
                continue;
            }
            other => panic!("nobody refused it: {other:?}"),
        };
        let under_way = seen.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        seen.calls.add(asked_at, 1);
        seen.tokens.add(asked_at, tokens);
        tokio::time::sleep(Duration::from_millis(1 + ends % 7)).await;
        if !ends.is_multiple_of(3) {
            limits.answered(&grant, Default::default()).await;
        }
        ends += 1;
        seen.under_way.fetch_sub(1, Ordering::SeqCst);
        let end = if ends.is_multiple_of(5) {
            CallEnd::Unknown
        } else {
            CallEnd::Used { tokens }
        };
        limits.settle(&grant, end).await;
    }
}

#[derive(Default)]
struct Seen {
    calls: GrantedCalls,
    tokens: GrantedCalls,
    under_way: AtomicU64,
    most_under_way: AtomicU64,
}

async fn hammer_from_two_instances(factory: &impl LimitsFactory, limits: KeyLimits, tokens: u64) -> Arc<Seen> {
    let seen = Arc::new(Seen::default());
    let until = Instant::now() + factory.times().window * WINDOWS;
    let mut tasks = tokio::task::JoinSet::new();
    for instance in factory.open(2).await {
        for _ in 0..TASKS {
            let (instance, key, seen) = (instance.clone(), key(0, limits), seen.clone());
            tasks.spawn(hammer(instance, key, tokens, until, seen));
        }
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
    }
    let most = seen.most_under_way.load(Ordering::SeqCst);
    assert!(most <= CONCURRENT, "{most} were under way at once");
    seen
}

/// Calls per minute, and those under way.
pub async fn no_window_sees_more_calls_than_the_limit(factory: &impl LimitsFactory) {
    let limits = KeyLimits {
        requests_per_minute: Some(100),
        tokens_per_minute: None,
        concurrent_calls: Some(CONCURRENT),
    };
    let seen = hammer_from_two_instances(factory, limits, 1).await;
    let most = seen.calls.most_within(factory.times().window);
    assert!(most <= 100, "{most} calls in one window");
    // How much of what there is can be used is measured by `benches/rate_limits` and `examples/rate_limits`.
    assert!(
        seen.calls.count() >= 50,
        "some of what there is is used: {}",
        seen.calls.count()
    );
}

/// Tokens per minute, and the calls under way.
pub async fn no_window_sees_more_tokens_than_the_limit(factory: &impl LimitsFactory) {
    let limits = KeyLimits {
        requests_per_minute: None,
        tokens_per_minute: Some(10_000),
        concurrent_calls: Some(CONCURRENT),
    };
    let seen = hammer_from_two_instances(factory, limits, 130).await;
    let most = seen.tokens.most_within(factory.times().window);
    assert!(most <= 10_000, "{most} tokens in one window");
    assert!(
        seen.tokens.count() >= 38,
        "some of what there is is used: {}",
        seen.tokens.count()
    );
}
