//! Port `Fleet`: what the instances of one installation need of each other. Who is alive, whose runs must be taken over, which
//! queued run is next, who is to be told of a cancel. A store that serves one instance alone does not implement it.
//!
//! Contract (the fleet's conformance tests try to break each line):
//! - Every method is atomic, as those of [`Store`](super::Store) are.
//! - Time is the store's: no method takes a point in time that decides anything between instances, and leases come back as
//!   durations. An instance whose clock jumps changes nothing for the others: it sets its [`Timestamp`]s by [`Beat::store_now`].
//! - An instance whose lease is over is given nothing: `admit`, `claim_next` and `take_over` answer `Unavailable`.
//! - A run in `running` belongs to the instance it names, under its epoch. Only a lease that is over lets another take it, and taking
//!   it makes the epoch grow by one, so that whatever the old owner still writes is refused (`Fenced`).
//! - Slots are exact whatever number of instances asks at once: taken and given back in the transaction that moves the run.
//! - Claims never collide, never overtake within an account (runs that were handed over come first, then the oldest), and
//!   accounts take turns.
//! - A cancel that was asked for is never forgotten: it is told to whoever owns the run, now and after any take-over.
//! - An answer that is lost on its way loses no run: what an instance owns without knowing comes back with [`Fleet::disown_unknown`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

use crate::encoding::EncodedEvents;
use crate::error::RunError;
use crate::ids::{AccountId, AgentId, InstanceId, RunId};
use crate::item::Item;
use crate::ports::StoreError;
use crate::ports::store::{Idempotency, RunRecord};
use crate::ports::threads::EnterThread;
use crate::run_state::RunState;
use crate::spec::RunSpec;
use crate::time::Timestamp;

/// What the instances of one installation need of each other.
#[async_trait]
pub trait Fleet: Send + Sync + 'static {
    /// Makes an instance known, with a lease from now on (and ends the lease of one that was at the same place), and answers what the
    /// store's clock says. Each life of a process, and each life after a lost lease, has an id of its own.
    async fn join(&self, instance: NewInstance) -> Result<Timestamp, JoinError>;

    /// Renews the lease and tells how busy the instance is. If the lease was over already, nothing is renewed: [`Beat::held`] is false,
    /// for good.
    async fn heartbeat(&self, heartbeat: Heartbeat) -> Result<Beat, StoreError>;

    /// Ends the lease: what still belongs to the instance may be taken over at once. An instance that left cannot come back.
    async fn leave(&self, instance: InstanceId) -> Result<(), StoreError>;

    /// Gives up the `running` runs of `instance` with ids below `made_before` that are not among `known`, for anyone to take over: those it
    /// was given by an answer that never came. Says how many.
    async fn disown_unknown(
        &self,
        instance: InstanceId,
        known: Vec<RunId>,
        made_before: RunId,
    ) -> Result<u64, StoreError>;

    /// Takes over at most `limit` runs of instances whose lease is over, oldest first: each stays `running` and keeps its Slot, its epoch
    /// grows by one, and what it holds is charged ([`super::budgets`]). Nothing is appended to their logs.
    async fn take_over(&self, instance: InstanceId, limit: u32) -> Result<Vec<RunRecord>, StoreError>;

    /// Writes a new run: `running` under epoch 1 if the instance has a Permit for it, the account a Slot, and nobody of the account waits;
    /// else `queued`, if it may wait and the line has room. The first events are numbered and written here: `run.created`, then
    /// `run.started` or `run.queued`.
    async fn admit(&self, admission: FleetAdmission) -> Result<Admitted, StoreError>;

    /// Moves at most `limit` queued runs to `running`, the accounts taking turns, each under a new epoch with a Slot. `run.started` is
    /// numbered and written here. Runs that another instance is claiming at this moment are passed over. Fewer than `limit`: nothing
    /// else can start now.
    async fn claim_next(&self, claim: ClaimNext) -> Result<Vec<ClaimedRun>, StoreError>;

    /// Marks a `running` run as to be cancelled and tells its owner. Returns the run's state; nothing is marked in another.
    /// `None`: no such run.
    async fn ask_to_cancel(&self, run: RunId) -> Result<Option<RunState>, StoreError>;

    /// Fails at most `limit` queued runs whose queue deadline is over, with `error`.
    async fn expire_queued(&self, error: RunError, limit: u32) -> Result<Vec<ExpiredRun>, StoreError>;

    /// A queued run's place in its account's line; 1 is next. `None` if it is not in the queue.
    async fn queue_position(&self, run: RunId) -> Result<Option<u64>, StoreError>;

    /// Appends `run.queue_position` to the logs of those queued runs of an account whose place has at least halved since it was last
    /// told, at least `interval` ago; at most `limit` of them, those in front first.
    async fn tell_positions(
        &self,
        account: &AccountId,
        interval: Duration,
        limit: u32,
    ) -> Result<Vec<ToldPosition>, StoreError>;

    /// Writes down what each tier allows, and into the accounts of that tier; claims go by it.
    async fn set_tier_limits(&self, limits: Vec<(String, Option<u32>)>) -> Result<(), StoreError>;

    /// The instances that are alive, those that were lost lately, and any whose runs nobody has taken over yet; and the fleet's totals.
    async fn overview(&self) -> Result<FleetOverview, StoreError>;

    /// What happens elsewhere, as it happens, to each who listens. May miss things (a broken connection, a database that cannot notify):
    /// [`Fleet::heartbeat`] tells the same later. Never ends.
    fn notices(&self) -> BoxStream<'static, Notice>;
}

/// An instance that joins.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Which.
    pub id: InstanceId,
    /// What people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it is, in such words that no two processes can be there at once: whoever was there before is dead, and its lease ends with
    /// this. `None`: nobody can say.
    pub place: Option<String>,
    /// How long it is believed to live without a heartbeat.
    pub lease: Duration,
    /// Whether its events reach the readers of other instances. One whose events do not must be alone.
    pub shares_events: bool,
}

/// Why an instance may not join.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// Another instance is alive, and one of the two keeps its events to itself.
    #[error("another instance serves this database, and events are not shared")]
    MustBeAlone,
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An instance is alive.
#[derive(Debug, Clone)]
pub struct Heartbeat {
    /// Which.
    pub instance: InstanceId,
    /// From now on.
    pub lease: Duration,
    /// How busy it is.
    pub load: InstanceLoad,
}

/// How busy an instance is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceLoad {
    /// Runs it can bear.
    pub permits_limit: u32,
    /// Runs it has.
    pub permits_in_use: u32,
    /// Whether it is leaving.
    pub draining: bool,
}

/// What a heartbeat brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// The lease was renewed.
    pub held: bool,
    /// What the store's clock said.
    pub store_now: Timestamp,
    /// Runs of this instance that somebody wants cancelled.
    pub to_cancel: Vec<RunId>,
    /// Runs without an owner that are marked as to be cancelled: whoever hears of them cancels them. A few at a time, oldest first.
    pub parked_to_cancel: Vec<RunId>,
    /// Runs of instances whose lease is over.
    pub lost_runs: u64,
    /// Instances whose lease is not over and that are not leaving, this one included.
    pub live_instances: u32,
    /// Until the first of the other instances' leases is over, if it has runs: when to look again.
    pub next_lease_end: Option<Duration>,
    /// Runs in the queue, of the whole fleet, by the tier of their account; tiers without any may be missing.
    pub queued_by_tier: BTreeMap<String, u64>,
    /// Whether some queued run could start now if an instance has a Permit.
    pub claimable: bool,
    /// Whether the queue deadline of some run is over.
    pub expired: bool,
}

/// A new run and the bounds it comes in under.
#[derive(Debug, Clone)]
pub struct FleetAdmission {
    /// Its name, without meaning for the order of the queue.
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
    /// The instance holds a Permit for it.
    pub has_permit: bool,
    /// Runs the account may have in `running`; `None` is no limit. Kept with the account, for claims.
    pub slot_limit: Option<u32>,
    /// How it may wait; `None`: it starts or is refused.
    pub may_wait: Option<MayWait>,
    /// As in [`ClaimNext::reserve_seqs`].
    pub reserve_seqs: u64,
    /// Now, for people to read.
    pub created_at: Timestamp,
}

/// How a run may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MayWait {
    /// Runs the account may have in `queued`; `None` is no limit.
    pub account_limit: Option<u64>,
    /// How long it may wait; `None` for ever.
    pub deadline: Option<Duration>,
}

/// What became of a new run.
#[derive(Debug, Clone, PartialEq)]
pub enum Admitted {
    /// It is `running` under epoch 1, for this instance.
    Started {
        /// As the store has it.
        record: Box<RunRecord>,
        /// `run.created`, `run.started`.
        events: EncodedEvents,
    },
    /// It is `queued`.
    Queued {
        /// As the store has it.
        record: Box<RunRecord>,
        /// Its place in the account's line; 1 is next. `None`: it stands in none before its thread is free.
        position: Option<u64>,
        /// Runs before it in its thread that are marked as to be cancelled, in order.
        displaced: Vec<RunId>,
        /// `run.created`, `run.queued`.
        events: EncodedEvents,
    },
    /// The same request came before: this is its run.
    Existing(Box<RunRecord>),
    /// The key came before with another request.
    IdempotencyConflict,
    /// Its thread has a run that has not ended, and it may not wait for it. Nothing was written.
    ThreadBusy {
        /// The first run of the thread that has not ended.
        active: RunId,
    },
    /// There is no such thread (any more), or it is another account's.
    ThreadNotFound,
    /// It may not wait, or its account's line is full. Nothing was written.
    Refused {
        /// Whether a Slot was free: then it is a Permit, or its turn, that it lacks.
        has_slot: bool,
        /// Runs of the account in `running`.
        running: u32,
        /// Runs of the account in `queued`.
        queued: u64,
    },
}

/// Takes runs out of the queue.
#[derive(Debug, Clone, Copy)]
pub struct ClaimNext {
    /// Who will work on them.
    pub instance: InstanceId,
    /// For how many it has Permits.
    pub limit: u32,
    /// How many seqs after `run.started` to reserve, so that they may be shown before they are written; 0 if none.
    pub reserve_seqs: u64,
    /// Now, for people to read.
    pub at: Timestamp,
}

/// A run that was queued and is `running` now.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedRun {
    /// As the store has it.
    pub record: RunRecord,
    /// `run.started`.
    pub events: EncodedEvents,
}

/// A run that waited too long and is `failed` now.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpiredRun {
    /// As the store has it.
    pub record: RunRecord,
    /// Its terminal event.
    pub events: EncodedEvents,
}

/// A waiting run's log says where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldPosition {
    /// Which.
    pub run: RunId,
    /// Under which its log is written.
    pub epoch: u64,
    /// `run.queue_position`.
    pub events: EncodedEvents,
}

/// Something that happens elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// Some queued run may be able to start now.
    Claimable,
    /// Somebody wants a run of this instance cancelled.
    CancelAsked {
        /// Which.
        run: RunId,
        /// Whose it was when it was asked.
        owner: InstanceId,
    },
    /// This stored agent was changed or deleted.
    AgentChanged(AgentId),
    /// API keys or the tiers of accounts were changed.
    KeysChanged,
    /// Notices may have been missed: look at everything.
    Missed,
}

/// The fleet at this moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FleetOverview {
    /// Oldest first.
    pub instances: Vec<InstanceView>,
    /// Runs in `queued`.
    pub queued: u64,
    /// Runs in `running`.
    pub running: u64,
    /// Runs in `waiting`.
    pub waiting: u64,
}

/// An instance as the store sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceView {
    /// Which.
    pub id: InstanceId,
    /// What people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// When it joined, by the store's clock.
    pub started_at: Timestamp,
    /// Since its last heartbeat.
    pub heartbeat_age: Duration,
    /// What is left of its lease; `None` if it is over.
    pub lease_left: Option<Duration>,
    /// How busy it said it was.
    pub load: InstanceLoad,
    /// Runs in `running` that are its.
    pub runs: u64,
}
