//! What is known of a run that is written or followed here: who writes it, what is to be published, who follows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::RunId;
use dashmap::DashMap;
use tokio::task::AbortHandle;

use super::subscriptions::Inbox;

/// The runs that are written or followed here.
#[derive(Default)]
pub(super) struct Runs {
    entries: DashMap<RunId, Arc<RunEntry>>,
}

/// One run.
pub(super) struct RunEntry {
    pub(super) run: RunId,
    /// Held by whoever feeds the local log with what others wrote, and while the run becomes written here: never both.
    pub(super) feeding: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Taken out of the map: look there again.
    forgotten: bool,
    followers: usize,
    /// The epoch under which it is written here.
    writing: Option<u64>,
    outbox: Option<Outbox>,
    mirror: Mirroring,
}

/// What is to be published. The events themselves are in the local log, or in the store behind it.
#[derive(Debug, Clone, Copy)]
struct Outbox {
    epoch: u64,
    /// The first seq that is not published.
    next: u64,
    /// Seqs below this were appended.
    end: u64,
    durable_below: u64,
    ended: bool,
    pumping: bool,
}

#[derive(Default)]
enum Mirroring {
    #[default]
    Off,
    On(AbortHandle, Arc<Inbox>),
    /// The end has been seen: nothing can come.
    Over,
}

/// What a publisher does next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    pub(super) epoch: u64,
    pub(super) next: u64,
    /// Seqs from here on were not appended here: another instance may have written them, under another epoch.
    pub(super) end: u64,
    pub(super) durable_below: u64,
}

impl Runs {
    /// Changes the run's entry, made if there is none; it goes again if the change leaves it without a use.
    pub(super) fn with<R>(&self, run: RunId, change: impl FnOnce(&Arc<RunEntry>, &mut Use<'_>) -> R) -> R {
        loop {
            let entry = self
                .entries
                .entry(run)
                .or_insert_with(|| Arc::new(RunEntry::new(run)))
                .clone();
            let mut state = entry.lock();
            if state.forgotten {
                continue;
            }
            let result = change(&entry, &mut Use(&mut state));
            let unused = state.is_unused();
            drop(state);
            if unused {
                self.forget(run);
            }
            return result;
        }
    }

    pub(super) fn get(&self, run: RunId) -> Option<Arc<RunEntry>> {
        self.entries.get(&run).map(|entry| Arc::clone(&entry))
    }

    /// Whether the run is written here.
    pub(super) fn is_written(&self, run: RunId) -> bool {
        self.get(run).is_some_and(|entry| entry.lock().writing.is_some())
    }

    /// Runs of which something is to be published.
    pub(super) fn unpublished(&self) -> usize {
        let is_unpublished = |entry: &RunEntry| entry.lock().outbox.is_some_and(|outbox| outbox.next < outbox.end);
        self.entries.iter().filter(|entry| is_unpublished(entry)).count()
    }

    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    fn forget(&self, run: RunId) {
        self.entries.remove_if(&run, |_, entry| {
            let mut state = entry.lock();
            state.forgotten = state.is_unused();
            state.forgotten
        });
    }
}

impl RunEntry {
    fn new(run: RunId) -> Self {
        Self {
            run,
            feeding: tokio::sync::Mutex::new(()),
            state: Mutex::new(State::default()),
        }
    }

    /// Whether it is written here under this epoch or a later one.
    pub(super) fn is_written_under(&self, epoch: u64) -> bool {
        self.lock().writing.is_some_and(|writing| writing >= epoch)
    }

    pub(super) fn is_written(&self) -> bool {
        self.lock().writing.is_some()
    }

    pub(super) fn mark_durable(&self, seq: u64) {
        if let Some(outbox) = &mut self.lock().outbox {
            outbox.durable_below = outbox.durable_below.max(seq.saturating_add(1));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_unused(&self) -> bool {
        self.followers == 0 && self.writing.is_none() && self.outbox.is_none()
    }
}

/// A run's state, under its lock.
pub(super) struct Use<'a>(&'a mut State);

impl Use<'_> {
    /// The events are in the local log: they are to be published. Answers whether a publisher must be started.
    pub(super) fn appended(&mut self, epoch: u64, events: &EncodedEvents) -> bool {
        self.0.writing = Some(self.0.writing.map_or(epoch, |writing| writing.max(epoch)));
        let outbox = self.0.outbox.get_or_insert(Outbox {
            epoch,
            next: events.first_seq(),
            end: events.first_seq(),
            durable_below: 0,
            ended: false,
            pumping: false,
        });
        outbox.epoch = outbox.epoch.max(epoch);
        outbox.end = outbox.end.max(events.last_seq() + 1);
        outbox.ended |= events.is_terminal();
        !std::mem::replace(&mut outbox.pumping, true)
    }

    /// What to publish; `None` if nothing: then the publisher is done.
    pub(super) fn next_work(&mut self) -> Option<Work> {
        let outbox = self.0.outbox.as_mut()?;
        if outbox.next < outbox.end {
            return Some(Work {
                epoch: outbox.epoch,
                next: outbox.next,
                end: outbox.end,
                durable_below: outbox.durable_below,
            });
        }
        outbox.pumping = false;
        if outbox.ended {
            self.0.writing = None;
            self.0.mirror = Mirroring::Over;
        }
        if self.0.writing.is_none() {
            self.0.outbox = None;
        }
        None
    }

    /// Seqs below this need not be published (again).
    pub(super) fn published_below(&mut self, seq: u64) {
        if let Some(outbox) = &mut self.0.outbox {
            outbox.next = outbox.next.max(seq);
        }
    }

    /// A later epoch writes the stream. Answers whether the publisher is done; it is not if that epoch is written here.
    pub(super) fn fenced_by(&mut self, epoch: u64) -> bool {
        if self.0.writing.is_some_and(|writing| writing >= epoch) {
            return false;
        }
        self.0.writing = None;
        self.0.outbox = None;
        true
    }

    /// It is not written here any more. What is not published yet still will be.
    pub(super) fn release(&mut self) {
        self.0.writing = None;
        if self.0.outbox.is_some_and(|outbox| !outbox.pumping) {
            self.0.outbox = None;
        }
    }

    pub(super) fn add_follower(&mut self) {
        self.0.followers += 1;
    }

    /// A follower has left; the last one takes the mirror with it. Answers the inbox to close.
    pub(super) fn remove_follower(&mut self) -> Option<Arc<Inbox>> {
        self.0.followers -= 1;
        if self.0.followers > 0 {
            return None;
        }
        self.stop_mirror()
    }

    /// Whether there is somebody to mirror it for, and nobody does.
    pub(super) fn needs_mirror(&self) -> bool {
        self.0.followers > 0 && self.0.writing.is_none() && matches!(self.0.mirror, Mirroring::Off)
    }

    pub(super) fn mirrored_by(&mut self, task: AbortHandle, inbox: Arc<Inbox>) {
        self.0.mirror = Mirroring::On(task, inbox);
    }

    /// The mirror that has this inbox has seen the end.
    pub(super) fn mirrored_to_the_end(&mut self, inbox: &Arc<Inbox>) {
        if matches!(&self.0.mirror, Mirroring::On(_, current) if Arc::ptr_eq(current, inbox)) {
            self.0.mirror = Mirroring::Over;
        }
    }

    /// Answers the inbox to close, if there was a mirror.
    pub(super) fn stop_mirror(&mut self) -> Option<Arc<Inbox>> {
        if !matches!(self.0.mirror, Mirroring::On(..)) {
            return None;
        }
        let Mirroring::On(task, inbox) = std::mem::take(&mut self.0.mirror) else {
            return None;
        };
        task.abort();
        Some(inbox)
    }
}
