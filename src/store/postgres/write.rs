//! The writes that lanes take, and who waits for them.

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::error::RunError;
use callboard_actors::ids::{AccountId, RunId};
use callboard_actors::ports::StoreError;
use callboard_actors::ports::store::{Claim, ClaimRun, Creation, NewRun, ParkedOutcome, ParkedUpdate, RunCommit};
use callboard_actors::time::Timestamp;
use tokio::sync::oneshot;

use crate::store::activity::WaitingWrite;

/// A write of one run.
#[derive(Debug)]
pub(super) enum Write {
    Create(Box<NewRun>),
    Claim(ClaimRun),
    Commit(Box<RunCommit>),
    Parked(ParkedUpdate),
    FailAbandoned(FailAbandonedRun),
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
    Claim(Claim),
    Committed,
    Parked(ParkedOutcome),
    Abandoned(Option<EncodedEvents>),
}

impl Write {
    pub(super) fn run(&self) -> RunId {
        match self {
            Self::Create(new) => new.id,
            Self::Claim(claim) => claim.run,
            Self::Commit(commit) => commit.run,
            Self::Parked(update) => update.run,
            Self::FailAbandoned(fail) => fail.run,
        }
    }

    /// The account, if the write names it.
    pub(super) fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Create(new) => Some(&new.account),
            Self::Commit(commit) => Some(&commit.account),
            Self::Claim(_) | Self::Parked(_) | Self::FailAbandoned(_) => None,
        }
    }

    /// Whether the counters of the run's account may change.
    pub(super) fn may_move(&self) -> bool {
        match self {
            Self::Create(_) | Self::Claim(_) | Self::FailAbandoned(_) => true,
            Self::Commit(commit) => commit.change.is_some(),
            Self::Parked(update) => update.change.is_some(),
        }
    }

    /// Whether the answer holds the run as a whole.
    pub(super) fn needs_spec(&self) -> bool {
        matches!(self, Self::Claim(_) | Self::Parked(_))
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
