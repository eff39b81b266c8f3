//! A writer as a run actor is one, and readers that check every seq.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use crate::encoding::{EncodedEvents, EventEncoder};
use crate::event::EventBody;
use crate::ids::{ItemId, RunId};
use crate::item::Usage;
use crate::ports::{EventLog, EventLogError, EventStream};
use crate::testing::memory_store::MemoryStore;

/// Long enough for the slowest machine: a test that waits this long has found a lost wake.
const PATIENCE: Duration = Duration::from_secs(60);

/// When a writer's events reach the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before they are shown.
    Strict,
    /// Some time after, when [`ScriptedWriter::flush`] says so.
    Relaxed,
}

/// Writes a run's events as a run actor does.
pub struct ScriptedWriter {
    /// Which run.
    pub run: RunId,
    /// Who writes.
    pub epoch: u64,
    log: Arc<dyn EventLog>,
    store: Arc<MemoryStore>,
    durability: Durability,
    encoder: EventEncoder,
    unflushed: Vec<EncodedEvents>,
}

/// An event that says `text`.
pub fn delta(text: &str) -> EventBody {
    EventBody::TextDelta {
        item_id: ItemId::from_uuid(uuid::Uuid::nil()),
        delta: text.into(),
    }
}

/// The end.
pub(super) fn end() -> EventBody {
    EventBody::RunCompleted {
        usage: Usage::default(),
    }
}

impl ScriptedWriter {
    /// A writer of `run` whose first event will be `next_seq`.
    pub fn new(
        log: &Arc<dyn EventLog>,
        store: &Arc<MemoryStore>,
        run: RunId,
        epoch: u64,
        next_seq: u64,
        durability: Durability,
    ) -> Self {
        Self {
            run,
            epoch,
            log: Arc::clone(log),
            store: Arc::clone(store),
            durability,
            encoder: EventEncoder::new(run, next_seq),
            unflushed: Vec::new(),
        }
    }

    /// A writer of a new run.
    pub fn of_new_run(log: &Arc<dyn EventLog>, store: &Arc<MemoryStore>, durability: Durability) -> Self {
        Self::new(log, store, RunId::new(), 1, 0, durability)
    }

    /// The seq of the next event.
    pub fn next_seq(&self) -> u64 {
        self.encoder.next_seq()
    }

    /// Numbers these without writing them anywhere.
    pub fn encode(&mut self, bodies: impl IntoIterator<Item = EventBody>) -> EncodedEvents {
        for body in bodies {
            self.encoder.push(body);
        }
        self.encoder.take().expect("a test writes something")
    }

    /// Writes events, as far as the store at once or not.
    pub async fn write(&mut self, bodies: impl IntoIterator<Item = EventBody>) {
        let events = self.encode(bodies);
        if self.durability == Durability::Strict {
            self.store.commit_events(self.run, self.epoch, events.clone());
        } else {
            self.unflushed.push(events.clone());
        }
        let last_seq = events.last_seq();
        let appended = self.log.append(self.run, self.epoch, events).await;
        assert_eq!(appended, Ok(()), "an append that continues the log");
        if self.durability == Durability::Strict {
            self.log.mark_durable(self.run, last_seq);
        }
    }

    /// Writes `count` deltas, one append each.
    pub async fn write_deltas(&mut self, count: u64) {
        for _ in 0..count {
            let text = format!("word {} ", self.next_seq());
            self.write([delta(&text)]).await;
        }
    }

    /// Brings what was only shown into the store.
    pub fn flush(&mut self) {
        let Some(events) = EncodedEvents::join_all(&self.unflushed) else {
            return;
        };
        self.unflushed.clear();
        let last_seq = events.last_seq();
        self.store.commit_events(self.run, self.epoch, events);
        self.log.mark_durable(self.run, last_seq);
    }

    /// Writes the terminal event: what was shown before it and itself are durable first, as for every run.
    pub async fn finish(&mut self) {
        self.flush();
        self.durability = Durability::Strict;
        self.write([end()]).await;
    }
}

/// The next batch, which must be there soon. `None` at the end of the stream.
pub async fn next_batch(stream: &mut EventStream) -> Option<Result<EncodedEvents, EventLogError>> {
    tokio::time::timeout(PATIENCE, stream.next())
        .await
        .expect("a reader heard nothing: a lost wake")
}

/// Reads on to the end of the stream and gives all seqs that came.
pub async fn read_to_the_end(stream: &mut EventStream) -> Vec<u64> {
    let mut seqs = Vec::new();
    let mut ended = false;
    while let Some(batch) = next_batch(stream).await {
        let batch = batch.expect("no error");
        assert!(!ended, "something came after the terminal event");
        assert_eq!(
            EncodedEvents::from_stored(batch.bytes().clone()).as_ref(),
            Ok(&batch),
            "a batch is what its bytes say"
        );
        seqs.extend(batch.first_seq()..=batch.last_seq());
        ended = batch.is_terminal();
    }
    assert!(ended, "the stream ended without the terminal event");
    seqs
}

/// Reads on until `last` has come and gives all seqs that came, however they were batched.
pub async fn read_up_to(stream: &mut EventStream, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.last().is_none_or(|seen| *seen < last) {
        let batch = next_batch(stream).await.expect("there is more").expect("no error");
        seqs.extend(batch.first_seq()..=batch.last_seq());
    }
    seqs
}

/// Follows the run after `after` and checks that exactly everything up to `last` comes.
pub async fn expect_whole_log(log: &Arc<dyn EventLog>, run: RunId, after: Option<u64>, last: u64) {
    let first = after.map_or(0, |after| after + 1);
    let seqs = read_to_the_end(&mut log.follow(run, after)).await;
    assert_eq!(seqs, (first..=last).collect::<Vec<u64>>());
}

/// A run whose id is of a later millisecond than everything before.
pub async fn younger_run() -> RunId {
    let millis = |run: RunId| run.uuid().get_timestamp().map(|time| time.to_unix().1 / 1_000_000);
    let now = millis(RunId::new());
    loop {
        let run = RunId::new();
        if millis(run) != now {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

/// Numbers that look random and are the same in every test run (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// Dice that fall as `seed` says.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}
