//! Rule 1: quotas, in every snapshot of the database, and by the times in the logs.

use std::collections::BTreeMap;

use callboard_actors::time::Timestamp;

use super::super::evidence::Evidence;
use super::{Rule, Verdict};
use crate::rig::SeenEvent;

/// How far the clocks of two instances may be apart, microseconds. They go by the database's, as far as the network tells.
const CLOCKS_DIFFER: i64 = 50_000;

pub(super) fn check(evidence: &Evidence, verdict: &mut Verdict) {
    for problem in &evidence.samples.quota_problems {
        verdict.find(Rule::Quota, None, problem);
    }
    let (snapshots, full) = (evidence.samples.snapshots, evidence.samples.full);
    let text = format!("{snapshots} snapshots of the database, {full} of them with an account at its limit");
    verdict.checked(Rule::Quota, text);
    by_the_logs(evidence, verdict);
    at_the_end(evidence, verdict);
}

/// What the times in the logs say about how many ran at once.
fn by_the_logs(evidence: &Evidence, verdict: &mut Verdict) {
    let mut steps: BTreeMap<&str, Vec<(i64, i32)>> = BTreeMap::new();
    for run in evidence.stored.runs.values() {
        let account = steps.entry(&run.account).or_default();
        for (from, to) in times_running(&run.log) {
            account.push((from, 1));
            account.push(((to - CLOCKS_DIFFER).max(from), -1));
        }
    }
    for account in &evidence.accounts {
        let Some(limit) = account.limit else { continue };
        let mut steps = steps.remove(account.name.as_str()).unwrap_or_default();
        // At the same moment an end comes before a start.
        steps.sort_unstable();
        let (mut running, mut most) = (0, 0);
        for (_, step) in steps {
            running += step;
            most = most.max(running);
        }
        if most > i32::try_from(limit).unwrap_or(i32::MAX) {
            let text = format!(
                "by its logs {} had {most} running at once, its tier allows {limit}",
                account.name
            );
            verdict.find(Rule::Quota, None, text);
        }
    }
    verdict.checked(Rule::Quota, "how many ran at once by the times in the logs");
}

/// From each start to the next event after which the run is not `running`.
fn times_running(log: &[SeenEvent]) -> Vec<(i64, i64)> {
    let mut times = Vec::new();
    let mut since = None;
    for event in log {
        let Some(at) = time_of(event) else { continue };
        match event.kind.as_str() {
            "run.started" => since = Some(at),
            "run.queued" | "run.waiting" | "run.completed" | "run.failed" | "run.cancelled" => {
                times.extend(since.take().map(|since| (since, at)));
            }
            _ => {}
        }
    }
    times
}

/// When it happened, microseconds.
pub(super) fn time_of(event: &SeenEvent) -> Option<i64> {
    let at: Timestamp = serde_json::from_value(event.data["at"].clone()).ok()?;
    Some(at.as_micros())
}

/// Nothing runs and nobody waits.
fn at_the_end(evidence: &Evidence, verdict: &mut Verdict) {
    for (name, account) in &evidence.stored.accounts {
        let count = |state: &str| {
            let runs = evidence.stored.runs.values();
            runs.filter(|run| run.account == *name && run.state == state).count()
        };
        let (running, queued) = (count("running"), count("queued"));
        if (account.running, account.queued) != (0, 0) || (running, queued) != (0, 0) {
            let text = format!(
                "at the end {name} counts {} running and {} queued, there are {running} and {queued}",
                account.running, account.queued
            );
            verdict.find(Rule::Quota, None, text);
        }
    }
    verdict.checked(Rule::Quota, "all counters at 0 at the end");
}
