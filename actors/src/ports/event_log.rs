//! Port `EventLog`: one growing sequence per run, appended by its one writer, read by any number of readers.
//!
//! Contract (the conformance suite tries to break each line):
//! - A reader is only a position. It changes nothing, and a slow one costs nothing and loses nothing.
//! - `follow(run, after)` yields exactly `after + 1`, `after + 2`, … in order, each once, and ends after the terminal event. The only
//!   jump it may show is one that the writer made (`run.recovered` with `lost`, durability `relaxed`).
//! - Appends that do not continue the log are refused and change nothing: a stale epoch (`Fenced`), a seq that exists (`OutOfOrder`),
//!   anything after the terminal event (`Ended`). A higher epoch may start above the log's end, never below.
//! - Readers of a run that is not in memory are served from the store, and see what is appended later all the same.
//! - Events that the store has forgotten are answered with `Forgotten`, by `read` and `follow`. Whoever has read to the end is not concerned.

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::encoding::EncodedEvents;
use crate::ids::RunId;

/// Batches of neighbouring events, none empty.
pub type EventStream = BoxStream<'static, Result<EncodedEvents, EventLogError>>;

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// The seq that the next event will get; 0 for an empty log.
    pub next_seq: u64,
    /// Whether the terminal event is there.
    pub ended: bool,
}

/// One growing sequence of events per run.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// Adds events and wakes the readers. When it returns, every reader may see them.
    async fn append(&self, run: RunId, epoch: u64, events: EncodedEvents) -> Result<(), EventLogError>;

    /// The store has every event up to `seq`: the log may forget them and serve them from there. Events of runs whose writer never
    /// says so are kept.
    fn mark_durable(&self, run: RunId, seq: u64);

    /// Where the run's log ends now. `None`: no event of this run is known, in memory or in the store.
    async fn head(&self, run: RunId) -> Result<Option<LogHead>, EventLogError>;

    /// What is there now above `after` (from the beginning if `None`): at most `limit` events (≥ 1), in order. Does not wait.
    async fn read(&self, run: RunId, after: Option<u64>, limit: u64) -> Result<Vec<EncodedEvents>, EventLogError>;

    /// This instance does not write the run any more: it ended, or another instance has it. Readers of it here go on with what the
    /// others write. Appending again takes the run back.
    fn release(&self, run: RunId);

    /// Whether events reach the readers of other instances now. `None`: they are not meant to; readers of other instances see nothing.
    fn reach(&self) -> Option<Reach>;

    /// What is there above `after` and then what comes, until the terminal event.
    fn follow(&self, run: RunId, after: Option<u64>) -> EventStream;
}

/// How far events reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every instance.
    Everywhere,
    /// Only this instance: what connects them is away. They will be delivered when it is back.
    OnlyHere,
}

/// Why a log could not be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventLogError {
    /// A higher epoch writes this log.
    #[error("the log is written by a later epoch")]
    Fenced,
    /// The events do not begin where the log ends.
    #[error("the log continues at {expected}, not at {found}")]
    OutOfOrder {
        /// What the next seq must be.
        expected: u64,
        /// What it was.
        found: u64,
    },
    /// The terminal event is there already.
    #[error("the log has ended")]
    Ended,
    /// The run ended so long ago that its events are not kept any more.
    #[error("the events are no longer kept")]
    Forgotten,
    /// What lies behind the log did not answer. The text is for our log, never for clients.
    #[error("event log unavailable: {0}")]
    Unavailable(String),
}
