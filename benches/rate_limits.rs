//! What rate limits add to a model call: room taken, answered and settled, in this process and in the Redis that `CALLBOARD_TEST_REDIS_URL` names.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use callboard::limits::redis::{RedisAddress, RedisLimitsOptions, RedisRateLimits};
use callboard_actors::local_limits::{LimitTimes, LocalRateLimits};
use callboard_actors::ports::RateLimits;
use callboard_actors::ports::model::{LimitHints, WindowHint};
use callboard_actors::ports::rate_limits::{Admission, CallEnd, Grant, KeyLimits, LimitedKey, LimitsReach, Wanted};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use uuid::Uuid;

const KEYS: usize = 4;
/// Short, so that the measurement begins soon; the number of parts is always the same.
const WINDOW: Duration = Duration::from_secs(5);
const ROUND_TRIPS: usize = 2000;
const AT_ONCE: usize = 64;

fn wanted(limit: u64) -> Wanted {
    let keys = (0..KEYS).map(|number| LimitedKey {
        name: format!("bench/{number}").into(),
        provider: "bench".into(),
        limits: KeyLimits {
            requests_per_minute: Some(limit),
            tokens_per_minute: Some(limit * 1000),
            concurrent_calls: Some(limit),
        },
    });
    Wanted {
        keys: keys.collect(),
        tokens: 700,
        lease: Duration::from_secs(600),
    }
}

fn hints() -> LimitHints {
    let hint = WindowHint {
        limit: Some(1_000_000_000_000),
        remaining: Some(999_999_000_000),
        resets_in: Some(Duration::from_secs(1)),
    };
    LimitHints {
        requests: hint,
        tokens: hint,
    }
}

async fn granted(limits: &dyn RateLimits, wanted: &Wanted) -> Grant {
    match limits.admit(wanted).await {
        Admission::Granted(grant) => grant,
        refusal => panic!("there is room for everybody: {refusal:?}"),
    }
}

async fn one_call(limits: &dyn RateLimits, wanted: &Wanted) {
    let grant = granted(limits, wanted).await;
    limits.answered(&grant, hints()).await;
    limits.settle(&grant, CallEnd::Used { tokens: 500 }).await;
}

fn local(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let limits = LocalRateLimits::default();
    let (plenty, little) = (wanted(1_000_000_000), wanted(1));
    let mut group = criterion.benchmark_group("rate limits in this process");
    group.bench_function("admit, answered, settle (4 keys)", |bencher| {
        bencher.iter(|| runtime.block_on(one_call(&limits, &plenty)));
    });
    let full = LocalRateLimits::default();
    for _ in 0..KEYS {
        full.admit_now(&little);
    }
    group.bench_function("no room (4 keys)", |bencher| bencher.iter(|| full.admit_now(&little)));
    group.finish();
}

fn in_redis(criterion: &mut Criterion) {
    let Ok(url) = std::env::var("CALLBOARD_TEST_REDIS_URL") else {
        println!("CALLBOARD_TEST_REDIS_URL is not set: run scripts/with-services cargo bench --bench rate_limits");
        return;
    };
    let runtime = Runtime::new().expect("a runtime");
    let (limits, plenty) = (runtime.block_on(connected(&url)), wanted(1_000_000_000));
    let mut group = criterion.benchmark_group("rate limits in Redis");
    group.bench_function("admit, answered, settle (4 keys)", |bencher| {
        bencher.iter(|| runtime.block_on(one_call(&*limits, &plenty)));
    });
    let little = wanted(1);
    group.bench_function("no room (4 keys)", |bencher| {
        bencher.iter(|| runtime.block_on(limits.admit(&little)));
    });
    group.finish();
    runtime.block_on(print_round_trips(&limits, &plenty));
    runtime.block_on(print_throughput(&limits, &plenty));
    assert_eq!(limits.reach(), LimitsReach::Fleet, "Redis has decided");
}

async fn connected(url: &str) -> Arc<RedisRateLimits> {
    let options = RedisLimitsOptions {
        key_prefix: format!("bench-{}:", Uuid::now_v7()),
        times: LimitTimes {
            window: WINDOW,
            ..LimitTimes::default()
        },
        ..RedisLimitsOptions::new(
            RedisAddress::Single(url.to_owned().into()),
            tokio::runtime::Handle::current(),
        )
    };
    let limits = RedisRateLimits::start(options, Arc::new(AtomicU32::new(1))).expect("a good address");
    let plenty = wanted(1_000_000_000);
    loop {
        one_call(&limits, &plenty).await;
        if limits.reach() == LimitsReach::Fleet {
            return Arc::new(limits);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Each question by itself, nobody else asking.
async fn print_round_trips(limits: &RedisRateLimits, wanted: &Wanted) {
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        let grant = granted(limits, wanted).await;
        times[0].push(started.elapsed());
        let started = Instant::now();
        limits.answered(&grant, hints()).await;
        times[1].push(started.elapsed());
        let started = Instant::now();
        limits.settle(&grant, CallEnd::Used { tokens: 500 }).await;
        times[2].push(started.elapsed());
    }
    for (name, times) in ["admit", "answered", "settle"].iter().zip(&mut times) {
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!("{name}: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    }
}

async fn print_throughput(limits: &Arc<RedisRateLimits>, wanted: &Wanted) {
    let started = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..AT_ONCE {
        let (limits, wanted) = (limits.clone(), wanted.clone());
        tasks.spawn(async move {
            for _ in 0..ROUND_TRIPS / AT_ONCE * 4 {
                one_call(&*limits, &wanted).await;
            }
        });
    }
    let mut calls = 0;
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panics");
        calls += ROUND_TRIPS / AT_ONCE * 4;
    }
    let rate = calls as f64 / started.elapsed().as_secs_f64();
    println!("{AT_ONCE} tasks: {rate:.0} calls a second, each admitted, answered and settled");
}

criterion_group!(benches, local, in_redis);
criterion_main!(benches);
