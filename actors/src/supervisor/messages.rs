//! What the supervisor can be asked, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::Message;
use tokio::sync::oneshot;

use crate::ids::{AccountId, InstanceId, RunId};
use crate::item::Item;
use crate::ports::StoreError;
use crate::ports::store::{Idempotency, RunRecord};
use crate::ports::threads::EnterThread;
use crate::spec::RunSpec;

/// Start a run, or queue it. The answer comes after the run's row is durable.
#[derive(Debug, Clone)]
pub struct StartRun {
    /// Whose run.
    pub account: AccountId,
    /// The account's tier, a name of `config.toml`.
    pub tier: String,
    /// What to do; checked by whoever sends this.
    pub spec: Arc<RunSpec>,
    /// What to begin with.
    pub input: Vec<Item>,
    /// What to do when it cannot start at once.
    pub on_limit: OnLimit,
    /// So that the same request twice is one run.
    pub idempotency: Option<Idempotency>,
    /// The conversation that it goes on with. Whoever sends this has checked whose it is.
    pub thread: Option<EnterThread>,
}

/// What to do with a run that cannot start at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnLimit {
    /// Let it wait.
    #[default]
    Queue,
    /// Refuse it.
    Refuse,
}

/// A run that is durable.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// As the store has it.
    pub run: RunRecord,
    /// Its place in the account's line, if it is in the queue; 1 is next.
    pub queue_position: Option<u64>,
    /// The same request came before; nothing new was started.
    pub replayed: bool,
}

impl Started {
    /// The run that the same request started before.
    pub const fn replay(run: RunRecord) -> Self {
        Self {
            run,
            queue_position: None,
            replayed: true,
        }
    }
}

/// Why a run was not started. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// The account has as many runs as its tier allows: running ones, and those that wait too if the run might have waited.
    #[error("the account's quota is used up")]
    Quota {
        /// Concurrent runs of the tier, or its queued runs if `queue_full`.
        limit: u32,
        /// Runs of the account in `running`.
        running: u32,
        /// Runs of the account in the queue.
        queued: u64,
        /// The run might have waited, but the account's line is full.
        queue_full: bool,
    },
    /// The server has no free Permit and the run would not wait.
    #[error("the server is at its capacity")]
    AtCapacity {
        /// Permits of this server.
        limit: u32,
    },
    /// The queue of the server is full.
    #[error("the queue is full")]
    QueueFull {
        /// Runs that may wait in all.
        limit: u64,
    },
    /// The server is leaving.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// The key came before with another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyConflict,
    /// Its thread has a run that has not ended, and it would not wait for it.
    #[error("the thread is busy")]
    ThreadBusy {
        /// The first run of the thread that has not ended.
        active: RunId,
    },
    /// There is no such thread (any more).
    #[error("there is no such thread")]
    ThreadNotFound,
    /// The tier is not in the configuration (any more).
    #[error("the account's tier is not configured")]
    UnknownTier,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A run's place in its account's line; 1 is next, `None` if it is not in the queue.
#[derive(Debug, Message)]
#[rtype(result = "Option<u64>")]
pub(crate) struct QueuePosition {
    pub(crate) run: RunId,
}

/// How things stand.
#[derive(Debug, Message)]
#[rtype(result = "Snapshot")]
pub(crate) struct TakeSnapshot;

/// How things stand on this instance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Which instance this is; another one after each lost lease. `None`: there is no supervisor any more, and the rest says nothing.
    pub instance: Option<InstanceId>,
    /// Instances that are alive and not leaving, as the last heartbeat found them; 1 on one that is alone.
    pub live_instances: u32,
    /// Runs that may run here at once.
    pub permits_limit: u32,
    /// Runs that do.
    pub permits_in_use: u32,
    /// Runs that may wait in all.
    pub queue_limit: u64,
    /// Runs that wait, by tier (every configured tier is listed). In a fleet those of all instances, as the last heartbeat found them.
    pub queued_by_tier: BTreeMap<String, u64>,
    /// Live runs by arbiter.
    pub runs_by_arbiter: Vec<u32>,
    /// Whether new runs are refused because the server is leaving.
    pub draining: bool,
    /// Whether new runs are refused because the instance has lost its lease and not joined the fleet again.
    pub lease_lost: bool,
}

/// Admit nothing from now on, let what runs go on until `grace` is over, then hand the rest back to the queue. `done` hears when no
/// actor is left.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain {
    pub(crate) grace: std::time::Duration,
    pub(crate) done: oneshot::Sender<()>,
}

/// Start a run, queue it or refuse it. Answered by `reply`, so that a client that goes away cannot take the start back half done.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Admit {
    pub(crate) request: StartRun,
    pub(crate) reply: StartReply,
}

/// The way in which a start is answered.
pub(crate) type StartReply = oneshot::Sender<Result<Started, StartError>>;

/// Stop a run for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CancelRun {
    pub(crate) run: RunId,
    pub(crate) reply: CancelReply,
}

/// Stop runs that are marked in the store as to be cancelled, however often that has to be tried.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct CancelMarked {
    pub(crate) runs: Vec<RunId>,
}

/// The way in which a cancel is answered: with the run as it is when it is over, `None` if there is no such run.
pub(crate) type CancelReply = oneshot::Sender<Result<Option<RunRecord>, StoreError>>;
