//! Port `Threads`: conversations. Kept by the store; runs enter them in the transactions that write the runs.
//!
//! Contract (the conformance suite tries to break each line):
//! - The runs of a thread have one order. A run gets the next place in it, from 1, in the transaction that writes the run.
//! - A run of a thread becomes `running` only when every run before it has ended: however many ask at once, on however many instances, and
//!   whatever became of the one before (a crash, a hand-over, a wait). So at most one run of a thread is `running`.
//! - A run that may not begin waits as `queued` and stands in nobody's way: the account's other runs are claimed past it. When the last
//!   run before it ends, it is claimable by the same transaction.
//! - [`OnBusy::Interrupt`] and [`OnBusy::Replace`] mark the runs before the new one as to be cancelled, in the transaction that writes
//!   the new one: both are durable, or neither. The mark is told (by [`Recovered`](super::store::Recovered), by
//!   [`Beat`](super::fleet::Beat)) until the run has ended. A marked run that waits is not claimed any more: those behind it
//!   wait until it has ended.
//! - The items of a thread are those it began with and those of its runs: there is no second copy. Hidden runs have none there.
//! - A deleted thread is not there: nothing enters it, nothing is read from it. Its runs stay as runs.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::ids::{AccountId, RunId, ThreadId};
use crate::item::Item;
use crate::ports::StoreError;
use crate::ports::store::ItemPage;
use crate::time::Timestamp;

/// Conversations.
#[async_trait]
pub trait Threads: Send + Sync + 'static {
    /// Writes a new thread.
    async fn create_thread(&self, thread: NewThread) -> Result<(), StoreError>;

    /// A thread, whoever owns it; `None` also if it was deleted.
    async fn thread(&self, thread: ThreadId) -> Result<Option<ThreadRecord>, StoreError>;

    /// Threads of an account, newest first.
    async fn list_threads(&self, query: ThreadQuery) -> Result<Vec<ThreadRecord>, StoreError>;

    /// Deletes a thread and what it began with, and marks its runs that have not ended as to be cancelled: which these are, in order.
    /// `None`: there is no such thread (any more).
    async fn delete_thread(&self, thread: ThreadId) -> Result<Option<Vec<RunId>>, StoreError>;

    /// The items of a thread in order: a page of at most `limit` after a place.
    async fn thread_items(&self, query: ThreadItemsQuery) -> Result<ItemPage<ThreadItem>, StoreError>;

    /// Whole turns before a run's place, newest first: a page of them, none when the beginning is reached. What the thread began with is
    /// its first turn, with position 0, and may come in a page of its own. Hidden runs are no turns.
    async fn turns_before(&self, thread: ThreadId, position: u64, page: TurnPage) -> Result<Vec<Turn>, StoreError>;

    /// How much there is before a run's place, hidden runs left out.
    async fn extent_before(&self, thread: ThreadId, position: u64) -> Result<ThreadExtent, StoreError>;
}

/// What to do with a new run if its thread has a run that has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBusy {
    /// Refuse it.
    #[default]
    Refuse,
    /// Let it wait for the end of those before it.
    Queue,
    /// Cancel those before it; what was said in them stays in the history.
    Interrupt,
    /// Cancel those before it and hide what was said in them.
    Replace,
}

impl OnBusy {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::Refuse, Self::Queue, Self::Interrupt, Self::Replace];

    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Queue => "queue",
            Self::Interrupt => "interrupt",
            Self::Replace => "replace",
        }
    }

    /// Whether those before it are to be cancelled.
    pub const fn displaces(self) -> bool {
        matches!(self, Self::Interrupt | Self::Replace)
    }
}

/// A new run enters a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnterThread {
    /// Which.
    pub thread: ThreadId,
    /// What to do if it is busy.
    pub on_busy: OnBusy,
}

/// Where a run stands in its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunThread {
    /// Which.
    pub id: ThreadId,
    /// Its place in the order of the thread's runs, from 1.
    pub position: u64,
}

/// A thread to be written.
#[derive(Debug, Clone)]
pub struct NewThread {
    /// Its name.
    pub id: ThreadId,
    /// Whose it is.
    pub account: AccountId,
    /// Free text that comes back unchanged.
    pub metadata: BTreeMap<String, String>,
    /// What was said before the first run.
    pub items: Vec<Item>,
    /// Now.
    pub created_at: Timestamp,
}

/// A thread as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Its name.
    pub id: ThreadId,
    /// Whose it is.
    pub account: AccountId,
    /// As in [`NewThread::metadata`].
    pub metadata: BTreeMap<String, String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A page of threads.
#[derive(Debug, Clone)]
pub struct ThreadQuery {
    /// Whose.
    pub account: AccountId,
    /// Only those older than this one.
    pub before: Option<ThreadId>,
    /// At most so many.
    pub limit: u32,
}

/// A page of a thread's items.
#[derive(Debug, Clone, Copy)]
pub struct ThreadItemsQuery {
    /// Which.
    pub thread: ThreadId,
    /// Only those after this place.
    pub after: Option<ThreadPlace>,
    /// At most so many.
    pub limit: u32,
}

/// The place of an item in its thread; sorts as the items do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ThreadPlace {
    /// The place of its run; 0 for what the thread began with.
    pub position: u64,
    /// Its place among the items of the run.
    pub item: u32,
}

/// An item of a thread.
#[derive(Debug, Clone, PartialEq)]
pub struct ThreadItem {
    /// Where it stands.
    pub place: ThreadPlace,
    /// Whose it is; `None` of what the thread began with.
    pub run: Option<RunId>,
    /// What it says.
    pub item: Item,
}

/// All that was said in one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The run's place; 0 for what the thread began with.
    pub position: u64,
    /// In order.
    pub items: Vec<Item>,
}

/// How many turns to read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TurnPage {
    /// At most so many.
    pub turns: u32,
    /// The turn is the last whose items, as JSON, make it this many bytes or more: what is read is larger by one turn at most.
    pub bytes: u64,
}

/// How much there is of a thread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ThreadExtent {
    /// Runs, and one for what the thread began with.
    pub turns: u64,
    /// Bytes of their items, as JSON.
    pub bytes: u64,
}
