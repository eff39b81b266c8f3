//! The event log of a fleet, measured: two instances in this process on the Redis that `CALLBOARD_TEST_REDIS_URL` names. Prints how
//! many appends a second reach a follower on the other instance, how long one takes, and what 2,000 idle followers cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use callboard::stream::memory::{MemoryEventLog, MemoryLogOptions};
use callboard::stream::redis::{RedisAddress, RedisEventLog, RedisLogOptions};
use callboard_actors::ports::{EventLog, EventStream};
use callboard_actors::testing::event_log_conformance::{Durability, ScriptedWriter};
use callboard_actors::testing::memory_store::MemoryStore;
use futures::StreamExt;
use tokio::runtime::Handle;

const RUNS: usize = 100;
const EVENTS_PER_RUN: u64 = 500;
const SAMPLES: usize = 500;
const FOLLOWERS: usize = 2000;
const IDLE: Duration = Duration::from_secs(30);
/// Clock ticks of `/proc/self/stat` in a second, on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

struct Fleet {
    store: Arc<MemoryStore>,
    writing: RedisEventLog,
    reading: RedisEventLog,
}

impl Fleet {
    async fn connected(url: &str) -> Self {
        let store = Arc::new(MemoryStore::new());
        let open = || {
            let local = MemoryEventLog::new(store.clone(), MemoryLogOptions::default());
            let address = RedisAddress::Single(url.to_owned().into());
            let options = RedisLogOptions::new(address, Handle::current());
            RedisEventLog::start(Arc::new(local), store.clone(), options).expect("a good address")
        };
        let fleet = Self {
            writing: open(),
            reading: open(),
            store,
        };
        while !(fleet.reading.health().hears && fleet.writing.health().sends) {
            tokio::task::yield_now().await;
        }
        fleet
    }

    fn new_writer(&self, durability: Durability) -> ScriptedWriter {
        let log: Arc<dyn EventLog> = Arc::new(self.writing.clone());
        ScriptedWriter::of_new_run(&log, &self.store, durability)
    }
}

async fn read_to_the_end(mut stream: EventStream) -> u64 {
    let mut events = 0;
    while let Some(batch) = stream.next().await {
        events += batch.expect("the log answers").count();
    }
    events
}

async fn measure_throughput(fleet: &Fleet) {
    let started = Instant::now();
    let mut work = tokio::task::JoinSet::new();
    for _ in 0..RUNS {
        let mut writer = fleet.new_writer(Durability::Strict);
        let follower = fleet.reading.follow(writer.run, None);
        work.spawn(async move {
            let reading = tokio::spawn(read_to_the_end(follower));
            writer.write_deltas(EVENTS_PER_RUN).await;
            writer.finish().await;
            reading.await.expect("it reads")
        });
    }
    let mut events = 0;
    while let Some(read) = work.join_next().await {
        events += read.expect("no task panics");
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{events} appends of {RUNS} runs reached their remote followers in {seconds:.2} s: {:.0} a second",
        events as f64 / seconds
    );
}

async fn measure_latency(fleet: &Fleet) {
    let (mut first, mut later) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let mut writer = fleet.new_writer(Durability::Relaxed);
        let mut follower = fleet.reading.follow(writer.run, None);
        // The follower waits, as a browser does, and its subscription stands; the first event comes then.
        tokio::time::sleep(Duration::from_millis(10)).await;
        for times in [&mut first, &mut later] {
            let started = Instant::now();
            writer.write_deltas(1).await;
            follower.next().await.expect("it comes").expect("the log answers");
            times.push(started.elapsed());
        }
        writer.finish().await;
    }
    for (name, times) in [("first append", &mut first), ("append right after it", &mut later)] {
        times.sort_unstable();
        let at = |share: f64| times[(times.len() as f64 * share) as usize];
        println!("{name} to remote follower: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    }
}

async fn measure_idle_followers(fleet: &Fleet) {
    let mut writers: Vec<_> = (0..FOLLOWERS).map(|_| fleet.new_writer(Durability::Strict)).collect();
    for writer in &mut writers {
        writer.write_deltas(1).await;
    }
    let started = Instant::now();
    let followers: Vec<_> = writers
        .iter()
        .map(|writer| fleet.reading.follow(writer.run, Some(0)))
        .collect();
    while fleet.reading.health().mirrored_runs < FOLLOWERS {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    println!(
        "{FOLLOWERS} followers opened, {:?} with a second of rest",
        started.elapsed()
    );
    let before = cpu_seconds();
    tokio::time::sleep(IDLE).await;
    let share = (cpu_seconds() - before) / IDLE.as_secs_f64() * 100.0;
    println!("{FOLLOWERS} idle mirrored runs: {share:.2} % of a core over {IDLE:?}");
    drop(followers);
}

/// Processor time of this process so far, of the user and of the system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("there is a name");
    let ticks: f64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<f64>().expect("a number"))
        .sum();
    ticks / TICKS_PER_SECOND
}

#[tokio::main]
async fn main() {
    let Ok(url) = std::env::var("CALLBOARD_TEST_REDIS_URL") else {
        println!("CALLBOARD_TEST_REDIS_URL is not set: run scripts/with-services cargo bench --bench redis_event_log");
        return;
    };
    let fleet = Fleet::connected(&url).await;
    measure_throughput(&fleet).await;
    measure_latency(&fleet).await;
    measure_idle_followers(&fleet).await;
}
