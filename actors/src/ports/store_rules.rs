//! What follows from the contract of [`Store`](super::Store) without any database: every adapter decides it by this code.

use std::time::Duration;

use crate::call_ledger::{CallLedger, CallProblem, CallResolution};
use crate::encoding::{EncodedEvents, encode};
use crate::error::RunError;
use crate::event::{EventBody, LostEvents, QueuedReason, WaitingReason};
use crate::ids::RunId;
use crate::item::{Item, Usage};
use crate::ports::StoreError;
use crate::ports::store::{Admission, NewRun, ParkedUpdate, RunCommit, RunProgress, RunRecord, StateChange};
use crate::run_state::RunState;
use crate::time::Timestamp;

impl NewRun {
    /// What the store will have of it.
    pub fn record(&self) -> RunRecord {
        let (state, epoch, started_at, queue_deadline) = match self.admission {
            Admission::Start { .. } => (RunState::Running, 1, Some(self.created_at), None),
            Admission::Queue { deadline } => (RunState::Queued, 0, None, deadline),
        };
        RunRecord {
            id: self.id,
            account: self.account.clone(),
            tier: self.tier.clone(),
            state,
            epoch,
            spec: self.spec.clone(),
            thread: None,
            error: None,
            waiting: None,
            calls: CallLedger::default(),
            progress: RunProgress::default(),
            next_seq: self.events.last_seq() + 1,
            reserved_seq: self.reserved_seq,
            created_at: self.created_at,
            started_at,
            ended_at: None,
            queue_deadline,
            events_forgotten: false,
        }
    }
}

impl RunRecord {
    /// The first seq that nobody can have seen: after a crash, what was reserved may have been shown.
    pub fn first_free_seq(&self) -> u64 {
        self.next_seq.max(self.reserved_seq)
    }

    /// The seqs that may have been seen and are not written, if the run's actor is gone: `run.recovered` names them.
    pub fn lost_events(&self) -> Option<LostEvents> {
        (self.reserved_seq > self.next_seq).then(|| LostEvents {
            from: self.next_seq,
            to: self.reserved_seq - 1,
        })
    }

    /// The `run.recovered` that names what is lost, for whoever goes on with the log under `epoch`; `None` if nothing is.
    fn recovered_from_loss(&self, epoch: u64) -> Option<EventBody> {
        self.lost_events().map(|lost| EventBody::RunRecovered {
            epoch,
            lost: Some(lost),
        })
    }

    /// The last events of a run whose actor is gone without an ending, under an epoch above the actor's.
    pub fn abandoned_events(&self, error: &RunError) -> Result<EncodedEvents, StoreError> {
        let recovered = self.recovered_from_loss(self.epoch + 1);
        let ending = EventBody::ending(RunState::Failed, Some(error), self.progress.usage);
        encode(self.id, self.first_free_seq(), recovered.into_iter().chain(ending))
            .ok_or_else(|| StoreError::Damaged("an ending without an event".into()))
    }

    /// Whether no actor has it: it waits, in the queue or for something from outside.
    pub fn is_parked(&self) -> bool {
        matches!(self.state, RunState::Queued | RunState::Waiting)
    }

    /// Moves it; that the move is legal was checked.
    pub fn apply(&mut self, change: &StateChange) {
        self.state = change.to;
        self.error.clone_from(&change.error);
        self.waiting = change.waiting.filter(|_| change.to == RunState::Waiting);
        self.ended_at = change.to.is_terminal().then_some(change.at);
        if change.to.is_terminal() {
            self.calls = CallLedger::default();
        }
    }
}

impl RunCommit {
    /// What can be said without looking: the move is legal, and the end of the run and the end of its log come together and agree.
    pub fn check(&self) -> Result<(), StoreError> {
        let to = self.change.as_ref().map(|change| change.to);
        if let Some(to) = to.filter(|to| !RunState::Running.may_become(*to)) {
            let from = RunState::Running;
            return Err(StoreError::IllegalMove { from, to });
        }
        let ending = to.and_then(|to| EventBody::ending(to, None, Usage::default()));
        let terminal = self.events.as_ref().filter(|events| events.is_terminal());
        let last = terminal.and_then(|events| events.frames().last());
        if ending.map(|event| event.kind()) == last.map(|frame| frame.kind) {
            return Ok(());
        }
        Err(StoreError::Damaged(
            "a run's end and its last event belong in one commit".into(),
        ))
    }
}

/// What a parked run becomes, as the row is to be changed.
#[derive(Debug)]
pub enum Parked {
    /// This is to be written. Without events and items nothing is.
    Changed {
        /// With the one of an ending, numbered.
        events: Option<EncodedEvents>,
        /// Results of tool calls.
        items: Vec<Item>,
        /// Where it went, if it went.
        change: Option<StateChange>,
    },
    /// A resolution is wrong.
    Refused(CallProblem),
    /// It does not wait for what was said.
    NotWaiting,
}

impl ParkedUpdate {
    /// An update that only tells this.
    pub fn telling(run: RunId, events: Vec<EventBody>) -> Self {
        Self {
            run,
            events,
            resolutions: Vec::new(),
            change: None,
            at: Timestamp::now(),
        }
    }

    /// A move, told by these events.
    pub fn moving(run: RunId, events: Vec<EventBody>, change: StateChange) -> Self {
        Self {
            run,
            events,
            resolutions: Vec::new(),
            at: change.at,
            change: Some(change),
        }
    }

    /// What somebody says of the tool calls that the run waits for.
    pub fn resolving(run: RunId, resolutions: Vec<CallResolution>, at: Timestamp) -> Self {
        Self {
            run,
            events: Vec::new(),
            resolutions,
            change: None,
            at,
        }
    }

    /// Changes the record of a parked run as the row is to be changed, and numbers the events.
    pub fn apply_to(&self, record: &mut RunRecord) -> Result<Parked, StoreError> {
        self.check(record.state)?;
        let mut bodies = self.events.clone();
        let mut items = Vec::new();
        let mut change = self.change.clone();
        if !self.resolutions.is_empty() {
            if record.state != RunState::Waiting || record.waiting == Some(WaitingReason::Budget) {
                return Ok(Parked::NotWaiting);
            }
            let is_untimed = record.calls.review_is_untimed();
            let resolved = match record.calls.resolve(&self.resolutions, self.at) {
                Ok(resolved) => resolved,
                Err(problem) => return Ok(Parked::Refused(problem)),
            };
            if is_untimed && !record.calls.has_review() {
                let started_at = record.started_at.unwrap_or(record.created_at);
                let length = Duration::from_secs(record.spec.limits.deadline_seconds);
                record.calls.begin_time_anew(started_at, length, self.at);
            }
            bodies.extend(resolved.events);
            items = resolved.items;
            change = self.after_resolving(record, resolved.failed, resolved.waits_anew, &mut bodies);
        }
        let ending = change
            .as_ref()
            .and_then(|change| EventBody::ending(change.to, change.error.as_ref(), record.progress.usage));
        let first_seq = record.first_free_seq();
        let events = encode(self.run, first_seq, bodies.into_iter().chain(ending));
        if change.is_none() && events.is_none() {
            return Ok(Parked::Changed { events, items, change });
        }
        record.next_seq = events.as_ref().map_or(first_seq, |events| events.last_seq() + 1);
        record.reserved_seq = 0;
        if let Some(change) = &change {
            record.apply(change);
            record.queue_deadline = None;
        }
        Ok(Parked::Changed { events, items, change })
    }

    /// Where a run goes that somebody has said something about.
    fn after_resolving(
        &self,
        record: &mut RunRecord,
        failed: Option<RunError>,
        waits_anew: bool,
        bodies: &mut Vec<EventBody>,
    ) -> Option<StateChange> {
        let to = match (&failed, record.calls.waiting_reason()) {
            (Some(_), _) => RunState::Failed,
            (None, None) => {
                bodies.push(EventBody::RunQueued {
                    position: 1,
                    reason: QueuedReason::Resumed,
                });
                RunState::Queued
            }
            (None, Some(reason)) => {
                record.waiting = Some(reason);
                if waits_anew {
                    let calls = record.calls.told();
                    bodies.push(EventBody::RunWaiting { reason, calls });
                }
                return None;
            }
        };
        Some(StateChange {
            to,
            error: failed,
            waiting: None,
            at: self.at,
        })
    }

    /// The move is legal for a run without an actor, and the event of an ending is left to the store.
    fn check(&self, from: RunState) -> Result<(), StoreError> {
        if let Some(change) = &self.change
            && (change.to == RunState::Running || !from.may_become(change.to))
        {
            return Err(StoreError::IllegalMove { from, to: change.to });
        }
        if self.events.iter().any(EventBody::is_terminal) {
            return Err(StoreError::Damaged(
                "the last event of a run comes from its change".into(),
            ));
        }
        Ok(())
    }
}
