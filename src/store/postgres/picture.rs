//! What a batch has read of the database and what it makes of it. Decisions change the picture; [`super::write_set`] writes it down.

use std::collections::{BTreeMap, BTreeSet};

use callboard_actors::encoding::EncodedEvents;
use callboard_actors::ids::{AccountId, InstanceId, RunId, ThreadId};
use callboard_actors::item::Item;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::budgets::Charge;
use callboard_actors::ports::store::{Idempotency, RunRecord};
use callboard_actors::run_state::RunState;
use callboard_actors::time::Timestamp;

use super::rows::json;

/// The rows that a batch may change, all of them locked.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub(super) accounts: BTreeMap<AccountId, AccountCounts>,
    pub(super) runs: BTreeMap<RunId, RunPicture>,
    /// Those that new runs enter.
    pub(super) threads: BTreeMap<ThreadId, ThreadPicture>,
    /// Which run has an idempotency key, and for what request.
    pub(super) idempotency: BTreeMap<(AccountId, String), ([u8; 32], RunId)>,
    pub(super) events: Vec<(RunId, EncodedEvents)>,
    /// Run, place, JSON.
    pub(super) items: Vec<(RunId, i64, String)>,
    /// What model calls used, by run and account.
    pub(super) charges: Vec<(RunId, AccountId, Charge)>,
    /// Running runs whose epoch is ended without their owner.
    pub(super) abandoned: Vec<RunId>,
    /// Instances whose lease is held, of those that admit runs.
    pub(super) held_leases: BTreeSet<InstanceId>,
    /// The database's time; read only if it decides something.
    pub(super) now: Option<Timestamp>,
}

/// The counters of an account.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AccountCounts {
    pub(super) running: u32,
    pub(super) queued: i64,
    pub(super) slot_limit: Option<u32>,
    pub(super) next_place: i64,
    pub(super) turn: i64,
    /// Queued runs that wait for another of their thread; `queued` does not count them.
    pub(super) held: i64,
    pub(super) changed: bool,
}

/// A thread's row.
#[derive(Debug)]
pub(super) struct ThreadPicture {
    pub(super) account: AccountId,
    pub(super) next_position: u64,
    pub(super) changed: bool,
}

/// A run's row.
#[derive(Debug)]
pub(super) struct RunPicture {
    pub(super) record: RunRecord,
    pub(super) instance: InstanceId,
    pub(super) next_item: i64,
    pub(super) line: i16,
    pub(super) place: i64,
    pub(super) cancel_requested: bool,
    /// Queued, and behind another run of its thread that has not ended.
    pub(super) held: bool,
    /// No part of its thread's history.
    pub(super) hidden: bool,
    /// The ledger of its tool calls does not read back: it may end, and nothing else.
    pub(super) is_damaged: bool,
    /// Set for a run that is new in this batch.
    pub(super) new: Option<NewRow>,
    pub(super) changed: bool,
}

/// What only the first writing of a row needs.
#[derive(Debug)]
pub(super) struct NewRow {
    pub(super) idempotency: Option<Idempotency>,
    /// The position that its log tells, and when, microseconds by the database's clock.
    pub(super) told: Option<(i64, i64)>,
}

impl AccountCounts {
    pub(super) fn has_slot(&self) -> bool {
        self.slot_limit.is_none_or(|limit| self.running < limit)
    }

    /// Whether the account has a run that waits for nothing but a Permit.
    pub(super) fn is_claimable(&self) -> bool {
        self.queued > 0 && self.has_slot()
    }
}

impl Picture {
    /// Whether some queued run may have become able to start.
    pub(super) fn makes_claimable(&self) -> bool {
        self.accounts
            .values()
            .any(|counts| counts.changed && counts.is_claimable())
    }

    pub(super) fn account(&mut self, account: &AccountId) -> Result<&mut AccountCounts, StoreError> {
        let missing = || StoreError::Damaged("an account has no counters".into());
        self.accounts.get_mut(account).ok_or_else(missing)
    }

    pub(super) fn running(&self, account: &AccountId) -> u32 {
        self.accounts.get(account).map_or(0, |counts| counts.running)
    }

    /// The runs of a thread that have not ended, in order.
    pub(super) fn without_end(&self, thread: ThreadId) -> Vec<RunId> {
        let mut found: Vec<(u64, RunId)> = Vec::new();
        for (run, row) in &self.runs {
            if let Some(place) = row.record.thread
                && place.id == thread
                && !row.record.state.is_terminal()
            {
                found.push((place.position, *run));
            }
        }
        found.sort_unstable();
        found.into_iter().map(|(_, run)| run).collect()
    }

    /// A run has ended: the one that waited for it is given its place in the account's line.
    pub(super) fn let_next_of_thread_in(&mut self, ended: RunId) -> Result<(), StoreError> {
        let record = self.runs.get(&ended).map(|row| &row.record);
        let Some(thread) = record
            .filter(|record| record.state.is_terminal())
            .and_then(|record| record.thread)
        else {
            return Ok(());
        };
        let Some(next) = self.without_end(thread.id).first().copied() else {
            return Ok(());
        };
        let Some(row) = self.runs.get_mut(&next).filter(|row| row.held) else {
            return Ok(());
        };
        row.held = false;
        row.changed = true;
        let account = row.record.account.clone();
        let counts = self.account(&account)?;
        counts.held -= 1;
        counts.queued += 1;
        counts.changed = true;
        Ok(())
    }

    /// Counts a run of the account out of one state and into another. `held`: the one of the two that is `queued` is held.
    pub(super) fn count(
        &mut self,
        account: &AccountId,
        from: Option<RunState>,
        to: RunState,
        held: bool,
    ) -> Result<(), StoreError> {
        let missing = || StoreError::Damaged("an account's counters disagree with its runs".into());
        let counts = self.account(account)?;
        match from {
            Some(RunState::Running) => counts.running = counts.running.checked_sub(1).ok_or_else(missing)?,
            Some(RunState::Queued) if held && counts.held < 1 => return Err(missing()),
            Some(RunState::Queued) if held => counts.held -= 1,
            Some(RunState::Queued) if counts.queued < 1 => return Err(missing()),
            Some(RunState::Queued) => counts.queued -= 1,
            _ => {}
        }
        match to {
            RunState::Running => counts.running += 1,
            RunState::Queued if held => counts.held += 1,
            RunState::Queued => counts.queued += 1,
            _ => {}
        }
        counts.changed = true;
        Ok(())
    }

    pub(super) fn append_events(&mut self, run: RunId, events: EncodedEvents) {
        self.events.push((run, events));
    }

    /// Appends items after those that the run has.
    pub(super) fn append_items(&mut self, run: RunId, items: &[Item]) -> Result<(), StoreError> {
        let texts = items.iter().map(json).collect::<Result<Vec<_>, _>>()?;
        let Some(row) = self.runs.get_mut(&run) else {
            return Ok(());
        };
        for text in texts {
            self.items.push((run, row.next_item, text));
            row.next_item += 1;
            row.changed = true;
        }
        Ok(())
    }
}
