//! Rules 5 and 7: what was done how often, and what was stopped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::evidence::Evidence;
use super::super::stored::StoredRun;
use super::quota::time_of;
use super::{Rule, Verdict};
use crate::rig::{SeenEvent, is_terminal};

/// How far the clocks of an instance and of the provider may be apart, microseconds. A call that is made again for nothing comes a
/// lease later.
const CLOCKS_DIFFER: i64 = 50_000;

pub(super) fn check(evidence: &Evidence, verdict: &mut Verdict) {
    let mut calls: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for call in &evidence.calls {
        calls
            .entry(call["run"].as_str().unwrap_or_default())
            .or_default()
            .push(call);
    }
    for (run, stored) in &evidence.stored.runs {
        model_calls(run, stored, calls.remove(run.as_str()).unwrap_or_default(), verdict);
        items(run, stored, verdict);
        tool_calls(&stored.log, verdict);
    }
    for (run, calls) in calls {
        verdict.find(
            Rule::NothingLost,
            Some(run),
            format!("{} model calls of a run that is not there", calls.len()),
        );
    }
    let text = format!(
        "{} calls in the provider's journal against the steps of the logs",
        evidence.calls.len()
    );
    verdict.checked(Rule::NoRepeat, text);
    let items: usize = evidence.stored.runs.values().map(|run| run.items.len()).sum();
    verdict.checked(
        Rule::NoRepeat,
        format!("{items} items in the database against the logs"),
    );
    cancels(evidence, verdict);
}

/// Each call is for a step whose result is not committed yet.
fn model_calls(run: &str, stored: &StoredRun, calls: Vec<&Value>, verdict: &mut Verdict) {
    let mut committed: BTreeMap<u64, i64> = BTreeMap::new();
    for event in stored.log.iter().filter(|event| event.kind == "model.completed") {
        let (Some(step), Some(at)) = (event.data["step"].as_u64(), time_of(event)) else {
            continue;
        };
        if committed.insert(step, at).is_some() {
            verdict.find(Rule::NoRepeat, Some(run), format!("step {step} was committed twice"));
        }
    }
    verdict.figures.model_calls += calls.len();
    let mut called: BTreeSet<u64> = BTreeSet::new();
    for call in calls {
        // A conversation with n answers that called tools asks for step n + 1.
        let step = call["tool_rounds_done"].as_u64().unwrap_or_default() + 1;
        if !called.insert(step) {
            verdict.figures.model_calls_repeated += 1;
        }
        let received_at = call["received_at_us"].as_i64().unwrap_or_default();
        if committed.get(&step).is_some_and(|at| received_at > at + CLOCKS_DIFFER) {
            verdict.figures.model_calls_after_commit += 1;
            let after = received_at - committed[&step];
            verdict.find(
                Rule::NoRepeat,
                Some(run),
                format!("step {step} was asked for {after} µs after its commit"),
            );
        }
    }
    for step in committed.keys().filter(|step| !called.contains(step)) {
        verdict.find(
            Rule::NoRepeat,
            Some(run),
            format!("step {step} was committed, and the provider was not asked"),
        );
    }
}

/// The items in the database are those of the log, each once, and each tool call has one result.
fn items(run: &str, stored: &StoredRun, verdict: &mut Verdict) {
    let mut logged: BTreeMap<&str, &Value> = BTreeMap::new();
    let mut answered: BTreeSet<&str> = BTreeSet::new();
    for event in &stored.log {
        if !matches!(event.kind.as_str(), "item.completed" | "item.incomplete") {
            continue;
        }
        let item = &event.data["item"];
        if logged.insert(item["id"].as_str().unwrap_or_default(), item).is_some() {
            verdict.find(Rule::NoRepeat, Some(run), format!("an item came twice: {item}"));
        }
        let answers = event.kind == "item.completed" && item["type"] == "tool_result";
        if answers && !answered.insert(item["call_id"].as_str().unwrap_or_default()) {
            verdict.find(
                Rule::NoRepeat,
                Some(run),
                format!("a tool call was answered twice: {item}"),
            );
        }
    }
    // The input has no events; each run here has one message of it.
    let stored_items: BTreeMap<&str, &Value> = stored
        .items
        .iter()
        .skip(1)
        .map(|item| (item["id"].as_str().unwrap_or_default(), item))
        .collect();
    if stored_items.len() + 1 != stored.items.len() || stored_items != logged {
        let text = format!("the database has the items {stored_items:?}, the log {logged:?}");
        verdict.find(Rule::NoRepeat, Some(run), text);
    }
}

/// Counts results, and calls that were under way when the run changed hands.
fn tool_calls(log: &[SeenEvent], verdict: &mut Verdict) {
    let mut under_way: BTreeSet<&str> = BTreeSet::new();
    let (mut taken_over, mut handed_over) = (0, 0);
    for event in log {
        let item = &event.data["item"];
        let call_id = item["call_id"].as_str().unwrap_or_default();
        match (event.kind.as_str(), item["type"].as_str()) {
            ("item.completed", Some("tool_call")) => {
                under_way.insert(call_id);
            }
            ("item.completed", Some("tool_result")) => {
                verdict.figures.tool_calls += 1;
                under_way.remove(call_id);
            }
            ("run.recovered", _) => {
                taken_over += 1;
                verdict.figures.tool_calls_repeated += under_way.len();
            }
            ("run.queued", _) if event.data["reason"] == "handed_over" => {
                handed_over += 1;
                verdict.figures.tool_calls_repeated += under_way.len();
            }
            _ => {}
        }
    }
    verdict.figures.taken_over += taken_over;
    verdict.figures.recovered_runs += usize::from(taken_over + handed_over > 0);
    verdict.figures.handed_over += handed_over;
}

/// Who was told that a run is over was told the truth, and nobody's run is cancelled who did not ask for it.
fn cancels(evidence: &Evidence, verdict: &mut Verdict) {
    let mut asked = 0;
    for story in &evidence.stories {
        let Some(run) = story.run() else { continue };
        let Some(stored) = evidence.stored.runs.get(run) else {
            continue;
        };
        match &story.cancel {
            Some(answer) => {
                asked += 1;
                if let Some(problem) = problem_of_cancel(answer, stored) {
                    verdict.find(Rule::StopSticks, Some(run), problem);
                }
            }
            None if stored.state == "cancelled" => {
                verdict.find(Rule::StopSticks, Some(run), "nobody cancelled it, and it is cancelled");
            }
            None => {}
        }
        count_ending(stored, verdict);
    }
    verdict.checked(Rule::StopSticks, format!("{asked} cancels"));
    if evidence.calls_are_over {
        verdict.checked(Rule::StopSticks, "no model call is left at the provider");
    } else {
        verdict.find(Rule::StopSticks, None, "model calls are left at the provider");
    }
}

fn problem_of_cancel(answer: &Result<Value, String>, stored: &StoredRun) -> Option<String> {
    match answer {
        Err(error) => Some(format!("a cancel was never answered: {error}")),
        Ok(run) if !is_terminal(run) => Some(format!("a cancel was answered when the run was {}", run["state"])),
        Ok(run) if run["state"] != stored.state.as_str() => Some(format!(
            "a cancel was answered with {}, the run is {}",
            run["state"], stored.state
        )),
        Ok(_) => None,
    }
}

fn count_ending(stored: &StoredRun, verdict: &mut Verdict) {
    let figures = &mut verdict.figures;
    match stored.state.as_str() {
        "completed" => figures.completed += 1,
        "failed" => figures.failed_as_meant += 1,
        "cancelled" => figures.cancelled += 1,
        _ => {}
    }
}
