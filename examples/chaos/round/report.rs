//! What came of a round, for people: in the terminal and as Markdown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

use super::Options;
use super::checks::{Figures, Finding, Rule, Verdict};
use super::evidence::Evidence;
use super::faults::FaultKind;

/// Findings that are shown; all are in the folder that is kept.
const SHOWN: usize = 20;

/// Rules of DESIGN.md that a round cannot see, and what shows them instead.
const NOT_SEEN: [(&str, &str); 3] = [
    (
        "5, `needs_review`",
        "all tools here are safe to repeat: `tests/it/unknown_outcomes.rs` has one that is not",
    ),
    (
        "8 Bounded",
        "`tests/it/bad_input.rs`, `capacity.rs` and `queueing.rs` go beyond each limit",
    ),
    ("10, a second signal", "`tests/it/leaving.rs`"),
];

/// What came of a round.
pub(crate) struct Report {
    options: Options,
    took: Duration,
    runs: usize,
    /// How often each, and how long in all until everything was back.
    faults: BTreeMap<FaultKind, (usize, Duration)>,
    verdict: Verdict,
    /// Where what helps to find out why a rule was broken is kept.
    remains: Option<PathBuf>,
}

impl Report {
    pub(super) fn new(
        options: &Options,
        took: Duration,
        evidence: &Evidence,
        verdict: Verdict,
        remains: Option<PathBuf>,
    ) -> Self {
        let mut faults: BTreeMap<FaultKind, (usize, Duration)> = BTreeMap::new();
        for fault in &evidence.faults {
            let (times, lasted) = faults.entry(fault.kind).or_default();
            *times += 1;
            *lasted += fault.lasted;
        }
        Self {
            options: options.clone(),
            took,
            runs: evidence.stored.runs.len(),
            faults,
            verdict,
            remains,
        }
    }

    /// What broke a rule.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.verdict.findings
    }

    /// How hard the rules were tried.
    pub(crate) const fn figures(&self) -> &Figures {
        &self.verdict.figures
    }

    /// Where more about the findings is kept.
    pub(crate) fn remains(&self) -> Option<&Path> {
        self.remains.as_deref()
    }

    fn headline(&self) -> String {
        let options = &self.options;
        format!(
            "{} instances of {} Permits, {} runs, {} faults, seed {}: {:.0} s",
            options.instances,
            options.capacity,
            options.runs,
            options.faults,
            options.seed,
            self.took.as_secs_f64()
        )
    }

    fn fault_rows(&self) -> Vec<[String; 3]> {
        let row = |(kind, (times, lasted)): (&FaultKind, &(usize, Duration))| {
            let lasted = format!("{:.1} s", lasted.as_secs_f64());
            [kind.to_string(), times.to_string(), lasted]
        };
        self.faults.iter().map(row).collect()
    }

    fn figure_rows(&self) -> Vec<[String; 2]> {
        let figures = &self.verdict.figures;
        let row = |name: &str, figure: usize| [name.to_owned(), figure.to_string()];
        vec![
            row("runs", self.runs),
            row("completed", figures.completed),
            row("failed, as the provider meant them to", figures.failed_as_meant),
            row("cancelled by clients", figures.cancelled),
            row(
                "recovered: went on after their instance was lost or left",
                figures.recovered_runs,
            ),
            row(
                "times that a run was taken over and went on at once",
                figures.taken_over,
            ),
            row(
                "times that a run went back to the head of its line",
                figures.handed_over,
            ),
            row("model calls", figures.model_calls),
            row(
                "model calls repeated, without a committed result",
                figures.model_calls_repeated - figures.model_calls_after_commit,
            ),
            row(
                "model calls repeated after their result was committed",
                figures.model_calls_after_commit,
            ),
            row("tool calls", figures.tool_calls),
            row(
                "tool calls repeated, at most, all safe to repeat",
                figures.tool_calls_repeated,
            ),
            row("readers", figures.readers),
            row("events they read", figures.events_read),
            row("streams that broke and went on elsewhere", figures.reconnects),
            row("gaps", figures.gaps),
            row("duplicates", figures.duplicates),
        ]
    }

    fn rule_rows(&self) -> Vec<[String; 3]> {
        let row = |rule: Rule| {
            let checked = self.verdict.checked.get(&rule).map(|what| what.join("; "));
            let broken = self.verdict.broken(rule).to_string();
            [rule.to_string(), checked.unwrap_or_default(), broken]
        };
        Rule::ALL.into_iter().map(row).collect()
    }

    /// Prints it as tables.
    pub(crate) fn print(&self) {
        println!("\n{}\n", self.headline());
        println!(
            "{}",
            table(&["fault", "times", "in all, until all was back"], &self.fault_rows())
        );
        println!("{}", table(&["", "figure"], &self.figure_rows()));
        println!("{}", table(&["rule", "checked against", "broken"], &self.rule_rows()));
        println!("not seen here:");
        for (rule, instead) in NOT_SEEN {
            println!("  {rule}: {instead}");
        }
        println!();
        let findings = self.findings();
        for finding in findings.iter().take(SHOWN) {
            let run = finding.run.as_deref().unwrap_or("");
            println!("BROKEN {} {run}: {}", finding.rule, finding.text);
        }
        if findings.len() > SHOWN {
            println!("… and {} more", findings.len() - SHOWN);
        }
    }

    /// The same as Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.headline());
        markdown_table(
            &mut text,
            &["fault", "times", "in all, until all was back"],
            &self.fault_rows(),
        );
        markdown_table(&mut text, &["", "figure"], &self.figure_rows());
        markdown_table(&mut text, &["rule", "checked against", "broken"], &self.rule_rows());
        let not_seen = NOT_SEEN.map(|(rule, instead)| [rule.to_owned(), instead.to_owned()]);
        markdown_table(&mut text, &["not seen by a round", "but by"], &not_seen);
        text
    }
}

fn table<const COLUMNS: usize>(header: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for row in rows {
        table.add_row(row);
    }
    table
}

fn markdown_table<const COLUMNS: usize>(text: &mut String, header: &[&str; COLUMNS], rows: &[[String; COLUMNS]]) {
    let mut line = |cells: &[String]| {
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    };
    line(&header.map(str::to_owned));
    line(&header.map(|_| "---".to_owned()));
    for row in rows {
        line(row);
    }
    text.push('\n');
}
