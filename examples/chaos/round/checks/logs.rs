//! Rules 3, 4 and 6: each run's log in the database, against the run, against every reader, and against Redis.

use std::collections::BTreeMap;

use super::super::clients::Story;
use super::super::evidence::Evidence;
use super::super::stored::StoredRun;
use super::{Rule, Verdict};
use crate::rig::{Followed, SeenEvent, ViolationKind, problems_of_log};

pub(super) fn check(evidence: &Evidence, verdict: &mut Verdict) {
    for story in &evidence.stories {
        // That it is there is checked elsewhere.
        let Some(run) = story.run() else { continue };
        let Some(stored) = evidence.stored.runs.get(run) else {
            continue;
        };
        ending(run, story, stored, verdict);
        for followed in &story.followed {
            reader(run, followed, stored, verdict);
        }
        fencing(run, stored, verdict);
        if let Some(published) = evidence.streams.get(run) {
            stream(run, published, stored, verdict);
        }
    }
    for (run, problem) in &evidence.probes.resume_problems {
        verdict.find(Rule::OneLog, Some(run), problem);
    }
    let runs = evidence.stored.runs.len();
    verdict.checked(
        Rule::OneEnding,
        format!("{runs} runs in the database, in their logs, at their readers and as shown"),
    );
    let (readers, events) = (verdict.figures.readers, verdict.figures.events_read);
    verdict.checked(
        Rule::OneLog,
        format!("{events} events of {readers} readers, byte for byte with the database"),
    );
    let resumed = evidence.probes.resumed_streams;
    verdict.checked(Rule::OneLog, format!("{resumed} streams resumed anywhere"));
    let published: usize = evidence.streams.values().map(Vec::len).sum();
    let text = format!(
        "the epochs of {runs} logs, and {published} events in {} streams of Redis",
        evidence.streams.len()
    );
    verdict.checked(Rule::Fencing, text);
}

/// The log is whole, ends once, and agrees with the run as it is shown and stored.
fn ending(run: &str, story: &Story, stored: &StoredRun, verdict: &mut Verdict) {
    let Some(shown) = &story.shown else {
        verdict.find(Rule::OneEnding, Some(run), "it was not shown at the end");
        return;
    };
    for problem in problems_of_log(&stored.log, shown) {
        verdict.find(Rule::OneEnding, Some(run), problem);
    }
    if shown["state"].as_str() != Some(&stored.state) {
        let text = format!("shown as {}, stored as {}", shown["state"], stored.state);
        verdict.find(Rule::OneEnding, Some(run), text);
    }
    if stored.log.last().is_some_and(|last| last.seq + 1 != stored.next_seq) {
        let text = format!(
            "the next seq is {}, the log ends with {:?}",
            stored.next_seq,
            stored.log.last()
        );
        verdict.find(Rule::OneEnding, Some(run), text);
    }
}

/// It saw what the database has: all of it, in order, nothing else.
fn reader(run: &str, followed: &Followed, stored: &StoredRun, verdict: &mut Verdict) {
    verdict.figures.readers += 1;
    verdict.figures.events_read += followed.events.len();
    verdict.figures.reconnects += followed.streams.len().saturating_sub(1);
    for violation in &followed.violations {
        match violation.kind {
            ViolationKind::Gap => verdict.figures.gaps += 1,
            ViolationKind::Duplicate | ViolationKind::Changed => verdict.figures.duplicates += 1,
            _ => {}
        }
        let text = format!(
            "{:?}: {} (streams: {:?})",
            violation.kind, violation.text, followed.streams
        );
        verdict.find(Rule::OneLog, Some(run), text);
    }
    if followed.events == stored.log {
        return;
    }
    let mut pairs = followed.events.iter().zip(&stored.log);
    let text = match pairs.find(|(seen, stored)| seen != stored) {
        Some((seen, stored)) => format!("a reader saw {:?}, the database has {:?}", seen.frame, stored.frame),
        None => format!(
            "a reader saw {} events, the database has {}",
            followed.events.len(),
            stored.log.len()
        ),
    };
    verdict.find(Rule::OneLog, Some(run), text);
}

/// Epochs grow: nobody writes under one that is over.
fn fencing(run: &str, stored: &StoredRun, verdict: &mut Verdict) {
    let mut last = 0;
    for (seq, epoch) in epochs(&stored.log) {
        if epoch <= last {
            verdict.find(
                Rule::Fencing,
                Some(run),
                format!("at seq {seq} epoch {epoch} follows {last}"),
            );
        }
        last = epoch;
    }
    if last > stored.epoch {
        let text = format!("its log tells of epoch {last}, the database of {}", stored.epoch);
        verdict.find(Rule::Fencing, Some(run), text);
    }
}

/// Where each epoch of which the log tells begins.
fn epochs(log: &[SeenEvent]) -> Vec<(u64, u64)> {
    let epochs = log
        .iter()
        .filter_map(|event| Some((event.seq, event.data["epoch"].as_u64()?)));
    epochs.collect()
}

/// Redis has nothing that the database has not, and nothing under an epoch that was over.
fn stream(run: &str, published: &[(u64, SeenEvent)], stored: &StoredRun, verdict: &mut Verdict) {
    let log: BTreeMap<u64, &SeenEvent> = stored.log.iter().map(|event| (event.seq, event)).collect();
    let epochs = epochs(&stored.log);
    for (epoch, event) in published {
        if log.get(&event.seq) != Some(&event) {
            let text = format!(
                "Redis has {:?}, the database {:?}",
                event.frame,
                log.get(&event.seq).map(|event| &event.frame)
            );
            verdict.find(Rule::OneLog, Some(run), text);
        }
        let begun = epochs.iter().take_while(|(seq, _)| *seq <= event.seq);
        let owner = begun.last().map_or(0, |(_, epoch)| *epoch);
        if *epoch < owner {
            let text = format!(
                "seq {} was published under epoch {epoch} when {owner} had begun",
                event.seq
            );
            verdict.find(Rule::Fencing, Some(run), text);
        }
    }
}
