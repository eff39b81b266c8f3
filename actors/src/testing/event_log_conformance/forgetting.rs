//! Runs whose events the store does not keep any more.

use std::sync::Arc;

use super::LogFactory;
use super::script::{Durability, ScriptedWriter, next_batch};
use crate::ports::{EventLog, EventLogError, EventStream, LogHead, Store};
use crate::testing::memory_store::MemoryStore;
use crate::time::Timestamp;

async fn forget(store: &MemoryStore) {
    assert_eq!(store.forget_events(Timestamp::now(), 10).await, Ok(1));
}

/// To whoever wants to read them, once; whoever has read them all hears what he always hears.
pub async fn forgotten_events_are_said_to_be_so(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    writer.write_deltas(30).await;
    writer.finish().await;
    forget(&store).await;
    let log = factory.open(store.clone()).await;
    for after in [None, Some(0), Some(29)] {
        assert_eq!(log.read(run, after, 5).await, Err(EventLogError::Forgotten));
        let mut stream = log.follow(run, after);
        assert_eq!(next_batch(&mut stream).await, Some(Err(EventLogError::Forgotten)));
        assert_eq!(next_batch(&mut stream).await, None);
    }
    assert_eq!(log.read(run, Some(30), 5).await, Ok(Vec::new()));
    assert_eq!(next_batch(&mut log.follow(run, Some(30))).await, None);
    let head = LogHead {
        next_seq: 31,
        ended: true,
    };
    assert_eq!(log.head(run).await, Ok(Some(head)));
}

/// It gets what follows what it has, for as long as that is there, and then hears that the rest is gone: also in the log that has the
/// newest events in memory.
pub async fn a_reader_that_is_overtaken_by_the_retention_sees_no_gap(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let written = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&written, &store, Durability::Strict);
    let run = writer.run;
    writer.write_deltas(4000).await;
    writer.finish().await;
    let restarted = factory.open(store.clone()).await;
    let logs: [Arc<dyn EventLog>; 2] = [written, restarted];
    let mut readers = Vec::new();
    for log in &logs {
        let mut stream = log.follow(run, None);
        let first = next_batch(&mut stream).await.expect("events").expect("no error");
        assert_eq!(first.first_seq(), 0);
        readers.push((stream, first.last_seq() + 1));
    }
    forget(&store).await;
    for (stream, next) in readers {
        read_on(stream, next).await;
    }
    for log in &logs {
        read_on(log.follow(run, None), 0).await;
    }
}

/// To the last event or to where they are forgotten.
async fn read_on(mut stream: EventStream, mut next: u64) {
    while let Some(answer) = next_batch(&mut stream).await {
        match answer {
            Ok(batch) => {
                assert_eq!(batch.first_seq(), next);
                next = batch.last_seq() + 1;
            }
            Err(error) => {
                assert_eq!(error, EventLogError::Forgotten);
                return;
            }
        }
    }
    assert_eq!(next, 4001, "all of it");
}
