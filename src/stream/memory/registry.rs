//! Which runs have a log in memory, and what goes when there is too much of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use callboard_actors::ports::store::RunRecord;
use callboard_actors::ports::{EventLogError, Store, StoreError};
use callboard_actors::time::Timestamp;
use dashmap::DashMap;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::MemoryLogOptions;
use super::janitor::Janitor;
use super::run_log::{Appended, Expiry, RunLog};

/// The logs in memory, one per run that is written or read.
pub(super) struct Registry {
    store: Arc<dyn Store>,
    /// Where the store is asked; by the reader itself if nothing is said.
    io: Option<Handle>,
    pub(super) options: MemoryLogOptions,
    pub(super) janitor: Janitor,
    logs: DashMap<RunId, Arc<RunLog>>,
    total_bytes: Arc<AtomicUsize>,
    /// Above this many bytes it is time to look for something to drop. Only one looks at a time.
    relief_at: AtomicUsize,
    relieving: Mutex<()>,
    /// Milliseconds since 1970: a run whose id is younger was never forgotten here. If it has no log, it never had one.
    remembers_since: AtomicU64,
}

impl Registry {
    pub(super) fn new(store: Arc<dyn Store>, options: MemoryLogOptions, io: Option<Handle>) -> Self {
        Self {
            store,
            io,
            options,
            janitor: Janitor::default(),
            logs: DashMap::new(),
            total_bytes: Arc::new(AtomicUsize::new(0)),
            relief_at: AtomicUsize::new(options.memory_total),
            relieving: Mutex::new(()),
            remembers_since: AtomicU64::new(millis_since_1970()),
        }
    }

    pub(super) fn run_count(&self) -> usize {
        self.logs.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.total_bytes.load(Ordering::Acquire)
    }

    /// The run's log, if it has one.
    pub(super) fn get(&self, run: RunId) -> Option<Arc<RunLog>> {
        self.logs.get(&run).map(|log| Arc::clone(&log))
    }

    /// The run's log with one more reader, made if there is none. Must be followed by [`Registry::detach`].
    pub(super) fn attach(&self, run: RunId) -> Arc<RunLog> {
        let log = self.logs.entry(run).or_insert_with(|| self.new_log());
        log.add_reader();
        Arc::clone(&log)
    }

    /// A reader has left.
    pub(super) fn detach(self: &Arc<Self>, run: RunId, log: &RunLog) {
        if !log.remove_reader() {
            return;
        }
        let removed = self.logs.remove_if(&run, |_, log| log.forget_unused());
        if removed.is_none() && log.schedule_when_unread() {
            Janitor::schedule(self, run, Instant::now() + self.options.linger_after_end);
        }
    }

    /// Adds events to the run's log and wakes its readers.
    pub(super) async fn append(
        self: &Arc<Self>,
        run: RunId,
        epoch: u64,
        events: &EncodedEvents,
    ) -> Result<(), EventLogError> {
        // A new run need not ask the store whether it is new.
        let mut vouched = events.first_seq() == 0 && self.was_never_here(run);
        loop {
            let log = match self.get(run) {
                Some(log) => log,
                None => Arc::clone(&self.logs.entry(run).or_insert_with(|| self.new_log())),
            };
            let appended = log.append(epoch, events, vouched, self.options.memory_per_run);
            match appended {
                Ok(Appended::Done { schedule }) => {
                    if schedule {
                        Janitor::schedule(self, run, Instant::now() + self.options.linger_after_end);
                    }
                    self.relieve();
                    return Ok(());
                }
                Ok(Appended::Forgotten) => {}
                Ok(Appended::AskStore { expected }) => {
                    if let Err(refusal) = self.ask_store(run, epoch, events, expected).await {
                        self.logs.remove_if(&run, |_, log| log.forget_unused());
                        return Err(refusal);
                    }
                    vouched = true;
                }
                Err(refusal) => return Err(refusal),
            }
        }
    }

    /// The janitor's look at a log; says when to look again.
    pub(super) fn expire(&self, run: RunId, now: Instant) -> Option<Instant> {
        let mut expiry = Expiry::Forgotten;
        self.logs.remove_if(&run, |_, log| {
            expiry = log.expire(now, self.options.linger_after_end);
            expiry == Expiry::Forgotten
        });
        match expiry {
            Expiry::Later(due) => Some(due),
            Expiry::HeldByReaders => None,
            Expiry::Forgotten => {
                self.forgot_those_silent_for(self.options.linger_after_end);
                None
            }
        }
    }

    /// Whether events that memory cannot place continue the run's log: they are the last that the store has (they were committed before
    /// they were appended), or, for a log that is not in memory, they begin where the store ends. The same holds for a gap under one
    /// epoch: what lies between was committed by someone whose append is late.
    async fn ask_store(
        &self,
        run: RunId,
        epoch: u64,
        events: &EncodedEvents,
        expected: Option<u64>,
    ) -> Result<(), EventLogError> {
        let found = events.first_seq();
        let out_of_order = |stored_end: u64| EventLogError::OutOfOrder {
            expected: expected.unwrap_or(stored_end),
            found,
        };
        let record = self.stored_run(run).await?;
        let Some(record) = record else {
            return if found == 0 { Ok(()) } else { Err(out_of_order(0)) };
        };
        if epoch < record.epoch {
            return Err(EventLogError::Fenced);
        }
        let is_last_stored = events.last_seq() + 1 == record.next_seq;
        if record.state.is_terminal() && !(is_last_stored && events.is_terminal()) {
            return Err(EventLogError::Ended);
        }
        let begins_at_end = expected.is_none() && found == record.next_seq;
        let jumps = epoch > record.epoch && found >= record.next_seq;
        if is_last_stored || begins_at_end || jumps {
            return Ok(());
        }
        Err(out_of_order(record.next_seq))
    }

    /// The run as the store has it.
    pub(super) async fn stored_run(&self, run: RunId) -> Result<Option<RunRecord>, EventLogError> {
        let store = Arc::clone(&self.store);
        self.on_io(async move { store.run(run).await }).await
    }

    /// Events of the run above `after` as the store has them: about `max_bytes`.
    pub(super) async fn stored_events(
        &self,
        run: RunId,
        after: Option<u64>,
        max_bytes: usize,
    ) -> Result<Vec<EncodedEvents>, EventLogError> {
        let store = Arc::clone(&self.store);
        self.on_io(async move { store.events(run, after, max_bytes).await })
            .await
    }

    async fn on_io<T: Send + 'static>(
        &self,
        asking: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, EventLogError> {
        let answer = match &self.io {
            // A reader that goes away meanwhile leaves a look that changes nothing.
            Some(io) => io
                .spawn(asking)
                .await
                .unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string()))),
            None => asking.await,
        };
        answer.map_err(|error| EventLogError::Unavailable(error.to_string()))
    }

    /// Drops what the store has while there is more than `memory_total`: ended logs first, then unread ones, the longest silent first.
    fn relieve(&self) {
        if self.bytes() <= self.relief_at.load(Ordering::Acquire) {
            return;
        }
        let Ok(_only_one) = self.relieving.try_lock() else {
            return;
        };
        let limit = self.options.memory_total;
        // Some room at once, so that the next appends need not look again.
        let margin = limit / 8;
        let mut candidates: Vec<_> = self
            .logs
            .iter()
            .map(|entry| (entry.need(), *entry.key(), Arc::clone(&entry)))
            .collect();
        candidates.sort_unstable_by_key(|(need, run, _)| (*need, *run));
        for (_, run, log) in candidates {
            if self.bytes() <= limit - margin {
                break;
            }
            if self.logs.remove_if(&run, |_, log| log.forget_ended()).is_some() {
                self.forgot_those_silent_for(Duration::ZERO);
            } else {
                log.drop_durable();
            }
        }
        self.relief_at
            .store(limit.max(self.bytes().saturating_add(margin)), Ordering::Release);
    }

    fn forgot_those_silent_for(&self, silence: Duration) {
        let silence = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
        let last_append = millis_since_1970().saturating_sub(silence);
        self.remembers_since.fetch_max(last_append, Ordering::AcqRel);
    }

    fn was_never_here(&self, run: RunId) -> bool {
        let Some((seconds, nanos)) = run.uuid().get_timestamp().map(|time| time.to_unix()) else {
            return false;
        };
        let born = seconds
            .saturating_mul(1000)
            .saturating_add(u64::from(nanos / 1_000_000));
        born > self.remembers_since.load(Ordering::Acquire)
    }

    fn new_log(&self) -> Arc<RunLog> {
        Arc::new(RunLog::new(Arc::clone(&self.total_bytes)))
    }
}

fn millis_since_1970() -> u64 {
    u64::try_from(Timestamp::now().as_micros() / 1000).unwrap_or(0)
}
