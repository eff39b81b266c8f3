//! Which runs of each thread have not ended, in memory and in order, on an instance that is alone on its store.
//!
//! The store decides (a run of a thread is not claimed before those ahead of it have ended); the lines mirror it, so that the supervisor
//! knows without asking what may start. Whoever learns that a run has ended says so here before anyone else can see it, and the
//! supervisor hears which run comes to be the first of its thread by that.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::ids::{RunId, ThreadId};

/// The runs of each thread that have not ended.
#[derive(Debug, Clone, Default)]
pub struct ThreadLines(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: HashMap<ThreadId, VecDeque<RunId>>,
    threads: HashMap<RunId, ThreadId>,
    /// Hears of runs that have become the first of their thread.
    listener: Option<UnboundedSender<RunId>>,
}

impl ThreadLines {
    /// What becomes first from now on. There is one listener: the supervisor.
    pub(crate) fn listen(&self) -> UnboundedReceiver<RunId> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listener = Some(sender);
        receiver
    }

    /// Puts a run behind the others of its thread, and says how many these are.
    pub(crate) fn push(&self, thread: ThreadId, run: RunId) -> usize {
        let mut lines = self.lock();
        if lines.threads.insert(run, thread).is_some() {
            let line = lines.lines.get(&thread);
            return line
                .and_then(|line| line.iter().position(|other| *other == run))
                .unwrap_or(0);
        }
        let line = lines.lines.entry(thread).or_default();
        line.push_back(run);
        line.len() - 1
    }

    /// Whether no run stands before this one in its thread. True of a run that is in none.
    pub(crate) fn is_first(&self, run: RunId) -> bool {
        let lines = self.lock();
        let line = lines.threads.get(&run).and_then(|thread| lines.lines.get(thread));
        line.is_none_or(|line| line.front() == Some(&run))
    }

    /// How many runs of its thread stand before it: 1 if it is next.
    pub(crate) fn ahead_of(&self, run: RunId) -> u64 {
        let lines = self.lock();
        let line = lines.threads.get(&run).and_then(|thread| lines.lines.get(thread));
        let place = line.and_then(|line| line.iter().position(|other| *other == run));
        place.unwrap_or(0) as u64
    }

    /// A run has ended, or never came to be. Without effect on one that is in no thread.
    pub(crate) fn ended(&self, run: RunId) {
        let mut lines = self.lock();
        let Some(thread) = lines.threads.remove(&run) else {
            return;
        };
        let Some(line) = lines.lines.get_mut(&thread) else {
            return;
        };
        let was_first = line.front() == Some(&run);
        line.retain(|other| *other != run);
        let first = line.front().copied();
        if line.is_empty() {
            lines.lines.remove(&thread);
        }
        if was_first
            && let Some(first) = first
            && let Some(listener) = &lines.listener
        {
            // Without a supervisor nothing starts.
            let _ = listener.send(first);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        // Each change leaves the two maps agreeing: a panic elsewhere cannot leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_thread_may_start_and_its_end_makes_the_next_one_first() {
        let lines = ThreadLines::default();
        let mut heard = lines.listen();
        let (one, other) = (ThreadId::new(), ThreadId::new());
        let runs: Vec<RunId> = (0..4).map(|_| RunId::new()).collect();
        assert_eq!([0, 1, 2].map(|index| lines.push(one, runs[index])), [0, 1, 2]);
        assert_eq!(lines.push(other, runs[3]), 0);
        assert_eq!(
            [0, 1, 2, 3].map(|index| lines.is_first(runs[index])),
            [true, false, false, true]
        );
        assert!(lines.is_first(RunId::new()), "one that is in no thread waits for none");
        lines.ended(runs[1]);
        assert!(heard.try_recv().is_err(), "nobody has become first");
        lines.ended(runs[0]);
        lines.ended(runs[0]);
        assert_eq!(heard.try_recv(), Ok(runs[2]));
        assert!(heard.try_recv().is_err());
        lines.ended(runs[2]);
        lines.ended(runs[3]);
        assert!(lines.lock().lines.is_empty() && lines.lock().threads.is_empty());
    }
}
