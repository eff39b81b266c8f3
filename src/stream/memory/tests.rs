//! The conformance suite, with memory so small that everything is dropped early, and with enough; and what only this adapter promises.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::encoding::encode;
use callboard_actors::ids::RunId;
use callboard_actors::ports::{EventLog, EventLogError, EventStream, Store};
use callboard_actors::testing::event_log_conformance::{
    Durability, LogFactory, ScriptedWriter, delta, expect_whole_log, next_batch, read_to_the_end, younger_run,
};
use callboard_actors::testing::memory_store::MemoryStore;
use futures::FutureExt;
use tokio::time::Instant;

use super::run_log::{Appended, Expiry, RunLog};
use super::{MemoryEventLog, MemoryLogOptions};

const LINGER: Duration = Duration::from_secs(30);

struct Factory(MemoryLogOptions);

#[async_trait]
impl LogFactory for Factory {
    async fn open(&self, store: Arc<dyn Store>) -> Arc<dyn EventLog> {
        Arc::new(MemoryEventLog::new(store, self.0))
    }
}

mod with_room {
    use super::{Factory, MemoryLogOptions};

    callboard_actors::event_log_conformance!(Factory(MemoryLogOptions::default()));
}

mod with_almost_no_memory {
    use super::{Factory, MemoryLogOptions};

    const TIGHT: MemoryLogOptions = MemoryLogOptions {
        memory_per_run: 3000,
        memory_total: 60_000,
        linger_after_end: super::LINGER,
        read_chunk: 2000,
    };
    callboard_actors::event_log_conformance!(Factory(TIGHT));
}

mod with_no_memory_and_no_patience {
    use super::{Factory, MemoryLogOptions};

    const NONE: MemoryLogOptions = MemoryLogOptions {
        memory_per_run: 0,
        memory_total: 0,
        linger_after_end: std::time::Duration::from_millis(1),
        read_chunk: 1,
    };
    callboard_actors::event_log_conformance!(Factory(NONE));
}

fn open(options: MemoryLogOptions) -> (MemoryEventLog, Arc<dyn EventLog>, Arc<MemoryStore>) {
    let store = Arc::new(MemoryStore::new());
    let log = MemoryEventLog::new(store.clone(), options);
    (log.clone(), Arc::new(log), store)
}

fn is_waiting(stream: &mut EventStream) -> bool {
    tokio::task::unconstrained(next_batch(stream)).now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn logs_leave_memory_when_nobody_needs_them() {
    let (memory, log, store) = open(MemoryLogOptions::default());
    let mut ended = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    ended.write_deltas(10).await;
    let mut silent = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    silent.write_deltas(10).await;
    let mut unflushed = ScriptedWriter::of_new_run(&log, &store, Durability::Relaxed);
    unflushed.write_deltas(10).await;
    ended.finish().await;
    let mut reader = log.follow(silent.run, Some(9));
    assert!(is_waiting(&mut reader));
    assert_eq!(memory.usage().runs, 3);

    tokio::time::sleep(LINGER * 2).await;
    assert_eq!(memory.usage().runs, 2, "the ended one has gone");
    expect_whole_log(&log, ended.run, None, 10).await;
    assert_eq!(memory.usage().runs, 2, "who only read it left nothing");

    drop(reader);
    unflushed.flush();
    tokio::time::sleep(LINGER * 3).await;
    assert_eq!((memory.usage().runs, memory.usage().bytes), (0, 0));

    for writer in [&mut silent, &mut unflushed] {
        writer.finish().await;
        expect_whole_log(&log, writer.run, None, 10).await;
    }
    tokio::time::sleep(LINGER * 2).await;
    assert_eq!((memory.usage().runs, memory.usage().bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiting_readers_of_quiet_runs_ask_nothing() {
    let (memory, log, store) = open(MemoryLogOptions::default());
    let mut writers: Vec<_> = (0..2000)
        .map(|_| ScriptedWriter::of_new_run(&log, &store, Durability::Strict))
        .collect();
    for writer in &mut writers {
        // Known to the store only, as after a restart.
        let events = writer.encode([delta("before")]);
        store.commit_events(writer.run, 1, events);
    }
    let mut readers: Vec<_> = writers.iter().map(|writer| log.follow(writer.run, Some(0))).collect();
    assert!(readers.iter_mut().all(is_waiting));
    let reads = store.reads();
    assert!(reads <= 2000, "{reads} reads for 2000 readers");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(readers.iter_mut().all(is_waiting));
    assert_eq!(store.reads(), reads, "waiting asks the store nothing");

    writers[7].finish().await;
    assert_eq!(read_to_the_end(&mut readers[7]).await, [1]);
    drop(readers);
    tokio::time::sleep(LINGER * 2).await;
    assert_eq!((memory.usage().runs, memory.usage().bytes), (0, 0));
}

#[tokio::test]
async fn memory_is_bounded_per_run_and_in_all() {
    let options = MemoryLogOptions {
        memory_per_run: 20_000,
        memory_total: 100_000,
        ..MemoryLogOptions::default()
    };
    let (memory, log, store) = open(options);
    let mut writers: Vec<_> = (0..50)
        .map(|_| ScriptedWriter::of_new_run(&log, &store, Durability::Strict))
        .collect();
    let long_text = "x".repeat(800);
    writers[0].write((0..10).map(|_| delta(&long_text))).await;
    for _ in 0..100 {
        writers[0].write([delta(&long_text)]).await;
    }
    assert!(memory.usage().bytes < 25_000, "{:?}", memory.usage());
    for _ in 0..20 {
        for writer in &mut writers {
            writer.write([delta(&long_text)]).await;
        }
        assert!(memory.usage().bytes < 105_000, "{:?}", memory.usage());
    }
    for writer in &mut writers[1..] {
        writer.finish().await;
        expect_whole_log(&log, writer.run, None, 20).await;
    }
    assert!(memory.usage().bytes < 105_000, "{:?}", memory.usage());
}

#[tokio::test]
async fn a_reader_far_behind_gets_big_slices() {
    let (_, log, store) = open(MemoryLogOptions::default());
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run: RunId = writer.run;
    writer.write_deltas(1000).await;
    writer.finish().await;
    let after_restart = MemoryEventLog::new(store.clone(), MemoryLogOptions::default());
    for log in [log, Arc::new(after_restart)] {
        let mut stream = log.follow(run, None);
        let (mut batches, mut bytes) = (0, 0);
        while let Some(batch) = next_batch(&mut stream).await {
            batches += 1;
            bytes += batch.expect("no error").bytes().len();
        }
        assert!(batches <= bytes / (32 * 1024) + 1, "{bytes} bytes in {batches} batches");
    }
}

#[tokio::test]
async fn readers_that_leave_a_run_nobody_writes_leave_nothing() {
    let (memory, log, _store) = open(MemoryLogOptions::default());
    let run = RunId::new();
    let mut first = log.follow(run, None);
    let mut second = log.follow(run, Some(5));
    assert!(is_waiting(&mut first) && is_waiting(&mut second));
    drop(first);
    assert_eq!(memory.usage().runs, 1);
    drop(second);
    assert_eq!(memory.usage().runs, 0);
    assert_eq!(log.head(run).await, Ok(None));
}

#[tokio::test]
async fn a_new_run_that_is_watched_from_its_start_costs_no_read() {
    let (_, log, store) = open(MemoryLogOptions::default());
    let run = younger_run().await;
    let mut writer = ScriptedWriter::new(&log, &store, run, 1, 0, Durability::Strict);
    writer.write_deltas(1).await;
    let mut reader = log.follow(run, None);
    writer.write_deltas(50).await;
    writer.finish().await;
    assert_eq!(read_to_the_end(&mut reader).await.len(), 52);
    assert_eq!(store.reads(), 0);
}

#[tokio::test]
async fn the_store_is_asked_where_it_is_told_whoever_reads() {
    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .expect("a runtime");
    let store = Arc::new(MemoryStore::new());
    let run = RunId::new();
    let events = encode(run, 0, [delta("old")]).expect("one event");
    store.commit_events(run, 1, events.clone());
    let log = MemoryEventLog::asking_on(store, MemoryLogOptions::default(), io.handle().clone());
    assert_eq!(log.read(run, None, 10).await, Ok(vec![events]));
    // With that runtime gone nobody else asks in its place.
    io.shutdown_background();
    assert!(matches!(
        log.read(run, None, 10).await,
        Err(EventLogError::Unavailable(_))
    ));
}

#[test]
fn a_log_that_was_taken_out_takes_no_append() {
    let events = encode(RunId::new(), 0, [delta("late")]).expect("one event");
    let log = RunLog::new(Arc::default());
    assert!(log.forget_unused());
    assert_eq!(log.append(1, &events, true, 1000), Ok(Appended::Forgotten));

    let log = RunLog::new(Arc::default());
    assert_eq!(
        log.append(1, &events, true, 1000),
        Ok(Appended::Done { schedule: true })
    );
    assert!(!log.forget_unused(), "it has a writer");
    log.mark_durable(0, 1000);
    assert_eq!(log.expire(Instant::now() + LINGER * 2, LINGER), Expiry::Forgotten);
    assert_eq!(log.append(1, &events, true, 1000), Ok(Appended::Forgotten));
}

#[test]
fn a_log_that_does_not_linger_is_not_looked_at_all_the_time_until_it_is_durable() {
    let events = encode(RunId::new(), 0, [delta("new")]).expect("one event");
    let log = RunLog::new(Arc::default());
    log.append(1, &events, true, 1000).expect("it continues");
    let now = Instant::now();
    let looked = log.expire(now, Duration::ZERO);
    assert!(matches!(looked, Expiry::Later(due) if due > now), "{looked:?}");
    log.mark_durable(0, 1000);
    assert_eq!(log.expire(now, Duration::ZERO), Expiry::Forgotten);
}
