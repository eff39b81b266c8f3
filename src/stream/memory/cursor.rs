//! A reader: a position in a run's log that moves from the store into memory and then waits with the writer.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::EventLogError;

use super::registry::Registry;
use super::run_log::RunLog;
use super::window::Next;

/// What a reader finds.
pub(super) enum Found {
    /// What comes next.
    Events(EncodedEvents),
    /// Everything that is there has been read; more may come.
    Nothing,
    /// The terminal event has been read.
    Ended,
}

/// A position in a run's log.
pub(super) struct Cursor {
    registry: Arc<Registry>,
    run: RunId,
    log: Arc<RunLog>,
    /// The seq of the next event to give.
    next: u64,
    /// Read from the store and not given yet.
    from_store: VecDeque<EncodedEvents>,
    /// Where the store ended when it was asked. Once is enough: the log was joined before, and every append after that is seen in memory.
    store_end: Option<StoreEnd>,
    over: bool,
}

#[derive(Debug, Clone, Copy)]
struct StoreEnd {
    next_seq: u64,
    ended: bool,
}

impl Cursor {
    /// A reader who has read everything up to `after`. Joins the run's log before it looks anywhere, so that it misses nothing.
    pub(super) fn new(registry: &Arc<Registry>, run: RunId, after: Option<u64>) -> Self {
        Self {
            registry: Arc::clone(registry),
            run,
            log: registry.attach(run),
            next: after.map_or(0, |after| after.saturating_add(1)),
            from_store: VecDeque::new(),
            store_end: None,
            over: false,
        }
    }

    /// What comes next, waiting for it; `None` after the terminal event or an error.
    pub(super) async fn follow(&mut self) -> Option<Result<EncodedEvents, EventLogError>> {
        if self.over {
            return None;
        }
        // A reader far behind finds something at every call: others on its thread must have their turn.
        tokio::task::consume_budget().await;
        loop {
            // Without the waiting first: it costs a lock and a place in the notifier's list.
            if let ControlFlow::Break(answer) = self.answer().await {
                return answer;
            }
            let log = Arc::clone(&self.log);
            let mut grown = pin!(log.grown().notified());
            // Joined before the look, so that an append between the look and the wait is heard.
            grown.as_mut().enable();
            if let ControlFlow::Break(answer) = self.answer().await {
                return answer;
            }
            grown.await;
        }
    }

    /// What is there now; does not wait for the writer.
    pub(super) async fn found(&mut self) -> Result<Found, EventLogError> {
        loop {
            if let Some(events) = self.from_store.pop_front() {
                return Ok(self.give(events));
            }
            let max_bytes = self.registry.options.read_chunk;
            match self.log.next_from(self.next, max_bytes) {
                Some(Next::Chunks(chunks)) => {
                    if let Some(events) = self.join(&chunks) {
                        return Ok(self.give(events));
                    }
                }
                Some(Next::Stored { below }) => {
                    if !self.load(below).await? {
                        self.check_not_forgotten().await?;
                        // Neither here nor there: the writer jumped.
                        self.next = below;
                    }
                }
                Some(Next::Nothing { ended: true }) => return Ok(Found::Ended),
                Some(Next::Nothing { ended: false }) => return Ok(Found::Nothing),
                None => {
                    let end = self.store_end().await?;
                    if self.next >= end.next_seq {
                        return Ok(if end.ended { Found::Ended } else { Found::Nothing });
                    }
                    if !self.load(end.next_seq).await? {
                        self.check_not_forgotten().await?;
                        if end.ended {
                            let lost = "the store has no events where its record of the run says there are";
                            return Err(EventLogError::Unavailable(lost.to_owned()));
                        }
                        self.next = end.next_seq;
                    }
                }
            }
        }
    }

    /// An answer, or go on and wait.
    async fn answer(&mut self) -> ControlFlow<Option<Result<EncodedEvents, EventLogError>>> {
        match self.found().await {
            Ok(Found::Events(events)) => ControlFlow::Break(Some(Ok(events))),
            Ok(Found::Nothing) => ControlFlow::Continue(()),
            Ok(Found::Ended) => {
                self.over = true;
                ControlFlow::Break(None)
            }
            Err(error) => {
                self.over = true;
                ControlFlow::Break(Some(Err(error)))
            }
        }
    }

    fn give(&mut self, events: EncodedEvents) -> Found {
        self.next = events.last_seq() + 1;
        self.over |= events.is_terminal();
        Found::Events(events)
    }

    /// Neighbouring batches as one, without what was read already.
    fn join(&self, batches: &[EncodedEvents]) -> Option<EncodedEvents> {
        let after = self.next.checked_sub(1);
        let (first, others) = batches.split_first()?;
        let first = first.after(after)?;
        EncodedEvents::join_all(std::iter::once(&first).chain(others))
    }

    /// Reads the next page from the store, up to but not including `below`; `false` if there is nothing.
    async fn load(&mut self, below: u64) -> Result<bool, EventLogError> {
        let (after, max_bytes) = (self.next.checked_sub(1), self.registry.options.read_chunk);
        let page = self.registry.stored_events(self.run, after, max_bytes).await?;
        let mut neighbours: Vec<EncodedEvents> = Vec::new();
        let mut bytes = 0;
        for batch in page {
            let Some(batch) = batch.after(after) else { continue };
            if batch.first_seq() >= below {
                break;
            }
            let batch = batch.truncated(below - batch.first_seq());
            let continues = neighbours
                .last()
                .is_none_or(|last| last.last_seq() + 1 == batch.first_seq());
            bytes += batch.bytes().len();
            if !continues || bytes > max_bytes {
                self.from_store.extend(EncodedEvents::join_all(&neighbours));
                neighbours.clear();
                bytes = batch.bytes().len();
            }
            neighbours.push(batch);
        }
        self.from_store.extend(EncodedEvents::join_all(&neighbours));
        Ok(!self.from_store.is_empty())
    }

    /// Asked when the store has nothing where events should be.
    async fn check_not_forgotten(&self) -> Result<(), EventLogError> {
        match self.registry.stored_run(self.run).await? {
            Some(record) if record.events_forgotten => Err(EventLogError::Forgotten),
            _ => Ok(()),
        }
    }

    async fn store_end(&mut self) -> Result<StoreEnd, EventLogError> {
        if let Some(end) = self.store_end {
            return Ok(end);
        }
        let record = self.registry.stored_run(self.run).await?;
        let end = record.map_or(
            StoreEnd {
                next_seq: 0,
                ended: false,
            },
            |record| StoreEnd {
                next_seq: record.next_seq,
                ended: record.state.is_terminal(),
            },
        );
        self.store_end = Some(end);
        Ok(end)
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.registry.detach(self.run, &self.log);
    }
}
