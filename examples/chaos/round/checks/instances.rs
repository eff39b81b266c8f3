//! Rules 2, 9 and 10, and that all instances are there at the end.

use std::time::Duration;

use super::super::evidence::{self, Evidence};
use super::{Rule, Verdict};

/// What leaving may take: the grace period, what the server gives a store that does not answer, and a busy machine.
const LONGEST_DEPARTURE: Duration = Duration::from_secs(20);

pub(super) fn check(evidence: &Evidence, verdict: &mut Verdict) {
    capacity(evidence, verdict);
    isolation(evidence, verdict);
    leaving(evidence, verdict);
    endurance(evidence, verdict);
}

fn capacity(evidence: &Evidence, verdict: &mut Verdict) {
    for problem in &evidence.samples.capacity_problems {
        verdict.find(Rule::Capacity, None, problem);
    }
    for instance in &evidence.instances {
        match &instance.capacity {
            Ok(capacity) if evidence::is_idle(capacity) => {}
            Ok(capacity) => {
                let text = format!(
                    "at the end {} says: permits {}, queue {}",
                    instance.name, capacity["permits"], capacity["queue"]
                );
                verdict.find(Rule::Capacity, None, text);
            }
            Err(error) => {
                let text = format!("at the end {} does not answer: {error}", instance.name);
                verdict.find(Rule::Endurance, None, text);
            }
        }
    }
    verdict.checked(Rule::Capacity, format!("{} snapshots", evidence.samples.snapshots));
    let text = format!("all Permits back on {} instances", evidence.instances.len());
    verdict.checked(Rule::Capacity, text);
}

fn isolation(evidence: &Evidence, verdict: &mut Verdict) {
    for (run, problem) in &evidence.probes.foreign_problems {
        verdict.find(Rule::Isolation, Some(run), problem);
    }
    let text = format!(
        "{} requests with another account's key",
        evidence.probes.foreign_requests
    );
    verdict.checked(Rule::Isolation, text);
}

fn leaving(evidence: &Evidence, verdict: &mut Verdict) {
    let departures = evidence.faults.iter().flat_map(|fault| &fault.departures);
    let mut count = 0;
    for departure in departures {
        count += 1;
        if departure.exit_code != Some(0) || departure.took > LONGEST_DEPARTURE {
            let text = format!(
                "{} left with exit code {:?} after {:?}",
                departure.instance, departure.exit_code, departure.took
            );
            verdict.find(Rule::Leaving, None, text);
        }
    }
    verdict.checked(Rule::Leaving, format!("{count} instances told to leave under load"));
}

fn endurance(evidence: &Evidence, verdict: &mut Verdict) {
    for fault in &evidence.faults {
        if let Some(error) = &fault.error {
            let text = format!("{} of {} at {:?}: {error}", fault.kind, fault.whom, fault.began);
            verdict.find(Rule::Endurance, None, text);
        }
    }
    for instance in &evidence.instances {
        for line in instance.printed.lines().filter(|line| line.contains("panicked at")) {
            verdict.find(Rule::Endurance, None, format!("{} printed: {line}", instance.name));
        }
    }
    let text = format!(
        "{} instances answer at the end, and none panicked",
        evidence.instances.len()
    );
    verdict.checked(Rule::Endurance, text);
}
