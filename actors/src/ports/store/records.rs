//! What goes into the store and comes out of it.

use std::sync::Arc;

use super::StoreError;
use crate::call_ledger::{CallLedger, CallProblem, CallResolution};
use crate::encoding::EncodedEvents;
use crate::error::RunError;
use crate::event::{EventBody, WaitingReason};
use crate::ids::{AccountId, InstanceId, KeyId, RunId, ThreadId};
use crate::item::{Item, Usage};
use crate::money::Money;
use crate::ports::budgets::Charge;
use crate::ports::threads::{EnterThread, RunThread};
use crate::run_state::RunState;
use crate::spec::RunSpec;
use crate::time::Timestamp;

/// A run to be written.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// Its name.
    pub id: RunId,
    /// Whose it is.
    pub account: AccountId,
    /// The account's tier at this moment.
    pub tier: String,
    /// Who works on it if it starts at once.
    pub instance: InstanceId,
    /// So that the same request twice is one run.
    pub idempotency: Option<Idempotency>,
    /// What it is to do.
    pub spec: Arc<RunSpec>,
    /// What it begins with.
    pub input: Vec<Item>,
    /// The conversation that it goes on with.
    pub thread: Option<EnterThread>,
    /// Whether it starts or waits.
    pub admission: Admission,
    /// `run.created` and what follows, from seq 0.
    pub events: EncodedEvents,
    /// Seqs below this may be shown before they are written (durability `relaxed`); 0 if none may.
    pub reserved_seq: u64,
    /// Now.
    pub created_at: Timestamp,
}

/// How a new run comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// `running`, epoch 1, with a Slot.
    Start {
        /// Runs the account may have in `running`, this one included; `None` is no limit.
        slot_limit: Option<u32>,
    },
    /// `queued`, epoch 0.
    Queue {
        /// When it fails if it has not started.
        deadline: Option<Timestamp>,
    },
}

/// So that the same request twice is one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key, unique within the account.
    pub key: String,
    /// SHA-256 of what was asked for.
    pub request_hash: [u8; 32],
}

/// What became of a new run.
#[derive(Debug, Clone, PartialEq)]
pub enum Creation {
    /// It is durable.
    Created,
    /// It is durable and has its place in its thread.
    InThread {
        /// As the store has it.
        record: Box<RunRecord>,
        /// Runs before it that are marked as to be cancelled, in order.
        displaced: Vec<RunId>,
    },
    /// Its thread has a run that has not ended, and it may not wait for it, or was to start at once.
    ThreadBusy {
        /// The first run of the thread that has not ended.
        active: RunId,
    },
    /// There is no such thread (any more), or it is another account's.
    ThreadNotFound,
    /// The same request came before: this is its run.
    Existing(Box<RunRecord>),
    /// The key came before with another request.
    IdempotencyConflict,
    /// No Slot is free.
    QuotaExceeded {
        /// Runs of the account in `running`.
        running: u32,
    },
}

/// Takes a run out of the queue.
#[derive(Debug, Clone)]
pub struct ClaimRun {
    /// Which.
    pub run: RunId,
    /// Who will work on it.
    pub instance: InstanceId,
    /// As in [`Admission::Start`].
    pub slot_limit: Option<u32>,
    /// As in [`NewRun::reserved_seq`], counted from the seq after `run.started`: how many seqs to reserve; 0 if none.
    pub reserve_seqs: u64,
    /// Now; becomes `started_at` unless it had started before.
    pub at: Timestamp,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// The run is `running` under `record.epoch`.
    Claimed {
        /// As it is now.
        record: Box<RunRecord>,
        /// `run.started`.
        events: EncodedEvents,
    },
    /// It is not in the queue (any more).
    NotQueued,
    /// A run before it in its thread has not ended.
    ThreadBusy,
    /// It is in a thread and marked as to be cancelled: it begins no more.
    ToBeCancelled,
    /// No Slot is free.
    QuotaExceeded {
        /// Runs of the account in `running`.
        running: u32,
    },
}

/// A step of a running run.
#[derive(Debug, Clone)]
pub struct RunCommit {
    /// Which run.
    pub run: RunId,
    /// Whose it is.
    pub account: AccountId,
    /// Who writes.
    pub epoch: u64,
    /// Events from the run's `next_seq` on (or from its `reserved_seq`, if that is above).
    pub events: Option<EncodedEvents>,
    /// As in [`NewRun::reserved_seq`].
    pub reserved_seq: u64,
    /// Steps that are done.
    pub items: Vec<Item>,
    /// What the run cost so far and how many model calls it made, if that changed.
    pub progress: Option<RunProgress>,
    /// What model calls of this step used. Charges travel with events, so that a repeated commit is recognised.
    pub charges: Vec<Charge>,
    /// The ledger of its tool calls from now on, if that changed.
    pub calls: Option<CallLedger>,
    /// Where it goes, if it goes.
    pub change: Option<StateChange>,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RunProgress {
    /// Finished model calls.
    pub steps: u32,
    /// Tokens of all of them.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
}

/// A move of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StateChange {
    /// Where to; must be legal.
    pub to: RunState,
    /// Why it failed.
    pub error: Option<RunError>,
    /// What it waits for.
    pub waiting: Option<WaitingReason>,
    /// Now; becomes `ended_at` if this is the end.
    pub at: Timestamp,
}

/// A change of a run that no actor has.
#[derive(Debug, Clone)]
pub struct ParkedUpdate {
    /// Which run.
    pub run: RunId,
    /// Events in order, numbered by the store. The event of an ending is added by the store from `change`, with the run's usage.
    pub events: Vec<EventBody>,
    /// What is said of tool calls that it waits for. When none is left it goes back into the queue, or fails if that is what was said; this
    /// comes without a `change`.
    pub resolutions: Vec<CallResolution>,
    /// Where it goes, if it goes: never to `running`, which takes a claim.
    pub change: Option<StateChange>,
    /// Now.
    pub at: Timestamp,
}

/// What became of a [`ParkedUpdate`].
#[derive(Debug, Clone, PartialEq)]
pub enum ParkedOutcome {
    /// Written.
    Updated {
        /// As it is now.
        record: Box<RunRecord>,
        /// What was appended to its log.
        events: Option<EncodedEvents>,
    },
    /// The run is not parked (any more), or does not wait for what was said; nothing was changed.
    NotParked(Box<RunRecord>),
    /// One of the resolutions is wrong; nothing was changed.
    Refused(CallProblem),
    /// There is no such run.
    NotFound,
}

/// Where a run stands among those whose tool calls are overdue; sorts as they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OverduePlace {
    /// The first deadline that counts for it.
    pub deadline: Timestamp,
    /// Which run.
    pub run: RunId,
}

/// A run whose tool calls are overdue.
#[derive(Debug, Clone, PartialEq)]
pub struct OverdueRun {
    /// Which, and where it stands.
    pub place: OverduePlace,
    /// What it waits for, if that can be read: a later version may have written it.
    pub calls: Result<CallLedger, StoreError>,
}

/// A run as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its name.
    pub id: RunId,
    /// Whose it is.
    pub account: AccountId,
    /// The account's tier when it came.
    pub tier: String,
    /// Where it is.
    pub state: RunState,
    /// 0 until it first starts.
    pub epoch: u64,
    /// What it is to do.
    pub spec: Arc<RunSpec>,
    /// Its place in a conversation.
    pub thread: Option<RunThread>,
    /// Why it failed.
    pub error: Option<RunError>,
    /// What it waits for.
    pub waiting: Option<WaitingReason>,
    /// Its tool calls that are begun, or wait for somebody.
    pub calls: CallLedger,
    /// How far it has come.
    pub progress: RunProgress,
    /// The seq of the next event to be written.
    pub next_seq: u64,
    /// Seqs below this may have been shown.
    pub reserved_seq: u64,
    /// When it came.
    pub created_at: Timestamp,
    /// When it first started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it fails if it has not started.
    pub queue_deadline: Option<Timestamp>,
    /// It ended so long ago that its events were forgotten.
    pub events_forgotten: bool,
}

/// What an instance finds when it starts.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Taken over, oldest first; each `running` under a new epoch.
    pub running: Vec<RunRecord>,
    /// In the queue, oldest first.
    pub queued: Vec<QueuedRun>,
    /// Every run of a thread that has not ended, those that wait among them, in the order of their threads.
    pub in_threads: Vec<(RunThread, RunId)>,
    /// Those that are marked as to be cancelled.
    pub to_cancel: Vec<RunId>,
}

/// A page of items ends with the one that makes it this many bytes of JSON or more, so that it is larger by one item at most.
pub const FULL_ITEM_PAGE: u64 = 4 * 1024 * 1024;

/// A page of items.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemPage<Placed> {
    /// In order.
    pub items: Vec<Placed>,
    /// There are more behind them.
    pub has_more: bool,
}

/// A run in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedRun {
    /// Which.
    pub id: RunId,
    /// Whose.
    pub account: AccountId,
    /// The account's tier when it came.
    pub tier: String,
    /// When it fails if it has not started.
    pub deadline: Option<Timestamp>,
}

/// A page of runs.
#[derive(Debug, Clone)]
pub struct RunQuery {
    /// Whose.
    pub account: AccountId,
    /// Only those of this thread.
    pub thread: Option<ThreadId>,
    /// Only those in this state.
    pub state: Option<RunState>,
    /// Only those older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
}

/// An API key as the store has it: never the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its name.
    pub id: KeyId,
    /// Who may do what with it.
    pub account: AccountId,
    /// The account's tier (of the account, not of the key: the last one set counts for all its keys).
    pub tier: String,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// The last four characters of the secret, to tell keys apart.
    pub last_four: String,
    /// It is an operator's: it may see the whole installation.
    pub is_admin: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}
