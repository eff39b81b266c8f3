//! Takes logs out of memory when nobody has needed them for a while: one task for all, and none when there is nothing to wait for.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use callboard_actors::ids::RunId;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::registry::Registry;

/// When to look at which log.
#[derive(Default)]
pub(super) struct Janitor {
    due: Mutex<Due>,
}

#[derive(Default)]
struct Due {
    times: BinaryHeap<Reverse<(Instant, RunId)>>,
    awake: bool,
}

impl Janitor {
    /// Has the run's log looked at then. Outside a runtime it waits for the next call inside one.
    pub(super) fn schedule(registry: &Arc<Registry>, run: RunId, at: Instant) {
        let mut due = registry.janitor.lock();
        due.times.push(Reverse((at, run)));
        if due.awake {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            due.awake = true;
            // A runtime that is shutting down drops the task at once, and with it a shift that takes this lock.
            drop(due);
            let shift = Shift {
                registry: Arc::downgrade(registry),
                over: false,
            };
            drop(runtime.spawn(shift.work()));
        }
    }

    /// When to wake next; falls asleep if never.
    fn next_time(&self) -> Option<Instant> {
        let mut due = self.lock();
        let next = due.times.peek().map(|Reverse((at, _))| *at);
        due.awake = next.is_some();
        next
    }

    fn take_due(&self, now: Instant) -> Vec<RunId> {
        let mut due = self.lock();
        let mut runs = Vec::new();
        while let Some(Reverse((at, run))) = due.times.peek().copied() {
            if at > now {
                break;
            }
            due.times.pop();
            runs.push(run);
        }
        runs
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task. If its runtime goes away under it, the next `schedule` starts another.
struct Shift {
    registry: Weak<Registry>,
    over: bool,
}

impl Shift {
    async fn work(mut self) {
        loop {
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            let Some(next) = registry.janitor.next_time() else {
                self.over = true;
                return;
            };
            drop(registry);
            tokio::time::sleep_until(next).await;
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            let now = Instant::now();
            for run in registry.janitor.take_due(now) {
                if let Some(at) = registry.expire(run, now) {
                    registry.janitor.lock().times.push(Reverse((at, run)));
                }
            }
        }
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        if let Some(registry) = self.registry.upgrade() {
            registry.janitor.lock().awake = false;
        }
    }
}
