//! Readers that join in the very moment of an append: with that moment stretched, and by brute force on several threads. A lost wake
//! hangs its reader.

use std::sync::Arc;

use tokio::sync::Barrier;

use super::LogFactory;
use super::script::{Dice, Durability, ScriptedWriter, read_to_the_end, read_up_to, younger_run};
use crate::ids::RunId;
use crate::ports::EventLog;
use crate::testing::memory_store::MemoryStore;

const ROUNDS: u64 = 400;
const READERS: usize = 3;

/// The log of the run is not in memory when they come: it was never there, or the server has just started.
pub async fn readers_join_while_the_writer_opens_a_log(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut dice = Dice::new(11);
    for round in 0..ROUNDS {
        let run = RunId::new();
        let stored = dice.roll(2) * 10;
        if stored > 0 {
            let earlier_life = factory.open(store.clone()).await;
            let mut earlier = ScriptedWriter::new(&earlier_life, &store, run, 1, 0, Durability::Strict);
            earlier.write_deltas(stored).await;
        }
        let durability = if round % 2 == 0 {
            Durability::Strict
        } else {
            Durability::Relaxed
        };
        let mut writer = ScriptedWriter::new(&log, &store, run, 2, stored, durability);
        race(&log, run, &mut dice, async move |pause: u64| {
            spin(pause);
            writer.write_deltas(2).await;
            writer.finish().await;
        })
        .await
        .into_iter()
        .for_each(|seqs| assert_eq!(seqs, (0..=stored + 2).collect::<Vec<u64>>(), "round {round}"));
    }
}

/// The writer's last append: who hears of the end must have heard everything.
pub async fn readers_join_while_the_writer_ends(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut dice = Dice::new(12);
    for round in 0..ROUNDS {
        let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Relaxed);
        let run = writer.run;
        writer.write_deltas(3).await;
        race(&log, run, &mut dice, async move |pause: u64| {
            spin(pause);
            writer.finish().await;
        })
        .await
        .into_iter()
        .for_each(|seqs| assert_eq!(seqs, [0, 1, 2, 3], "round {round}"));
    }
}

/// The reader's look into the store is held while the writer writes: what the reader finds is old when it hears of it.
pub async fn what_comes_during_a_look_into_the_store_is_seen(factory: &impl LogFactory) {
    for round in 0..40 {
        let stored = (round % 2) * 7;
        let store = Arc::new(MemoryStore::new());
        let run = RunId::new();
        if stored > 0 {
            let earlier_life = factory.open(store.clone()).await;
            let mut earlier = ScriptedWriter::new(&earlier_life, &store, run, 1, 0, Durability::Strict);
            earlier.write_deltas(stored).await;
        }
        let log = factory.open(store.clone()).await;
        // The log may be sure of a new run's newness without a look, but not of one that is older than itself.
        let run = if stored > 0 { run } else { younger_run().await };
        let held = store.hold_reads();
        let mut stream = log.follow(run, stored.checked_sub(1));
        let (tell_seen, seen_first) = tokio::sync::oneshot::channel();
        let reader = tokio::spawn(async move {
            let first = read_up_to(&mut stream, stored).await;
            tell_seen.send(first).expect("the test waits for this");
            read_to_the_end(&mut stream).await
        });
        held.one_more().await;
        let mut writer = ScriptedWriter::new(&log, &store, run, 2, stored, Durability::Strict);
        let mut writing = tokio::spawn(async move {
            writer.write_deltas(1).await;
            writer
        });
        // Either the writer is through, or its log asks the same store and is held too.
        let early = tokio::select! {
            writer = &mut writing => Some(writer),
            () = held.one_more() => None,
        };
        held.release();
        let written = match early {
            Some(writer) => writer,
            None => writing.await,
        };
        let mut writer = written.expect("the writer panicked");
        // No second event before the first is seen: it would wake a reader that has missed the first.
        assert_eq!(seen_first.await.expect("the reader has seen it"), [stored]);
        writer.finish().await;
        assert_eq!(reader.await.expect("a reader panicked"), [stored + 1]);
    }
}

/// Lets readers and the writer loose at once, each after a tiny pause, and gives what the readers saw.
async fn race<W>(log: &Arc<dyn EventLog>, run: RunId, dice: &mut Dice, write: W) -> Vec<Vec<u64>>
where
    W: AsyncFnOnce(u64),
{
    let start = Arc::new(Barrier::new(READERS + 1));
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (start, log, pause) = (Arc::clone(&start), Arc::clone(log), dice.roll(200));
            tokio::spawn(async move {
                start.wait().await;
                spin(pause);
                read_to_the_end(&mut log.follow(run, None)).await
            })
        })
        .collect();
    start.wait().await;
    write(dice.roll(200)).await;
    let mut seen = Vec::new();
    for reader in readers {
        seen.push(reader.await.expect("a reader panicked"));
    }
    seen
}

fn spin(rounds: u64) {
    for _ in 0..rounds {
        std::hint::spin_loop();
    }
}
