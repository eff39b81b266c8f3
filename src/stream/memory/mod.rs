//! The `EventLog` of one instance: events are appended once, in memory, and shared by all readers; what is older is in the store.
//!
//! ```text
//!    store: 0 ─────────────── durable ───────────────▶
//!    memory:                 [ window: newest chunks ]▶ next_seq
//!    readers:      ▲ far behind: pages from the store   ▲ at the end: wait for the run's bell
//! ```
//!
//! What holds:
//! - A chunk leaves memory only when the store has it (`mark_durable`). So what a reader finds neither in memory nor in the store was left
//!   out by the writer.
//! - A reader joins the run's entry before it reads the store, and takes a place at the bell before it looks for the last time. So it
//!   misses nothing, and nobody polls.
//! - An entry lives while it has a reader, or something that is not durable, or was appended to within the linger time. One task
//!   looks after all of them.
//! - Where memory cannot say whether an append continues the log (after a restart, after a long silence, when a commit by another
//!   task is not appended yet), the run's record in the store decides.

mod cursor;
mod janitor;
mod registry;
mod run_log;
#[cfg(test)]
mod tests;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::{EventLog, EventLogError, EventStream, LogHead, Reach, Store};
use futures::StreamExt;
use tokio::runtime::Handle;

use self::cursor::{Cursor, Found};
use self::registry::Registry;

/// How much memory events may take, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLogOptions {
    /// Bytes of events kept per run. More only for what is not durable yet, and for the newest chunk.
    pub memory_per_run: usize,
    /// Bytes kept for all runs together. More only for what is not durable yet.
    pub memory_total: usize,
    /// How long a log that nobody appends to or reads stays in memory: after its end, or in a long silence.
    pub linger_after_end: Duration,
    /// Bytes that a reader far behind is given at once, from memory or from the store (about; single batches may be larger).
    pub read_chunk: usize,
}

impl Default for MemoryLogOptions {
    fn default() -> Self {
        Self {
            memory_per_run: 256 * 1024,
            memory_total: 128 * 1024 * 1024,
            linger_after_end: Duration::from_secs(30),
            read_chunk: 64 * 1024,
        }
    }
}

/// How much is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLogUsage {
    /// Runs that are written or read, or were until a moment ago.
    pub runs: usize,
    /// About how many bytes their events take.
    pub bytes: usize,
}

/// The event log of one instance. Cheap to clone: all clones are one log.
#[derive(Clone)]
pub struct MemoryEventLog {
    registry: Arc<Registry>,
}

impl MemoryEventLog {
    /// An empty log over what `store` has, which is asked by whoever reads.
    pub fn new(store: Arc<dyn Store>, options: MemoryLogOptions) -> Self {
        Self {
            registry: Arc::new(Registry::new(store, options, None)),
        }
    }

    /// As [`MemoryEventLog::new`], but a log that asks its store on this runtime whoever reads. The store's connections then belong to one runtime, although
    /// readers are polled by the threads that send their bytes.
    pub fn asking_on(store: Arc<dyn Store>, options: MemoryLogOptions, io: Handle) -> Self {
        Self {
            registry: Arc::new(Registry::new(store, options, Some(io))),
        }
    }

    /// How much is in memory now.
    pub fn usage(&self) -> MemoryLogUsage {
        MemoryLogUsage {
            runs: self.registry.run_count(),
            bytes: self.registry.bytes(),
        }
    }
}

#[async_trait]
impl EventLog for MemoryEventLog {
    async fn append(&self, run: RunId, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError> {
        self.registry.append(run, epoch, &events).await
    }

    fn mark_durable(&self, run: RunId, seq: u64) {
        if let Some(log) = self.registry.get(run) {
            log.mark_durable(seq, self.registry.options.memory_per_run);
        }
    }

    async fn head(&self, run: RunId) -> Result<Option<LogHead>, EventLogError> {
        if let Some(head) = self.registry.get(run).and_then(|log| log.head()) {
            return Ok(Some(head));
        }
        let record = self.registry.stored_run(run).await?;
        Ok(record.filter(|record| record.next_seq > 0).map(|record| LogHead {
            next_seq: record.next_seq,
            ended: record.state.is_terminal(),
        }))
    }

    async fn read(&self, run: RunId, after: Option<u64>, limit: u64) -> Result<Vec<EncodedEvents>, EventLogError> {
        let mut cursor = Cursor::new(&self.registry, run, after);
        let mut batches = Vec::new();
        let mut wanted = limit.max(1);
        while wanted > 0 {
            let Found::Events(events) = cursor.found().await? else {
                break;
            };
            let events = events.truncated(wanted);
            wanted -= events.count();
            batches.push(events);
        }
        Ok(batches)
    }

    /// Nothing to do: nobody else writes what readers here could go on with.
    fn release(&self, _run: RunId) {}

    fn reach(&self) -> Option<Reach> {
        None
    }

    fn follow(&self, run: RunId, after: Option<u64>) -> EventStream {
        let cursor = Cursor::new(&self.registry, run, after);
        futures::stream::unfold(cursor, |mut cursor| async move {
            let answer = cursor.follow().await?;
            Some((answer, cursor))
        })
        .boxed()
    }
}
