//! What may be appended, and what is refused without a trace.

use std::sync::Arc;

use super::LogFactory;
use super::script::{Durability, ScriptedWriter, delta, end, expect_whole_log, read_to_the_end, read_up_to};
use crate::encoding::encode;
use crate::ids::RunId;
use crate::ports::{EventLogError, LogHead};
use crate::testing::memory_store::MemoryStore;

/// A seq that exists, or one that leaves a hole, is refused and changes nothing.
pub async fn appends_that_do_not_continue_the_log_are_refused(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    assert_eq!(log.head(run).await, Ok(None));
    writer.write_deltas(5).await;
    for (first_seq, epoch) in [(4, 1), (0, 1), (4, 2), (6, 1), (500, 1)] {
        let wrong = encode(run, first_seq, [delta("wrong"), delta("wrong")]).expect("two events");
        let refusal = EventLogError::OutOfOrder {
            expected: 5,
            found: first_seq,
        };
        assert_eq!(log.append(run, epoch, wrong).await, Err(refusal));
    }
    let head = LogHead {
        next_seq: 5,
        ended: false,
    };
    assert_eq!(log.head(run).await, Ok(Some(head)));
    writer.finish().await;
    expect_whole_log(&log, run, None, 5).await;
}

/// Two writers: as soon as the later one has written, the earlier one cannot.
pub async fn the_writer_before_is_fenced_off(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut zombie = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = zombie.run;
    zombie.write_deltas(3).await;
    let mut successor = ScriptedWriter::new(&log, &store, run, 2, 3, Durability::Strict);
    successor.write_deltas(1).await;
    for first_seq in [3, 4, 9] {
        let late = encode(run, first_seq, [delta("late")]).expect("one event");
        assert_eq!(log.append(run, 1, late).await, Err(EventLogError::Fenced));
    }
    successor.finish().await;
    expect_whole_log(&log, run, None, 4).await;
}

/// After the terminal event nothing is taken, under no epoch.
pub async fn nothing_follows_the_end(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = writer.run;
    writer.write_deltas(2).await;
    writer.finish().await;
    for (epoch, body) in [(1, delta("more")), (1, end()), (7, delta("more"))] {
        let more = encode(run, 3, [body]).expect("one event");
        assert_eq!(log.append(run, epoch, more).await, Err(EventLogError::Ended));
    }
    let head = LogHead {
        next_seq: 3,
        ended: true,
    };
    assert_eq!(log.head(run).await, Ok(Some(head)));
    expect_whole_log(&log, run, None, 2).await;
}

/// A writer that takes over may leave out what may have been shown and is lost.
pub async fn a_higher_epoch_may_jump_and_readers_see_that_jump(factory: &impl LogFactory) {
    let store = Arc::new(MemoryStore::new());
    let log = factory.open(store.clone()).await;
    let mut lost = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
    let run = lost.run;
    lost.write_deltas(4).await;
    let mut early = log.follow(run, Some(1));
    assert_eq!(read_up_to(&mut early, 3).await, [2, 3]);
    let mut successor = ScriptedWriter::new(&log, &store, run, 2, 100, Durability::Strict);
    successor.write_deltas(2).await;
    successor.finish().await;
    assert_eq!(read_to_the_end(&mut early).await, [100, 101, 102]);
    assert_eq!(
        read_to_the_end(&mut log.follow(run, None)).await,
        [0, 1, 2, 3, 100, 101, 102]
    );
    assert_eq!(read_to_the_end(&mut log.follow(run, Some(50))).await, [100, 101, 102]);
}

/// A commit whose append was lost, or comes late, is read from the store; the append is then refused, for it exists.
pub async fn what_is_committed_but_not_appended_is_no_hole(factory: &impl LogFactory) {
    for with_higher_epoch in [false, true] {
        let store = Arc::new(MemoryStore::new());
        let log = factory.open(store.clone()).await;
        let mut writer = ScriptedWriter::of_new_run(&log, &store, Durability::Strict);
        let run: RunId = writer.run;
        writer.write_deltas(2).await;
        let mut early = log.follow(run, Some(1));
        let late = writer.encode([delta("late"), delta("later")]);
        store.commit_events(run, writer.epoch, late.clone());
        let next_epoch = if with_higher_epoch { 2 } else { 1 };
        let mut other = ScriptedWriter::new(&log, &store, run, next_epoch, 4, Durability::Strict);
        other.write_deltas(1).await;
        let refusal = log.append(run, next_epoch, late).await;
        assert_eq!(refusal, Err(EventLogError::OutOfOrder { expected: 5, found: 2 }));
        other.finish().await;
        assert_eq!(read_to_the_end(&mut early).await, [2, 3, 4, 5]);
        expect_whole_log(&log, run, None, 5).await;
    }
}
