//! Looks at a run that is written by another instance, or by none: the store, and what Redis has above it. The local log is not asked, for
//! it may have stopped in the middle.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::{EventLogError, LogHead, StoreError};

use super::Shared;

/// Bytes read from the store at once.
const PAGE_BYTES: usize = 64 * 1024;

impl Shared {
    /// Where the run's log ends now, as far as the store and Redis know.
    pub(super) async fn head_elsewhere(&self, run: RunId) -> Result<Option<LogHead>, EventLogError> {
        let record = self.store.run(run).await.map_err(unavailable)?;
        let stored = record.filter(|record| record.next_seq > 0).map(|record| LogHead {
            next_seq: record.next_seq,
            ended: record.state.is_terminal(),
        });
        if stored.is_some_and(|head| head.ended) {
            return Ok(stored);
        }
        let Some(mut connection) = self.link.now() else {
            return Ok(stored);
        };
        match self.commands.top(&mut connection, run).await {
            Ok(top) => {
                let published = top.map(|top| LogHead {
                    next_seq: top.next_seq,
                    ended: top.ended,
                });
                Ok(stored.into_iter().chain(published).max_by_key(|head| head.next_seq))
            }
            Err(error) => {
                self.link.report(&error);
                Ok(stored)
            }
        }
    }

    /// At most `limit` events above `after`, as far as the store and Redis have them.
    pub(super) async fn read_elsewhere(
        &self,
        run: RunId,
        after: Option<u64>,
        limit: u64,
    ) -> Result<Vec<EncodedEvents>, EventLogError> {
        let mut page = Page {
            after,
            wanted: limit.max(1),
            batches: Vec::new(),
        };
        let record = self.store.run(run).await.map_err(unavailable)?;
        let (epoch, stored_end, ended) = record.map_or((0, 0, false), |record| {
            (record.epoch, record.next_seq, record.state.is_terminal())
        });
        while page.wanted > 0 && page.next() < stored_end {
            let stored = self
                .store
                .events(run, page.after, PAGE_BYTES)
                .await
                .map_err(unavailable)?;
            if stored.is_empty() {
                let record = self.store.run(run).await.map_err(unavailable)?;
                if record.is_some_and(|record| record.events_forgotten) {
                    return Err(EventLogError::Forgotten);
                }
                break;
            }
            stored.into_iter().for_each(|events| page.add(events));
        }
        if ended {
            return Ok(page.batches);
        }
        while page.wanted > 0 {
            let Some(mut connection) = self.link.now() else { break };
            let next = page.next();
            let messages = match self.commands.messages(&mut connection, run, epoch, next).await {
                Ok(messages) => messages,
                Err(error) => {
                    self.link.report(&error);
                    break;
                }
            };
            for message in messages {
                // What lies between was shown and is not durable yet, or never will be: the next read knows.
                if message.events.first_seq() <= page.next() {
                    page.add(message.events);
                }
            }
            if page.next() == next {
                break;
            }
        }
        Ok(page.batches)
    }
}

struct Page {
    after: Option<u64>,
    wanted: u64,
    batches: Vec<EncodedEvents>,
}

impl Page {
    fn next(&self) -> u64 {
        self.after.map_or(0, |after| after.saturating_add(1))
    }

    fn add(&mut self, events: EncodedEvents) {
        let Some(events) = events.after(self.after).filter(|_| self.wanted > 0) else {
            return;
        };
        let events = events.truncated(self.wanted);
        self.wanted -= events.count();
        self.after = Some(events.last_seq());
        self.batches.push(events);
    }
}

fn unavailable(error: StoreError) -> EventLogError {
    EventLogError::Unavailable(error.to_string())
}
