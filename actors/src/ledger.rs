//! The tier ledger: how many runs each account has running here, in memory, against what its tier allows.
//!
//! The store decides (a Slot is taken in its transaction); the ledger mirrors it so that on one instance the answer is known without
//! asking. A [`SlotHold`] is given back by dropping it, at the moment the store has given the Slot back.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::AccountId;

/// What a tier allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierQuota {
    /// Runs in `running` at once; `None` leaves it to the server's capacity.
    pub concurrent_runs: Option<u32>,
    /// Runs in the queue at once; `None` leaves it to the queue's own limit.
    pub queued_runs: Option<u64>,
}

/// How many runs each account has running.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    running: Arc<Mutex<HashMap<AccountId, u32>>>,
}

/// One running run of an account.
#[derive(Debug)]
pub struct SlotHold {
    account: AccountId,
    ledger: Ledger,
}

impl Ledger {
    /// A slot, if the account has fewer than `limit` runs running. `Err` says how many it has.
    pub fn try_take(&self, account: &AccountId, limit: Option<u32>) -> Result<SlotHold, u32> {
        let mut running = self.lock();
        let count = running.entry(account.clone()).or_insert(0);
        if limit.is_some_and(|limit| *count >= limit) {
            let count = *count;
            if count == 0 {
                running.remove(account);
            }
            return Err(count);
        }
        *count += 1;
        Ok(SlotHold {
            account: account.clone(),
            ledger: self.clone(),
        })
    }

    /// A slot without asking for a limit: the run is running already (found after a restart).
    pub fn adopt(&self, account: &AccountId) -> SlotHold {
        *self.lock().entry(account.clone()).or_insert(0) += 1;
        SlotHold {
            account: account.clone(),
            ledger: self.clone(),
        }
    }

    /// How many runs the account has running.
    pub fn running(&self, account: &AccountId) -> u32 {
        self.lock().get(account).copied().unwrap_or(0)
    }

    /// All accounts that have runs running.
    pub fn snapshot(&self) -> BTreeMap<AccountId, u32> {
        self.lock()
            .iter()
            .map(|(account, count)| (account.clone(), *count))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AccountId, u32>> {
        // A count is changed in one step: a panic elsewhere cannot leave it half done.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for SlotHold {
    fn drop(&mut self) {
        let mut running = self.ledger.lock();
        let Some(count) = running.get_mut(&self.account) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            running.remove(&self.account);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Take(u8),
        GiveBack(usize),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![(0u8..4).prop_map(Step::Take), (0usize..64).prop_map(Step::GiveBack)]
    }

    proptest! {
        #[test]
        fn counts_follow_the_holds_and_never_pass_the_limit(steps in proptest::collection::vec(any_step(), 0..300)) {
            let ledger = Ledger::default();
            let mut holds: Vec<(u8, SlotHold)> = Vec::new();
            for step in steps {
                match step {
                    Step::Take(number) => {
                        let account: AccountId = format!("a{number}").parse().expect("a name");
                        let limit = u32::from(number) + 1;
                        let held = holds.iter().filter(|(owner, _)| *owner == number).count();
                        match ledger.try_take(&account, Some(limit)) {
                            Ok(hold) => holds.push((number, hold)),
                            Err(count) => prop_assert_eq!((count, held), (limit, limit as usize)),
                        }
                    }
                    Step::GiveBack(index) if !holds.is_empty() => drop(holds.swap_remove(index % holds.len())),
                    Step::GiveBack(_) => {}
                }
                let total: u32 = ledger.snapshot().values().sum();
                prop_assert_eq!(total as usize, holds.len());
            }
            holds.clear();
            prop_assert!(ledger.snapshot().is_empty());
        }
    }

    #[test]
    fn no_limit_is_no_limit_and_zero_is_zero() {
        let ledger = Ledger::default();
        let account = AccountId::local();
        let holds: Vec<SlotHold> = (0..100)
            .map(|_| ledger.try_take(&account, None).expect("no limit"))
            .collect();
        assert_eq!(ledger.running(&account), 100);
        drop(holds);
        assert_eq!(ledger.try_take(&account, Some(0)).expect_err("none allowed"), 0);
        assert!(ledger.snapshot().is_empty());
    }
}
