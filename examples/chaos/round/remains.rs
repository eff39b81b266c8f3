//! What is kept of a round in which a rule was broken.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::checks::Verdict;
use super::evidence::Evidence;

/// Writes everything that helps to find out why into a folder of its own, and gives that.
pub(super) fn keep(evidence: &Evidence, verdict: &Verdict) -> anyhow::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("callboard-chaos-").tempdir()?.keep();
    let mut text = String::new();
    for finding in &verdict.findings {
        let run = finding.run.as_deref().unwrap_or("-");
        writeln!(text, "{}: {run}: {}", finding.rule, finding.text)?;
    }
    std::fs::write(folder.join("findings.txt"), text)?;
    let mut text = String::new();
    for fault in &evidence.faults {
        writeln!(text, "{fault:?}")?;
    }
    std::fs::write(folder.join("faults.txt"), text)?;
    for instance in &evidence.instances {
        std::fs::write(folder.join(format!("{}.log", instance.name)), &instance.printed)?;
    }
    let runs: BTreeSet<&String> = verdict
        .findings
        .iter()
        .filter_map(|finding| finding.run.as_ref())
        .collect();
    for run in runs {
        keep_run(&folder, run, evidence)?;
    }
    Ok(folder)
}

/// What the database has of a run, what each reader saw, and when the provider was called.
fn keep_run(folder: &Path, run: &str, evidence: &Evidence) -> anyhow::Result<()> {
    let mut text = String::new();
    if let Some(stored) = evidence.stored.runs.get(run) {
        writeln!(text, "database: {} epoch {}\n", stored.state, stored.epoch)?;
        for event in &stored.log {
            writeln!(text, "{}", event.data)?;
        }
    }
    for call in evidence.calls.iter().filter(|call| call["run"] == run) {
        writeln!(text, "\nmodel call: {call}")?;
    }
    let story = evidence.stories.iter().find(|story| story.run() == Some(run));
    if let Some(story) = story {
        writeln!(
            text,
            "\nplan: {:?}\nstarts: {:?}\ncancel: {:?}",
            story.plan, story.starts, story.cancel
        )?;
        for followed in &story.followed {
            writeln!(text, "\nreader: {:?}\n{:?}", followed.violations, followed.streams)?;
            for event in &followed.events {
                writeln!(text, "{}", event.data)?;
            }
        }
    }
    std::fs::write(folder.join(format!("{run}.txt")), text)?;
    Ok(())
}
