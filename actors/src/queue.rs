//! The queue: runs that wait for a Permit and a Slot. First in, first out within an account; accounts take turns.
//!
//! It mirrors the rows in state `queued` (it is rebuilt from them at start) and holds a few words per run. Accounts whose quota is
//! used up stand aside until one of their runs ends, so finding the next run costs the same however many wait.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::ids::{AccountId, RunId};
use crate::time::Timestamp;

/// A run in the queue. Runs of an account start in the order of their ids, which is the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRun {
    /// Which.
    pub id: RunId,
    /// Whose.
    pub account: AccountId,
    /// The account's tier.
    pub tier: Arc<str>,
    /// When it fails if it has not started.
    pub deadline: Option<Timestamp>,
    /// When it last was told its position.
    pub told_at: Timestamp,
}

/// Runs that wait.
#[derive(Debug, Default)]
pub struct FairQueue {
    lines: HashMap<AccountId, VecDeque<WaitingRun>>,
    /// Accounts whose turn will come, each once.
    turns: VecDeque<AccountId>,
    /// The same accounts, to look up.
    in_turns: HashSet<AccountId>,
    accounts: HashMap<RunId, AccountId>,
    deadlines: BTreeSet<(Timestamp, RunId)>,
    by_tier: BTreeMap<Arc<str>, u64>,
    /// Runs that wait for another of their thread: in the queue, but in no line.
    held: HashMap<RunId, WaitingRun>,
    held_by_account: HashMap<AccountId, u64>,
}

impl FairQueue {
    /// Keeps a run that may not start before another of its thread has ended. It has no position and holds nobody up.
    pub fn hold(&mut self, run: WaitingRun) {
        if self.accounts.contains_key(&run.id) || self.held.contains_key(&run.id) {
            return;
        }
        if let Some(deadline) = run.deadline {
            self.deadlines.insert((deadline, run.id));
        }
        *self.by_tier.entry(run.tier.clone()).or_insert(0) += 1;
        *self.held_by_account.entry(run.account.clone()).or_insert(0) += 1;
        self.held.insert(run.id, run);
    }

    /// Puts a run that was held in its account's line, by its id. `false`: it was not held.
    pub fn release(&mut self, id: RunId) -> bool {
        let Some(run) = self.remove_held(id) else { return false };
        self.insert(run);
        true
    }

    fn remove_held(&mut self, id: RunId) -> Option<WaitingRun> {
        let run = self.held.remove(&id)?;
        if let Some(count) = self.held_by_account.get_mut(&run.account) {
            *count -= 1;
            if *count == 0 {
                self.held_by_account.remove(&run.account);
            }
        }
        self.forget(&run);
        Some(run)
    }

    /// Takes a run out of what is kept of all that wait.
    fn forget(&mut self, run: &WaitingRun) {
        if let Some(deadline) = run.deadline {
            self.deadlines.remove(&(deadline, run.id));
        }
        if let Some(count) = self.by_tier.get_mut(&run.tier) {
            *count -= 1;
        }
    }

    /// Puts a run in its account's line, by its id. Returns its position; 1 is next.
    pub fn insert(&mut self, run: WaitingRun) -> u64 {
        let account = run.account.clone();
        let line = self.lines.entry(account.clone()).or_default();
        let index = match line.binary_search_by_key(&run.id, |waiting| waiting.id) {
            Ok(index) => return index as u64 + 1,
            Err(index) => index,
        };
        self.accounts.insert(run.id, account.clone());
        if let Some(deadline) = run.deadline {
            self.deadlines.insert((deadline, run.id));
        }
        *self.by_tier.entry(run.tier.clone()).or_insert(0) += 1;
        line.insert(index, run);
        self.give_turn(&account);
        index as u64 + 1
    }

    /// The first run of the account whose turn it is. `has_slot` is asked about each account at most once; one without a free
    /// Slot stands aside until [`FairQueue::slot_freed`].
    pub fn next(&mut self, mut has_slot: impl FnMut(&WaitingRun) -> bool) -> Option<WaitingRun> {
        while let Some(account) = self.turns.pop_front() {
            self.in_turns.remove(&account);
            let Some(first) = self.lines.get(&account).and_then(VecDeque::front) else {
                continue;
            };
            if !has_slot(first) {
                continue;
            }
            let id = first.id;
            let run = self.remove(id);
            if self.lines.contains_key(&account) {
                self.give_turn(&account);
            }
            return run;
        }
        None
    }

    /// One of the account's runs has ended: its turn may come again.
    pub fn slot_freed(&mut self, account: &AccountId) {
        if self.lines.contains_key(account) {
            self.give_turn(account);
        }
    }

    fn give_turn(&mut self, account: &AccountId) {
        if self.in_turns.insert(account.clone()) {
            self.turns.push_back(account.clone());
        }
    }

    /// Takes a run out, wherever it stands.
    pub fn remove(&mut self, id: RunId) -> Option<WaitingRun> {
        let Some(account) = self.accounts.remove(&id) else {
            return self.remove_held(id);
        };
        let line = self.lines.get_mut(&account)?;
        let index = line.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        let run = line.remove(index)?;
        if line.is_empty() {
            self.lines.remove(&account);
        }
        self.forget(&run);
        Some(run)
    }

    /// A run's place in its account's line; 1 is next.
    pub fn position(&self, id: RunId) -> Option<u64> {
        let line = self.lines.get(self.accounts.get(&id)?)?;
        let index = line.binary_search_by_key(&id, |waiting| waiting.id).ok()?;
        Some(index as u64 + 1)
    }

    /// Runs of an account whose position should be told now, with it: those that stand at 1, 2, 4, 8, … and were not told since
    /// `told_before`. They count as told at `now`.
    pub fn positions_to_tell(
        &mut self,
        account: &AccountId,
        told_before: Timestamp,
        now: Timestamp,
    ) -> Vec<(RunId, u64)> {
        let mut told = Vec::new();
        let Some(line) = self.lines.get_mut(account) else {
            return told;
        };
        let mut position = 1;
        while let Some(run) = line.get_mut(position - 1) {
            if run.told_at < told_before {
                run.told_at = now;
                told.push((run.id, position as u64));
            }
            position *= 2;
        }
        told
    }

    /// The earliest deadline in the queue.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Takes out every run whose deadline is not after `now`.
    pub fn take_expired(&mut self, now: Timestamp) -> Vec<WaitingRun> {
        let mut expired = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            match self.remove(id) {
                Some(run) => expired.push(run),
                None => {
                    self.deadlines.remove(&(deadline, id));
                }
            }
        }
        expired
    }

    /// Runs in the queue.
    pub fn len(&self) -> u64 {
        (self.accounts.len() + self.held.len()) as u64
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.held.is_empty()
    }

    /// Runs of an account that are held.
    pub fn held_of(&self, account: &AccountId) -> u64 {
        self.held_by_account.get(account).copied().unwrap_or(0)
    }

    /// Runs of an account in its line.
    pub fn len_of(&self, account: &AccountId) -> u64 {
        self.lines.get(account).map_or(0, |line| line.len() as u64)
    }

    /// Runs in the queue by tier.
    pub fn len_by_tier(&self) -> &BTreeMap<Arc<str>, u64> {
        &self.by_tier
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waiting(account: &str, deadline: Option<i64>) -> WaitingRun {
        WaitingRun {
            id: RunId::new(),
            account: account.parse().expect("a name"),
            tier: "free".into(),
            deadline: deadline.map(Timestamp::from_micros),
            told_at: Timestamp::from_micros(0),
        }
    }

    #[test]
    fn a_long_line_does_not_delay_another_accounts_first() {
        let mut queue = FairQueue::default();
        for _ in 0..1000 {
            queue.insert(waiting("big", None));
        }
        queue.insert(waiting("small", None));
        let owners: Vec<String> = (0..3)
            .map(|_| queue.next(|_| true).expect("many wait").account.to_string())
            .collect();
        assert_eq!(owners, ["big", "small", "big"]);
    }

    #[test]
    fn one_handed_back_is_first_again() {
        let mut queue = FairQueue::default();
        let early = waiting("a", None);
        queue.insert(waiting("a", None));
        assert_eq!(queue.insert(early.clone()), 1);
        assert_eq!(queue.next(|_| true), Some(early));
    }

    #[test]
    fn an_account_without_a_slot_stands_aside_until_one_is_free() {
        let mut queue = FairQueue::default();
        let blocked = waiting("blocked", None);
        let free = waiting("free", None);
        queue.insert(blocked.clone());
        queue.insert(free.clone());
        assert_eq!(queue.next(|run| run.account != blocked.account), Some(free));
        assert_eq!(queue.next(|_| true), None, "nobody asks again before a slot was freed");
        queue.slot_freed(&blocked.account);
        assert_eq!(queue.next(|_| true), Some(blocked));
    }

    #[test]
    fn positions_are_told_at_powers_of_two_and_not_too_often() {
        let mut queue = FairQueue::default();
        for _ in 0..10 {
            queue.insert(waiting("a", None));
        }
        let account: AccountId = "a".parse().expect("a name");
        let at = Timestamp::from_micros;
        let told: Vec<u64> = queue
            .positions_to_tell(&account, at(5), at(9))
            .into_iter()
            .map(|told| told.1)
            .collect();
        assert_eq!(told, [1, 2, 4, 8]);
        assert!(queue.positions_to_tell(&account, at(5), at(9)).is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8),
        Next(u8),
        Remove(usize),
        Expire(i64),
        Free(u8),
        Hold(u8),
        Release(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u8..4).prop_map(Step::Insert),
            3 => any::<u8>().prop_map(Step::Next),
            1 => (0usize..64).prop_map(Step::Remove),
            1 => (0i64..100).prop_map(Step::Expire),
            1 => (0u8..4).prop_map(Step::Free),
            1 => (0u8..4).prop_map(Step::Hold),
            1 => (0usize..64).prop_map(Step::Release),
        ]
    }

    proptest! {
        /// Against a plain list: nothing is lost or doubled, order within an account holds, counts agree.
        #[test]
        fn behaves_like_a_list_of_lines(steps in proptest::collection::vec(any_step(), 0..300)) {
            let mut queue = FairQueue::default();
            let mut model: Vec<WaitingRun> = Vec::new();
            let mut held: Vec<WaitingRun> = Vec::new();
            for (index, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(account) => {
                        let run = waiting(&format!("a{account}"), Some(index as i64 % 90 + 10));
                        let before = model.iter().filter(|other| other.account == run.account).count();
                        prop_assert_eq!(queue.insert(run.clone()), before as u64 + 1);
                        model.push(run);
                    }
                    Step::Next(open) => {
                        let has_slot = |run: &WaitingRun| open & (1 << (run.account.as_str().as_bytes()[1] - b'0')) != 0;
                        if let Some(run) = queue.next(has_slot) {
                            prop_assert!(has_slot(&run));
                            let first = model.iter().position(|other| other.account == run.account);
                            let first = model.remove(first.expect("it was in the queue"));
                            prop_assert_eq!(first, run);
                        }
                    }
                    Step::Remove(pick) if !model.is_empty() => {
                        let run = model.remove(pick % model.len());
                        prop_assert_eq!(queue.remove(run.id), Some(run.clone()));
                        prop_assert_eq!(queue.remove(run.id), None);
                    }
                    Step::Remove(_) => {}
                    Step::Expire(now) => {
                        let now = Timestamp::from_micros(now);
                        for run in queue.take_expired(now) {
                            prop_assert!(run.deadline.expect("it had one") <= now);
                            model.retain(|other| other.id != run.id);
                            held.retain(|other| other.id != run.id);
                        }
                        prop_assert!(model.iter().chain(&held).all(|run| run.deadline.expect("each has one") > now));
                    }
                    Step::Hold(account) => {
                        let run = waiting(&format!("a{account}"), Some(index as i64 % 90 + 10));
                        queue.hold(run.clone());
                        prop_assert_eq!(queue.position(run.id), None);
                        held.push(run);
                    }
                    Step::Release(pick) if !held.is_empty() => {
                        let run = held.remove(pick % held.len());
                        prop_assert!(queue.release(run.id));
                        prop_assert!(!queue.release(run.id));
                        let place = model.iter().filter(|other| other.account == run.account && other.id < run.id).count();
                        prop_assert_eq!(queue.position(run.id), Some(place as u64 + 1));
                        model.push(run);
                        model.sort_by_key(|run| run.id);
                    }
                    Step::Release(_) => {}
                    Step::Free(account) => queue.slot_freed(&format!("a{account}").parse().expect("a name")),
                }
                let all = model.len() + held.len();
                prop_assert_eq!(queue.len() as usize, all);
                prop_assert_eq!(queue.len_by_tier().values().sum::<u64>() as usize, all);
                prop_assert_eq!(queue.next_deadline(), model.iter().chain(&held).filter_map(|run| run.deadline).min());
                for account in 0..4 {
                    let account: AccountId = format!("a{account}").parse().expect("a name");
                    let of_account = held.iter().filter(|run| run.account == account).count();
                    prop_assert_eq!(queue.held_of(&account) as usize, of_account);
                }
            }
            for account in 0..4 {
                queue.slot_freed(&format!("a{account}").parse().expect("a name"));
            }
            let mut rest = 0;
            while queue.next(|_| true).is_some() {
                rest += 1;
            }
            prop_assert_eq!(rest, model.len());
        }
    }
}
