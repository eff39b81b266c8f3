//! What readers see: everything once, in order, from any position, whatever memory has forgotten.

use std::sync::Arc;

use super::LogFactory;
use super::script::{Durability, ScriptedWriter, delta, expect_whole_log, next_batch, read_to_the_end};
use crate::ids::RunId;
use crate::testing::memory_store::MemoryStore;

/// Resuming after any seq, while the log grows and when it has ended, gives exactly the rest.
pub async fn every_position_resumes_exactly(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    writer.write_deltas(30).await;
    writer.write((0..30).map(|_| delta("in one batch"))).await;
    let positions: Vec<Option<u64>> = std::iter::once(None).chain((0..60).map(Some)).collect();
    let mut early: Vec<_> = positions
        .iter()
        .map(|after| (*after, log.follow(run, *after)))
        .collect();
    writer.write_deltas(3).await;
    writer.finish().await;
    for (after, stream) in &mut early {
        let first = after.map_or(0, |after| after + 1);
        assert_eq!(read_to_the_end(stream).await, (first..=63).collect::<Vec<u64>>());
    }
    for after in positions {
        expect_whole_log(&log, run, after, 63).await;
    }
    // All was read: the stream has nothing and ends, also beyond the end.
    for after in [63, 64, crate::event::MAX_SEQ] {
        assert!(next_batch(&mut log.follow(run, Some(after))).await.is_none());
    }
}

/// A reader of a run that nobody has written to yet.
pub async fn a_reader_may_come_before_the_first_event(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let run = RunId::new();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = log.follow(run, None);
            tokio::spawn(async move { read_to_the_end(&mut stream).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let mut writer = ScriptedWriter::new(&log, &store, run, 1, 0, Durability::Strict);
    writer.write_deltas(20).await;
    writer.finish().await;
    for reader in readers {
        assert_eq!(reader.await.expect("a reader panicked"), (0..=20).collect::<Vec<u64>>());
    }
}

/// A reader that has seen all but the end hears it, and one that has seen the end is let go, also by a log that knows it from the store only.
pub async fn a_reader_at_the_end_hears_the_end(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Relaxed);
    let run = writer.run;
    writer.write_deltas(10).await;
    let mut stream = log.follow(run, Some(9));
    writer.finish().await;
    assert_eq!(read_to_the_end(&mut stream).await, [10]);
    let after_restart = factory.open(store.clone()).await;
    expect_whole_log(&after_restart, run, Some(9), 10).await;
    assert!(next_batch(&mut after_restart.follow(run, Some(10))).await.is_none());
}

/// `read` gives at most what was asked for, and returns at once when there is nothing.
pub async fn pages_are_bounded_and_do_not_wait(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    assert_eq!(log.read(run, None, 10).await, Ok(Vec::new()));
    writer.write_deltas(25).await;
    let restarted = factory.open(store.clone()).await;
    for log in [&log, &restarted] {
        let mut after = None;
        for expected in [0..=9, 10..=19, 20..=24] {
            let page = log.read(run, after, 10).await.expect("reads");
            let seqs: Vec<u64> = page
                .iter()
                .flat_map(|batch| batch.first_seq()..=batch.last_seq())
                .collect();
            assert_eq!(seqs, expected.collect::<Vec<u64>>());
            after = seqs.last().copied();
        }
        assert_eq!(log.read(run, after, 10).await, Ok(Vec::new()));
    }
}

/// More is written than memory may hold, before a reader and under it.
pub async fn readers_behind_are_served_from_the_store(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    let long_text = "x".repeat(1000);
    let mut slow = log.follow(run, None);
    let mut next = 0;
    for _ in 0..40 {
        writer.write((0..50).map(|_| delta(&long_text))).await;
        let batch = next_batch(&mut slow).await.expect("there is more").expect("no error");
        assert_eq!(batch.first_seq(), next);
        next = batch.last_seq() + 1;
    }
    writer.finish().await;
    let rest = read_to_the_end(&mut slow).await;
    assert_eq!(rest, (next..=2000).collect::<Vec<u64>>());
    expect_whole_log(&log, run, None, 2000).await;
}

/// Durability `relaxed`: what is shown and not yet committed is in memory only, and must stay there however much it is.
pub async fn unflushed_events_are_not_forgotten_under_pressure(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Relaxed);
    let run = writer.run;
    let long_text = "x".repeat(1000);
    let mut late_readers = Vec::new();
    for round in 0..20 {
        for _ in 0..50 {
            writer.write([delta(&long_text)]).await;
        }
        late_readers.push(log.follow(run, None));
        if round % 3 == 2 {
            writer.flush();
        }
    }
    writer.finish().await;
    for mut reader in late_readers {
        assert_eq!(read_to_the_end(&mut reader).await, (0..=1000).collect::<Vec<u64>>());
    }
}
