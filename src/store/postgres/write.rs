//! The writes that lanes take, and who waits for them.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::fleet::{Admitted, ExpiredRun, FleetAdmission};
use callboard_actors::ports::store::{
    Claim, ClaimRun, Creation, Idempotency, NewRun, ParkedOutcome, ParkedUpdate, RunCommit, StateChange,
};
use callboard_actors::ports::threads::EnterThread;
use callboard_actors::time::Timestamp;
use tokio::sync::oneshot;

use crate::store::activity::WaitingWrite;

/// A write of one run.
#[derive(Debug)]
pub(super) enum Write {
    Create(Box<NewRun>),
    Admit(Box<FleetAdmission>),
    Claim(ClaimRun),
    Commit(Box<RunCommit>),
    Parked(ParkedUpdate),
    FailAbandoned(FailAbandonedRun),
    Expire(ExpireRun),
}

/// Fails a queued run, if its queue deadline is over.
#[derive(Debug)]
pub(super) struct ExpireRun {
    pub(super) run: RunId,
    pub(super) error: RunError,
}

/// As [`Store::fail_abandoned_run`](callboard_actors::ports::Store::fail_abandoned_run).
#[derive(Debug)]
pub(super) struct FailAbandonedRun {
    pub(super) run: RunId,
    pub(super) epoch: u64,
    pub(super) error: RunError,
    pub(super) at: Timestamp,
}

/// What a write's caller gets.
#[derive(Debug)]
pub(super) enum Answer {
    Creation(Creation),
    Admitted(Admitted),
    Claim(Claim),
    Committed,
    Parked(ParkedOutcome),
    Abandoned(Option<EncodedEvents>),
    Expired(Option<Box<ExpiredRun>>),
}

impl Write {
    pub(super) fn run(&self) -> RunId {
        match self {
            Self::Create(new) => new.id,
            Self::Admit(admission) => admission.id,
            Self::Claim(claim) => claim.run,
            Self::Commit(commit) => commit.run,
            Self::Parked(update) => update.run,
            Self::FailAbandoned(fail) => fail.run,
            Self::Expire(expire) => expire.run,
        }
    }

    /// The account, if the write names it.
    pub(super) fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Create(new) => Some(&new.account),
            Self::Admit(admission) => Some(&admission.account),
            Self::Commit(commit) => Some(&commit.account),
            Self::Claim(_) | Self::Parked(_) | Self::FailAbandoned(_) | Self::Expire(_) => None,
        }
    }

    /// The account and the tier of a run that may be new.
    pub(super) fn newcomer(&self) -> Option<(&AccountId, &str)> {
        match self {
            Self::Create(new) => Some((&new.account, &new.tier)),
            Self::Admit(admission) => Some((&admission.account, &admission.tier)),
            _ => None,
        }
    }

    /// The idempotency key of a run that may be new, with its account.
    pub(super) fn idempotency(&self) -> Option<(&AccountId, &Idempotency)> {
        let (account, idempotency) = match self {
            Self::Create(new) => (&new.account, &new.idempotency),
            Self::Admit(admission) => (&admission.account, &admission.idempotency),
            _ => return None,
        };
        Some((account, idempotency.as_ref()?))
    }

    /// The thread that a run that may be new enters.
    pub(super) fn enters(&self) -> Option<EnterThread> {
        match self {
            Self::Create(new) => new.thread,
            Self::Admit(admission) => admission.thread,
            _ => None,
        }
    }

    /// Whether the run has ended by it, if it is taken.
    pub(super) fn ends(&self) -> bool {
        let ends = |change: &Option<StateChange>| change.as_ref().is_some_and(|change| change.to.is_terminal());
        match self {
            Self::FailAbandoned(_) | Self::Expire(_) => true,
            Self::Commit(commit) => ends(&commit.change),
            Self::Parked(update) => ends(&update.change),
            Self::Create(_) | Self::Admit(_) | Self::Claim(_) => false,
        }
    }

    /// Whether the run may have ended by it.
    pub(super) fn may_end(&self) -> bool {
        // A resolution may fail the run.
        let is_resolved = matches!(self, Self::Parked(update) if !update.resolutions.is_empty());
        is_resolved || self.ends()
    }

    /// Whether the counters of the run's account may change.
    pub(super) fn may_move(&self) -> bool {
        match self {
            Self::Create(_) | Self::Admit(_) | Self::Claim(_) | Self::FailAbandoned(_) | Self::Expire(_) => true,
            Self::Commit(commit) => commit.change.is_some(),
            Self::Parked(update) => update.change.is_some() || !update.resolutions.is_empty(),
        }
    }

    /// Whether the answer holds the run as a whole.
    pub(super) fn needs_spec(&self) -> bool {
        matches!(self, Self::Claim(_) | Self::Parked(_) | Self::Expire(_))
    }
}

/// A write in a lane.
#[derive(Debug)]
pub(super) struct PendingWrite {
    pub(super) write: Write,
    pub(super) reply: oneshot::Sender<Result<Answer, StoreError>>,
    /// Held until the answer is given.
    pub(super) waiting: WaitingWrite,
}
