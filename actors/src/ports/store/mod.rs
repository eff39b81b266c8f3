//! Port `Store`: what must survive. Runs, their items and events, slots, API keys.
//!
//! Contract (the conformance suite tries to break each line):
//! - Every method is atomic: it happens whole and durably before it returns `Ok`, or it changes nothing.
//! - A Slot is taken in the transaction that moves a run to `running` and given back in the one that moves it out; an account never
//!   has more runs in `running` than the limit that each taking names.
//! - A write for a running run carries its epoch and is refused (`Fenced`) unless the run is `running` under exactly that epoch and
//!   the events begin at its `next_seq`, or at its `reserved_seq` if that is above (after a crash, seqs that may have been seen but were
//!   not written are left out).
//! - A commit that is there already, byte for byte, is answered `Ok` and changes nothing: its first answer was lost on the way. So it is
//!   until the run is archived; then it is `Fenced`.
//! - The last event of a run without its ending, an ending without its event, or one that tells of another state is refused (`Damaged`).
//! - What holds of runs in threads is said in [`threads`](crate::ports::threads).
//! - State moves obey [`RunState::may_become`].
//! - Terminal state and terminal event are written together, once.
//! - What readers get of a run's events never depends on whether they are archived: the same bytes under the same seqs, at every moment. How
//!   many events share a batch may change. Events are forgotten all or none of them, and only of runs that have ended.

mod records;

use async_trait::async_trait;

use crate::encoding::EncodedEvents;
use crate::error::RunError;
use crate::ids::{AccountId, InstanceId, KeyId, RunId};
use crate::item::Item;
use crate::run_state::RunState;
use crate::time::Timestamp;
pub use records::{
    Admission, Claim, ClaimRun, Creation, FULL_ITEM_PAGE, Idempotency, ItemPage, KeyRecord, NewRun, OverduePlace,
    OverdueRun, ParkedOutcome, ParkedUpdate, QueuedRun, Recovered, RunCommit, RunProgress, RunQuery, RunRecord,
    StateChange,
};

/// What must survive.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes a new run with its input and first events, taking a Slot if it is to start at once.
    async fn create_run(&self, run: NewRun) -> Result<Creation, StoreError>;

    /// What [`Store::create_run`] would say of this idempotency key if it was used before: `Existing` or `IdempotencyConflict`; else `None`.
    async fn find_idempotent(
        &self,
        account: &AccountId,
        idempotency: &Idempotency,
    ) -> Result<Option<Creation>, StoreError>;

    /// Moves a queued run to `running` under a new epoch, taking a Slot. The event `run.started` is numbered and written here.
    async fn claim_run(&self, claim: ClaimRun) -> Result<Claim, StoreError>;

    /// Writes a step of a running run.
    async fn commit(&self, commit: RunCommit) -> Result<(), StoreError>;

    /// Changes a run that no actor has (`queued` or `waiting`): the store numbers the events. What is said of its tool calls is taken in
    /// against the ledger as it is then, so that each call is answered once, whoever else is at it.
    async fn update_parked_run(&self, update: ParkedUpdate) -> Result<ParkedOutcome, StoreError>;

    /// Ends a `running` run whose actor is gone without an ending (its code panicked): `failed` with `error`, epoch grown by one. Numbers
    /// the event itself; if `reserved_seq` is above `next_seq`, above that and behind a `run.recovered` that names what is lost. Gives
    /// the Slot back, and charges what the run holds ([`crate::ports::budgets`]). `None` if the run is not `running` under this epoch (any more).
    async fn fail_abandoned_run(
        &self,
        run: RunId,
        epoch: u64,
        error: RunError,
    ) -> Result<Option<EncodedEvents>, StoreError>;

    /// At start: takes over every run that an instance before this one left `running` (epoch grows by one; they keep their Slots,
    /// what they hold is charged: [`crate::ports::budgets`]), counts the Slots anew, and lists what is in the queue, oldest first.
    async fn recover(&self, instance: InstanceId) -> Result<Recovered, StoreError>;

    /// A run, whoever owns it.
    async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError>;

    /// Runs of an account, newest first.
    async fn list_runs(&self, query: RunQuery) -> Result<Vec<RunRecord>, StoreError>;

    /// Runs that wait for their account's budget and whose they are, oldest first: at most `limit` of those younger than `after`.
    async fn runs_waiting_for_budget(
        &self,
        after: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<(RunId, AccountId)>, StoreError>;

    /// Waiting runs with a tool call whose deadline is not after `now`, the longest overdue first: at most `limit` of those behind `after`. One
    /// that cannot be read is among them, and keeps none of the others back.
    async fn runs_with_overdue_calls(
        &self,
        now: Timestamp,
        after: Option<OverduePlace>,
        limit: u32,
    ) -> Result<Vec<OverdueRun>, StoreError>;

    /// A run's items in order, input first: a page of at most `limit` above the place `after` (0-based; `None` from the beginning), each with
    /// its place.
    async fn items(&self, run: RunId, after: Option<u32>, limit: u32) -> Result<ItemPage<(u32, Item)>, StoreError>;

    /// A run's items from the end, newest first: at most `limit` below the place `before` (`None` from the last one), each with its place.
    async fn newest_items(&self, run: RunId, before: Option<u32>, limit: u32) -> Result<Vec<(u32, Item)>, StoreError>;

    /// A run's events above `after`, in order, as they were written: about `max_bytes` (at least one batch if there is any). None if they
    /// were forgotten: [`RunRecord::events_forgotten`] says so.
    async fn events(&self, run: RunId, after: Option<u64>, max_bytes: usize) -> Result<Vec<EncodedEvents>, StoreError>;

    /// Forgets idempotency keys of runs created before this, and says how many.
    async fn forget_idempotency_keys(&self, created_before: Timestamp) -> Result<u64, StoreError>;

    /// Archives the events of runs that ended before this: their many small rows are rewritten into few compressed ones. Takes those that
    /// ended first, at most `limit` of them, and says how many it has done: fewer than `limit` if none is left, or others are at them.
    /// However many callers there are, each run is done once. Not one transaction but many small ones: after an error, some are done.
    ///
    /// Callers leave time between a run's end and this, so that whoever lost the answer to the last commit can repeat it.
    async fn archive_ended(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Forgets the events of runs that ended before this, archived or not: at most `limit` of them. The runs and their items stay. Says how
    /// many, and how it is done, as [`Store::archive_ended`].
    async fn forget_events(&self, ended_before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Writes a new API key and sets the account's tier.
    async fn create_key(&self, key: KeyRecord) -> Result<(), StoreError>;

    /// All API keys, oldest first.
    async fn list_keys(&self) -> Result<Vec<KeyRecord>, StoreError>;

    /// Marks a key as revoked; `false` if there is none. Revoking again changes nothing.
    async fn revoke_key(&self, key: KeyId, at: Timestamp) -> Result<bool, StoreError>;

    /// The key with this SHA-256, revoked or not.
    async fn find_key(&self, secret_hash: [u8; 32]) -> Result<Option<KeyRecord>, StoreError>;

    /// Whether any key was ever created, revoked ones included: a server whose last key is revoked does not fall open.
    async fn has_keys(&self) -> Result<bool, StoreError>;

    /// Whether a write could be made now.
    async fn ping(&self) -> Result<(), StoreError>;

    /// How busy it is.
    fn usage(&self) -> StoreUsage;
}

/// How busy a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Connections that may be open.
    pub connections_limit: u32,
    /// Connections that are open.
    pub connections_open: u32,
    /// Connections that work at this moment.
    pub connections_busy: u32,
    /// Writes that wait for their commit.
    pub writes_waiting: u64,
    /// Statements since the start.
    pub statements: u64,
    /// Commits since the start.
    pub commits: u64,
}

/// Why the store did not do it. Texts are for our log, never for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or cannot write: try later.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// The run is not `running` under this epoch, or its log continues elsewhere.
    #[error("the run is not running under this epoch")]
    Fenced,
    /// The move is not legal.
    #[error("a run cannot go from {from} to {to}")]
    IllegalMove {
        /// Where it is.
        from: RunState,
        /// Where it was to go.
        to: RunState,
    },
    /// What it has makes no sense.
    #[error("stored data is damaged: {0}")]
    Damaged(String),
}
