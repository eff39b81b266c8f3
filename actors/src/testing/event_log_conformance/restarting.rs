//! A server that starts again: a new log that knows nothing, over a store that knows what was committed.

use std::sync::Arc;

use super::LogFactory;
use super::script::{Durability, ScriptedWriter, delta, expect_whole_log, next_batch, read_to_the_end, read_up_to};
use crate::encoding::encode;
use crate::ports::{EventLogError, LogHead};
use crate::testing::memory_store::MemoryStore;

/// The log goes on where the store ends; what does not fit there is refused.
pub async fn a_new_log_continues_where_the_store_ends(factory: &impl LogFactory) {
    for durability in [Durability::Strict, Durability::Relaxed] {
        let store = Arc::new(MemoryStore::new());
        let log = factory.open(store.clone()).await;
        let mut before = ScriptedWriter::of_new_run(&log, &store, durability);
        let run = before.run;
        before.write_deltas(40).await;
        before.flush();
        let log = factory.open(store.clone()).await;
        let head = LogHead {
            next_seq: 40,
            ended: false,
        };
        assert_eq!(log.head(run).await, Ok(Some(head)));
        for wrong in [0, 10, 38, 41] {
            let events = encode(run, wrong, [delta("wrong")]).expect("one event");
            let refusal = EventLogError::OutOfOrder {
                expected: 40,
                found: wrong,
            };
            assert_eq!(log.append(run, 1, events).await, Err(refusal));
        }
        let mut after = ScriptedWriter::new(&log, &store, run, 2, 40, Durability::Strict);
        after.write_deltas(1).await;
        let zombie = encode(run, 41, [delta("late")]).expect("one event");
        assert_eq!(log.append(run, 1, zombie.clone()).await, Err(EventLogError::Fenced));
        after.finish().await;
        expect_whole_log(&log, run, None, 41).await;
        expect_whole_log(&log, run, Some(39), 41).await;
        // And once more, now that it has ended.
        let log = factory.open(store.clone()).await;
        let more = encode(run, 42, [delta("more")]).expect("one event");
        assert_eq!(log.append(run, 2, more).await, Err(EventLogError::Ended));
        assert_eq!(log.append(run, 1, zombie).await, Err(EventLogError::Fenced));
        expect_whole_log(&log, run, None, 41).await;
    }
}

/// Readers who come back before the writer does.
pub async fn readers_wait_across_a_restart(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut before = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = before.run;
    before.write_deltas(25).await;
    drop(log);
    let log = factory.open(store.clone()).await;
    let readers: Vec<_> = [None, Some(3), Some(24)]
        .into_iter()
        .map(|after| {
            let mut stream = log.follow(run, after);
            tokio::spawn(async move { (after, read_to_the_end(&mut stream).await) })
        })
        .collect();
    let mut at_the_end = log.follow(run, Some(22));
    assert_eq!(read_up_to(&mut at_the_end, 24).await, [23, 24]);
    let mut after = ScriptedWriter::new(&log, &store, run, 2, 60, Durability::Strict);
    after.write_deltas(5).await;
    after.finish().await;
    let rest: Vec<u64> = (60..=65).collect();
    assert_eq!(read_to_the_end(&mut at_the_end).await, rest);
    for reader in readers {
        let (after, seqs) = reader.await.expect("a reader panicked");
        let first = after.map_or(0, |after| after + 1);
        assert_eq!(seqs, (first..25).chain(60..=65).collect::<Vec<u64>>());
    }
}

/// A store that does not answer is one error and the end of the stream; the next attempt works.
pub async fn a_broken_store_is_one_error(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut before = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = before.run;
    before.write_deltas(10).await;
    let log = factory.open(store.clone()).await;
    store.set_broken(true);
    let mut stream = log.follow(run, None);
    let answer = next_batch(&mut stream).await;
    assert!(matches!(answer, Some(Err(EventLogError::Unavailable(_)))), "{answer:?}");
    assert!(next_batch(&mut stream).await.is_none());
    assert!(matches!(
        log.read(run, None, 5).await,
        Err(EventLogError::Unavailable(_))
    ));
    let events = encode(run, 10, [delta("unheard")]).expect("one event");
    assert!(matches!(
        log.append(run, 1, events).await,
        Err(EventLogError::Unavailable(_))
    ));
    store.set_broken(false);
    let mut after = ScriptedWriter::new(&log, &store, run, 2, 10, Durability::Strict);
    after.finish().await;
    expect_whole_log(&log, run, None, 10).await;
}
