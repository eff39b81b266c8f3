//! One run's log in memory: a window behind a small lock, and the bell that wakes its readers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ports::{EventLogError, LogHead};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::window::{Next, Refusal, Window};

/// Before a log that is not durable yet is looked at again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// What became of an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appended {
    /// It is there.
    Done {
        /// The log must be looked at again after the linger time.
        schedule: bool,
    },
    /// Memory cannot say whether this continues the log; the store can. `expected` is the end as far as memory knows.
    AskStore { expected: Option<u64> },
    /// This log has been taken out of the map: look there again.
    Forgotten,
}

/// What the janitor is to do about a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expiry {
    /// Take it out of the map.
    Forgotten,
    /// Look again then.
    Later(Instant),
    /// It has readers; the last one to leave will say so.
    HeldByReaders,
}

/// Which logs to relieve of their memory first: the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Need {
    still_written: bool,
    has_readers: bool,
    last_append: Instant,
}

/// One run's log. Without a window it only holds readers who wait for the writer.
#[derive(Debug)]
pub(super) struct RunLog {
    state: Mutex<State>,
    grown: Notify,
    /// Changed upwards only under the lock of the map's shard, so that no reader joins a log that is being forgotten.
    readers: AtomicUsize,
    /// Bytes of all logs together.
    total_bytes: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct State {
    window: Option<Window>,
    forgotten: bool,
    /// The janitor will look at it.
    scheduled: bool,
    last_append: Instant,
}

impl RunLog {
    pub(super) fn new(total_bytes: Arc<AtomicUsize>) -> Self {
        let state = State {
            window: None,
            forgotten: false,
            scheduled: false,
            last_append: Instant::now(),
        };
        Self {
            state: Mutex::new(state),
            grown: Notify::new(),
            readers: AtomicUsize::new(0),
            total_bytes,
        }
    }

    /// Rings when the log has grown.
    pub(super) fn grown(&self) -> &Notify {
        &self.grown
    }

    /// Only under the lock of the map's shard.
    pub(super) fn add_reader(&self) {
        self.readers.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether this was the last one.
    pub(super) fn remove_reader(&self) -> bool {
        self.readers.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Adds events and wakes the readers. `vouched`: it is known that they continue the log, whatever memory says.
    pub(super) fn append(
        &self,
        epoch: u64,
        events: &EncodedEvents,
        vouched: bool,
        memory_limit: usize,
    ) -> Result<Appended, EventLogError> {
        let found = events.first_seq();
        let schedule = {
            let mut state = self.lock();
            if state.forgotten {
                return Ok(Appended::Forgotten);
            }
            if state.window.is_none() {
                if !vouched {
                    return Ok(Appended::AskStore { expected: None });
                }
                state.window = Some(self.counted_window(epoch, found));
            }
            let refusal = self.change(&mut state, |window| {
                window.append(epoch, events, vouched)?;
                window.trim(memory_limit);
                Ok(())
            });
            match refusal {
                Some(Err(Refusal::Fenced)) => return Err(EventLogError::Fenced),
                Some(Err(Refusal::Ended)) => return Err(EventLogError::Ended),
                Some(Err(Refusal::Behind { expected })) => return Err(EventLogError::OutOfOrder { expected, found }),
                Some(Err(Refusal::Gap { expected })) => {
                    return Ok(Appended::AskStore {
                        expected: Some(expected),
                    });
                }
                Some(Ok(())) | None => {}
            }
            state.last_append = Instant::now();
            !std::mem::replace(&mut state.scheduled, true)
        };
        self.grown.notify_waiters();
        Ok(Appended::Done { schedule })
    }

    /// The store has everything up to `seq`: the oldest chunks beyond `memory_limit` go.
    pub(super) fn mark_durable(&self, seq: u64, memory_limit: usize) {
        let mut state = self.lock();
        self.change(&mut state, |window| {
            window.mark_durable(seq);
            window.trim(memory_limit);
        });
    }

    /// Where it ends; `None` if nothing was appended here.
    pub(super) fn head(&self) -> Option<LogHead> {
        let state = self.lock();
        state.window.as_ref().map(|window| LogHead {
            next_seq: window.next_seq(),
            ended: window.is_ended(),
        })
    }

    /// What comes for a reader whose next event is `next`; `None` if nothing was appended here.
    pub(super) fn next_from(&self, next: u64, max_bytes: usize) -> Option<Next> {
        let state = self.lock();
        state.window.as_ref().map(|window| window.next_from(next, max_bytes))
    }

    /// How much its memory is needed.
    pub(super) fn need(&self) -> Need {
        let state = self.lock();
        Need {
            still_written: state.window.as_ref().is_none_or(|window| !window.is_ended()),
            has_readers: self.has_readers(),
            last_append: state.last_append,
        }
    }

    /// Drops every chunk that the store has.
    pub(super) fn drop_durable(&self) {
        let mut state = self.lock();
        self.change(&mut state, Window::drop_durable);
    }

    /// Whether the janitor must be told, now that the last reader has left.
    pub(super) fn schedule_when_unread(&self) -> bool {
        let mut state = self.lock();
        if state.forgotten || state.window.is_none() || self.has_readers() {
            return false;
        }
        !std::mem::replace(&mut state.scheduled, true)
    }

    /// Under the lock of the map's shard: whether it may be taken out because it has neither a writer nor a reader.
    pub(super) fn forget_unused(&self) -> bool {
        let mut state = self.lock();
        if state.window.is_some() || self.has_readers() {
            return false;
        }
        state.forgotten = true;
        true
    }

    /// Under the lock of the map's shard: whether it may be taken out at once, because it has ended, is durable and has no reader.
    pub(super) fn forget_ended(&self) -> bool {
        let mut state = self.lock();
        let over = state
            .window
            .as_ref()
            .is_some_and(|window| window.is_ended() && window.is_durable());
        over && !self.has_readers() && self.forget(&mut state)
    }

    /// Under the lock of the map's shard, when its time has come.
    pub(super) fn expire(&self, now: Instant, linger: Duration) -> Expiry {
        let mut state = self.lock();
        let due = state.last_append + linger;
        if due > now {
            return Expiry::Later(due);
        }
        if state.window.as_ref().is_some_and(|window| !window.is_durable()) {
            // Not at once, also where nothing lingers: the janitor would do nothing else until the store has it.
            return Expiry::Later(now + linger.max(SHORTEST_PAUSE));
        }
        if self.has_readers() {
            self.change(&mut state, Window::drop_durable);
            state.scheduled = false;
            return Expiry::HeldByReaders;
        }
        self.forget(&mut state);
        Expiry::Forgotten
    }

    fn forget(&self, state: &mut State) -> bool {
        if let Some(window) = state.window.take() {
            self.total_bytes.fetch_sub(window.bytes(), Ordering::AcqRel);
        }
        state.forgotten = true;
        true
    }

    fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    fn counted_window(&self, epoch: u64, first_seq: u64) -> Window {
        let window = Window::open(epoch, first_seq);
        self.total_bytes.fetch_add(window.bytes(), Ordering::AcqRel);
        window
    }

    /// Changes the window, if there is one, and keeps the sum of all logs right.
    fn change<R>(&self, state: &mut State, change: impl FnOnce(&mut Window) -> R) -> Option<R> {
        let window = state.window.as_mut()?;
        let before = window.bytes();
        let result = change(window);
        let after = window.bytes();
        if after >= before {
            self.total_bytes.fetch_add(after - before, Ordering::AcqRel);
        } else {
            self.total_bytes.fetch_sub(before - after, Ordering::AcqRel);
        }
        Some(result)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
