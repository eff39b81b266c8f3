//! The in-process event log: one writer with 1, 10 and 100 readers, and the replay of a long log.

use std::sync::Arc;

use callboard::stream::memory::{MemoryEventLog, MemoryLogOptions};
use callboard_actors::encoding::{EncodedEvents, EventEncoder, encode};
use callboard_actors::event::EventBody;
use callboard_actors::ids::{ItemId, RunId};
use callboard_actors::item::Usage;
use callboard_actors::ports::EventLog;
use callboard_actors::testing::memory_store::MemoryStore;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures::StreamExt;
use tokio::runtime::Runtime;

const LIVE_EVENTS: u64 = 500;
const REPLAYED_EVENTS: u64 = 10_000;

fn delta(seq: u64) -> EventBody {
    EventBody::TextDelta {
        item_id: ItemId::from_uuid(uuid::Uuid::nil()),
        delta: format!("word {seq} "),
    }
}

/// A run's events one by one, as they come from a model, the last one terminal.
fn single_events(run: RunId, count: u64) -> Vec<EncodedEvents> {
    let mut encoder = EventEncoder::new(run, 0);
    (0..count)
        .filter_map(|seq| {
            if seq + 1 < count {
                encoder.push(delta(seq));
            } else {
                encoder.push(EventBody::RunCompleted {
                    usage: Usage::default(),
                });
            }
            encoder.take()
        })
        .collect()
}

async fn read_all(log: &MemoryEventLog, run: RunId) -> u64 {
    let mut stream = log.follow(run, None);
    let mut events = 0;
    while let Some(batch) = stream.next().await {
        events += batch.expect("the log answers").count();
    }
    events
}

fn new_log(store: Arc<MemoryStore>) -> MemoryEventLog {
    MemoryEventLog::new(store, MemoryLogOptions::default())
}

/// Every event wakes every reader: the time of a whole run until its last reader has seen the end.
fn append_and_follow(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("append_and_follow");
    for readers in [1u64, 10, 100] {
        let log = new_log(Arc::new(MemoryStore::new()));
        group.throughput(Throughput::Elements(LIVE_EVENTS * readers));
        group.bench_function(BenchmarkId::new("readers", readers), |bencher| {
            bencher.iter_batched(
                || {
                    let run = RunId::new();
                    (run, single_events(run, LIVE_EVENTS))
                },
                |(run, events)| {
                    runtime.block_on(async {
                        let tasks: Vec<_> = (0..readers)
                            .map(|_| {
                                let log = log.clone();
                                tokio::spawn(async move { read_all(&log, run).await })
                            })
                            .collect();
                        for event in events {
                            let seq = event.last_seq();
                            log.append(run, 1, event).await.expect("it continues the log");
                            log.mark_durable(run, seq);
                            // A model's tokens come one by one: readers have their turn in between.
                            tokio::task::yield_now().await;
                        }
                        for task in tasks {
                            assert_eq!(task.await.expect("a reader"), LIVE_EVENTS);
                        }
                    });
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// What one append costs when nobody listens.
fn append_alone(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = new_log(Arc::new(MemoryStore::new()));
    let mut group = criterion.benchmark_group("append_alone");
    group.throughput(Throughput::Elements(LIVE_EVENTS));
    group.bench_function("one_run", |bencher| {
        bencher.iter_batched(
            || {
                let run = RunId::new();
                (run, single_events(run, LIVE_EVENTS))
            },
            |(run, events)| {
                runtime.block_on(async {
                    for event in events {
                        let seq = event.last_seq();
                        log.append(run, 1, event).await.expect("it continues the log");
                        log.mark_durable(run, seq);
                    }
                });
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A client that comes back for all of a long run: from memory, and from a store that has it in batches of 20.
fn replay(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("replay");
    group.throughput(Throughput::Elements(REPLAYED_EVENTS));
    let run = RunId::new();

    let in_memory = MemoryEventLog::new(
        Arc::new(MemoryStore::new()),
        MemoryLogOptions {
            memory_per_run: 64 * 1024 * 1024,
            ..MemoryLogOptions::default()
        },
    );
    runtime.block_on(async {
        for event in single_events(run, REPLAYED_EVENTS) {
            in_memory.append(run, 1, event).await.expect("it continues the log");
        }
    });
    group.bench_function("from_memory", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(read_all(&in_memory, run)), REPLAYED_EVENTS));
    });

    let store = Arc::new(MemoryStore::new());
    for batch in single_events(run, REPLAYED_EVENTS).chunks(20) {
        store.commit_events(run, 1, EncodedEvents::join_all(batch).expect("some events"));
    }
    let from_store = new_log(store);
    group.bench_function("from_a_store_in_memory", |bencher| {
        bencher.iter(|| assert_eq!(runtime.block_on(read_all(&from_store, run)), REPLAYED_EVENTS));
    });
    group.finish();
}

/// A thousand readers wait elsewhere: an append to one run must not cost more for them.
fn append_beside_idle_readers(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let log = new_log(Arc::new(MemoryStore::new()));
    let idle: Vec<_> = (0..1000)
        .map(|_| {
            let log = log.clone();
            runtime.spawn(async move { read_all(&log, RunId::new()).await })
        })
        .collect();
    let run = RunId::new();
    let first = encode(run, 0, [delta(0)]).expect("one event");
    runtime
        .block_on(log.append(run, 1, first))
        .expect("a new log begins at 0");
    let mut encoder = EventEncoder::new(run, 1);
    criterion.bench_function("append_beside_1000_idle_readers", |bencher| {
        bencher.iter_batched(
            || {
                encoder.push(delta(encoder.next_seq()));
                encoder.take().expect("one event")
            },
            |event| {
                let seq = event.last_seq();
                runtime
                    .block_on(log.append(run, 1, event))
                    .expect("it continues the log");
                log.mark_durable(run, seq);
            },
            // In order: each event continues the one before.
            BatchSize::SmallInput,
        );
    });
    for reader in idle {
        reader.abort();
    }
}

criterion_group!(
    benches,
    append_and_follow,
    append_alone,
    replay,
    append_beside_idle_readers
);
criterion_main!(benches);
