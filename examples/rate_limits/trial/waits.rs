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

/// A call that waits for longer than this waits for room, not for its turn to be sent.
const REAL_WAIT_US: i64 = 1_000_000;

/// All calls that waited, however short.
pub(crate) struct Waits {
    all: Vec<Wait>,
    /// By account.
    crowds: Vec<Crowd>,
    /// By account, those that have waited for longer than [`REAL_WAIT_US`], from then on.
    real_crowds: Vec<Crowd>,
}

/// How many wait at any moment.
struct Crowd {
    /// When they began, in the order of time.
    began: Vec<i64>,
    /// When they ended, in the order of time.
    ended: Vec<i64>,
}

impl Crowd {
    fn of(waits: impl Iterator<Item = (i64, i64)>) -> Self {
        let (mut began, mut ended): (Vec<i64>, Vec<i64>) = waits.unzip();
        began.sort_unstable();
        ended.sort_unstable();
        Self { began, ended }
    }

    /// One that is taken at this moment included.
    fn at(&self, at_us: i64) -> usize {
        let before = |moments: &[i64]| moments.partition_point(|moment| *moment < at_us);
        before(&self.began).saturating_sub(before(&self.ended))
    }
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
        let crowds = |patience: i64| {
            let real = move |wait: &&Wait| wait.length_us() >= patience;
            let of = |account: usize| all.iter().filter(move |wait| wait.account == account).filter(real);
            let crowd = |account| Crowd::of(of(account).map(|wait| (wait.from_us + patience, wait.until_us)));
            (0..accounts).map(crowd).collect()
        };
        Self {
            crowds: crowds(0),
            real_crowds: crowds(REAL_WAIT_US),
            all,
        }
    }

    /// From when the first call had to wait for room until the last had it, microseconds since 1970.
    pub(super) fn saturated_us(&self) -> (i64, i64) {
        let real = || self.all.iter().filter(|wait| wait.length_us() >= REAL_WAIT_US);
        let from = real().map(|wait| wait.from_us).min();
        let until = real().map(|wait| wait.until_us).max();
        (from.unwrap_or_default(), until.unwrap_or_default())
    }

    /// How many calls of an account wait at this moment.
    pub(crate) fn waiting(&self, account: usize, at_us: i64) -> usize {
        self.crowds[account].at(at_us)
    }

    /// How many calls of each account were taken while calls of every account waited.
    pub(super) fn taken_while_all_wanted_more(&self) -> Vec<usize> {
        let mut taken = vec![0; self.real_crowds.len()];
        for wait in &self.all {
            if self.real_crowds.iter().all(|crowd| crowd.at(wait.until_us) > 0) {
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
