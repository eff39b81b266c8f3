//! The whole of it at once: many runs, both durabilities, readers that drop and resume anywhere, one that is slow.

use std::sync::Arc;

use super::LogFactory;
use super::script::{Dice, Durability, ScriptedWriter, delta, expect_whole_log, next_batch};
use crate::ids::RunId;
use crate::ports::EventLog;
use crate::testing::memory_store::MemoryStore;

const RUNS: u64 = 200;
const EVENTS: u64 = 500;
const LAST: u64 = EVENTS - 1;

/// 200 runs × 500 events; all readers of all runs see exactly 0, 1, 2, … 499.
pub async fn two_hundred_runs_with_readers_that_drop_and_resume(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..RUNS {
        let durability = if index % 2 == 0 {
            Durability::Strict
        } else {
            Durability::Relaxed
        };
        let writer = ScriptedWriter::of_new_run(&log, &store, durability);
        let run = writer.run;
        for reader in 0..2 {
            tasks.spawn(read_with_drops(Arc::clone(&log), run, Dice::new(index * 10 + reader)));
        }
        if index == 0 {
            tasks.spawn(read_slowly(Arc::clone(&log), run));
        }
        tasks.spawn(write_all(writer, Dice::new(index)));
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a writer or reader panicked");
    }
}

async fn write_all(mut writer: ScriptedWriter, mut dice: Dice) {
    while writer.next_seq() < LAST {
        let count = (1 + dice.roll(7)).min(LAST - writer.next_seq());
        let text = "t".repeat(usize::try_from(1 + dice.roll(120)).unwrap_or(1));
        writer.write((0..count).map(|_| delta(&text))).await;
        if dice.roll(10) == 0 {
            writer.flush();
        }
        if dice.roll(3) == 0 {
            tokio::task::yield_now().await;
        }
    }
    writer.finish().await;
}

/// Goes away after a few batches and comes back with what it has seen last.
async fn read_with_drops(log: Arc<dyn EventLog>, run: RunId, mut dice: Dice) {
    let mut seen: Option<u64> = None;
    while seen != Some(LAST) {
        let mut stream = log.follow(run, seen);
        for _ in 0..1 + dice.roll(12) {
            let Some(batch) = next_batch(&mut stream).await else {
                assert_eq!(seen, Some(LAST), "the stream ended early");
                break;
            };
            let batch = batch.expect("no error");
            assert_eq!(batch.first_seq(), seen.map_or(0, |seen| seen + 1));
            seen = Some(batch.last_seq());
        }
    }
}

/// Takes one batch, then lets everyone else go first many times.
async fn read_slowly(log: Arc<dyn EventLog>, run: RunId) {
    let mut stream = log.follow(run, None);
    let mut next = 0;
    while let Some(batch) = next_batch(&mut stream).await {
        let batch = batch.expect("no error");
        assert_eq!(batch.first_seq(), next);
        next = batch.last_seq() + 1;
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(next, EVENTS);
    expect_whole_log(&log, run, None, LAST).await;
}
