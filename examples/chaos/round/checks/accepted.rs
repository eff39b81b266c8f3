//! What was accepted is there, once, and came out as if nothing had happened.

use std::collections::BTreeSet;

use super::super::clients::Story;
use super::super::evidence::Evidence;
use super::super::runs::Ending;
use super::super::stored::StoredRun;
use super::{Rule, Verdict};

pub(super) fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let mut accepted = BTreeSet::new();
    let mut started_twice = 0;
    for story in &evidence.stories {
        started_twice += usize::from(story.plan.is_started_twice);
        for problem in problems_of_start(story) {
            verdict.find(Rule::NothingLost, story.run(), problem);
        }
        let Some(run) = story.run() else { continue };
        accepted.insert(run);
        let Some(stored) = evidence.stored.runs.get(run) else {
            verdict.find(
                Rule::NothingLost,
                Some(run),
                "it was accepted and is not in the database",
            );
            continue;
        };
        for problem in problems_of_row(story, stored, &evidence.accounts[story.plan.account].name) {
            verdict.find(Rule::NothingLost, Some(run), problem);
        }
        if let Some(problem) = problem_of_ending(story, stored) {
            verdict.find(Rule::NothingLost, Some(run), problem);
        }
    }
    for run in evidence
        .stored
        .runs
        .keys()
        .filter(|run| !accepted.contains(run.as_str()))
    {
        verdict.find(
            Rule::NothingLost,
            Some(run),
            "it is in the database and nobody was told of it",
        );
    }
    let text = format!(
        "{} runs accepted, {started_twice} of them started twice at once",
        accepted.len()
    );
    verdict.checked(Rule::NothingLost, text);
    verdict.checked(
        Rule::NothingLost,
        "each ends as it would without faults, with the same output",
    );
}

fn problems_of_start(story: &Story) -> Vec<String> {
    let mut problems = story.problems.clone();
    for start in &story.starts {
        match start {
            Ok(run) if Some(run.as_str()) == story.run() => {}
            Ok(run) => problems.push(format!("its idempotency key made another run, too: {run}")),
            Err(error) => problems.push(format!("{} was not accepted: {error}", story.idempotency_key)),
        }
    }
    problems
}

fn problems_of_row(story: &Story, stored: &StoredRun, account: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if stored.idempotency_key.as_deref() != Some(&story.idempotency_key) {
        problems.push(format!(
            "its key is {:?}, not {}",
            stored.idempotency_key, story.idempotency_key
        ));
    }
    if stored.account != account {
        problems.push(format!("it belongs to {}, not to {account}", stored.account));
    }
    problems
}

fn problem_of_ending(story: &Story, stored: &StoredRun) -> Option<String> {
    if stored.state == "cancelled" {
        // Whether somebody asked for it is checked with the cancels.
        return None;
    }
    let output = story.shown.as_ref().and_then(|shown| shown["output"].as_str());
    match &story.plan.ending {
        Ending::Completed(text) if stored.state == "completed" && output == Some(text) => None,
        Ending::Failed(code) if stored.state == "failed" && stored.error.as_ref().is_some_and(|e| e.contains(code)) => {
            None
        }
        meant => Some(format!(
            "it was to be {meant:?} and is {} with output {output:?} and error {:?}",
            stored.state, stored.error
        )),
    }
}
