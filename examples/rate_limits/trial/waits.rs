//! Who waited when, and who got what there was.

use std::collections::BTreeMap;

use super::course::PostedRun;
use super::evidence::{Call, Evidence, Fate};

/// A call that wants to be made: since its run was posted, or said the step before, or had to try again, until a region took it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) account: usize,
    pub(super) from_us: i64,
    pub(super) until_us: i64,
    /// It is the first call of its run.
    pub(super) is_first: bool,
}

impl Wait {
    pub(super) const fn length_us(&self) -> i64 {
        self.until_us - self.from_us
    }
}

/// All calls that waited, however short.
pub(crate) struct Waits {
    pub(super) all: Vec<Wait>,
    /// For each account when its waits began and ended, each in the order of time.
    begun_and_ended: Vec<(Vec<i64>, Vec<i64>)>,
}

impl Waits {
    pub(super) fn of(posted: &[PostedRun], accounts: usize, evidence: &Evidence) -> Self {
        let mut calls: BTreeMap<&str, Vec<&Call>> = BTreeMap::new();
        for call in &evidence.calls {
            calls.entry(&call.run).or_default().push(call);
        }
        let mut all = Vec::new();
        for run in posted {
            let stored = evidence.runs.get(&run.id);
            let (Some(stored), Some(calls)) = (stored, calls.get(run.id.as_str())) else {
                continue;
            };
            let mut wait = Wait {
                account: run.account,
                from_us: stored.created_us,
                until_us: 0,
                is_first: true,
            };
            for call in calls {
                if call.fate == Fate::LetIn {
                    wait.until_us = call.received_us;
                    all.push(wait);
                    (wait.from_us, wait.is_first) = (call.ended_us, false);
                }
            }
        }
        let begun_and_ended = (0..accounts).map(|account| {
            let of_account = || all.iter().filter(move |wait| wait.account == account);
            let mut begun: Vec<i64> = of_account().map(|wait| wait.from_us).collect();
            let mut ended: Vec<i64> = of_account().map(|wait| wait.until_us).collect();
            begun.sort_unstable();
            ended.sort_unstable();
            (begun, ended)
        });
        Self {
            begun_and_ended: begun_and_ended.collect(),
            all,
        }
    }

    /// How many calls of an account wait at this moment, one that is taken at this moment included.
    pub(crate) fn waiting(&self, account: usize, at_us: i64) -> usize {
        let (begun, ended) = &self.begun_and_ended[account];
        let before = |moments: &[i64]| moments.partition_point(|moment| *moment < at_us);
        before(begun).saturating_sub(before(ended))
    }

    /// How many calls wait at this moment.
    pub(super) fn all_waiting(&self, at_us: i64) -> usize {
        (0..self.begun_and_ended.len())
            .map(|account| self.waiting(account, at_us))
            .sum()
    }

    /// How many calls of each account were taken while calls of every account waited.
    pub(super) fn taken_while_all_wanted_more(&self) -> Vec<usize> {
        let accounts = self.begun_and_ended.len();
        let mut taken = vec![0; accounts];
        for wait in &self.all {
            if (0..accounts).all(|account| self.waiting(account, wait.until_us) > 0) {
                taken[wait.account] += 1;
            }
        }
        taken
    }

    /// How long the first calls of an account's runs waited, microseconds, shortest first.
    pub(super) fn first_waits_us(&self, account: usize) -> Vec<i64> {
        let first = self.all.iter().filter(|wait| wait.account == account && wait.is_first);
        let mut lengths: Vec<i64> = first.map(Wait::length_us).collect();
        lengths.sort_unstable();
        lengths
    }
}
