//! What was measured, for people and for programs.

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};
use serde_json::{Value, json};

use crate::distribution::Distribution;
use crate::load::Tally;
use crate::probe::Moment;

/// The result of one scenario.
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// What was done, in a line.
    pub(crate) what: String,
    pub(crate) findings: Vec<Finding>,
    pub(crate) distributions: Vec<Distribution>,
    /// How it went over time.
    pub(crate) moments: Vec<Moment>,
}

/// A figure, and what it should be.
pub(crate) struct Finding {
    pub(crate) name: String,
    pub(crate) figure: f64,
    pub(crate) unit: &'static str,
    pub(crate) target: Option<Target>,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Finding {
    pub(crate) fn new(name: impl Into<String>, figure: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            figure,
            unit,
            target: None,
        }
    }

    pub(crate) fn at_most(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtMost(limit));
        self
    }

    pub(crate) fn at_least(mut self, limit: f64) -> Self {
        self.target = Some(Target::AtLeast(limit));
        self
    }

    /// Whether the target was reached, if there is one.
    pub(crate) fn is_met(&self) -> Option<bool> {
        Some(match self.target? {
            Target::AtMost(limit) => self.figure <= limit,
            Target::AtLeast(limit) => self.figure >= limit,
        })
    }
}

impl Report {
    pub(crate) fn new(scenario: &'static str, what: String) -> Self {
        Self {
            scenario,
            what,
            findings: Vec::new(),
            distributions: Vec::new(),
            moments: Vec::new(),
        }
    }

    pub(crate) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What became of the runs; and why some did not complete.
    pub(crate) fn find_counts(&mut self, tally: &Tally) {
        let counts = [
            ("accepted", tally.accepted),
            ("queued", tally.queued),
            ("refused", tally.refused),
            ("failed", tally.failed),
        ];
        for (name, count) in counts {
            self.find(Finding::new(name, count as f64, "runs"));
        }
        for (reason, count) in &tally.reasons {
            self.find(Finding::new(format!("  {reason}"), *count as f64, "runs"));
        }
    }

    pub(crate) fn all_targets_met(&self) -> bool {
        self.findings.iter().all(|finding| finding.is_met() != Some(false))
    }

    pub(crate) fn print(&self) {
        println!("\n{}: {}", self.scenario, self.what);
        println!("{}", self.findings_table());
        if self.distributions.iter().any(|distribution| !distribution.is_empty()) {
            println!("{}", self.distributions_table());
        }
    }

    fn findings_table(&self) -> Table {
        let mut table = empty_table();
        table.set_header(["figure", "", "", "target"]);
        for finding in &self.findings {
            let target = match finding.target {
                Some(Target::AtMost(limit)) => format!("≤ {} {}", figure(limit), finding.unit),
                Some(Target::AtLeast(limit)) => format!("≥ {} {}", figure(limit), finding.unit),
                None => String::new(),
            };
            let target = match finding.is_met() {
                Some(true) => Cell::new(format!("{target}  met")).fg(Color::Green),
                Some(false) => Cell::new(format!("{target}  missed"))
                    .fg(Color::Red)
                    .add_attribute(Attribute::Bold),
                None => Cell::new(target),
            };
            let number = Cell::new(figure(finding.figure)).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(&finding.name), number, Cell::new(finding.unit), target]);
        }
        table
    }

    fn distributions_table(&self) -> Table {
        let mut table = empty_table();
        table.set_header(["milliseconds", "p50", "p95", "p99", "max"]);
        for distribution in self
            .distributions
            .iter()
            .filter(|distribution| !distribution.is_empty())
        {
            let mut row = vec![Cell::new(distribution.name)];
            for part in [0.50, 0.95, 0.99, 1.0] {
                let number = figure(distribution.milliseconds_at(part));
                row.push(Cell::new(number).set_alignment(CellAlignment::Right));
            }
            table.add_row(row);
        }
        table
    }

    pub(crate) fn to_json(&self) -> Value {
        let findings = self.findings.iter().map(|finding| {
            let target = finding.target.map(|target| match target {
                Target::AtMost(limit) => json!({"at_most": limit}),
                Target::AtLeast(limit) => json!({"at_least": limit}),
            });
            json!({
                "name": finding.name.trim(),
                "figure": finding.figure,
                "unit": finding.unit,
                "target": target,
                "met": finding.is_met(),
            })
        });
        json!({
            "scenario": self.scenario,
            "what": self.what,
            "findings": findings.collect::<Vec<_>>(),
            "distributions": self.distributions.iter().map(Distribution::to_json).collect::<Vec<_>>(),
            "moments": self.moments,
        })
    }
}

fn empty_table() -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table
}

/// A number as people read it: about three digits, thousands set apart.
pub(crate) fn figure(number: f64) -> String {
    let decimals = match number.abs() {
        0.0 => 0,
        size if size < 1.0 => 3,
        size if size < 10.0 => 2,
        size if size < 100.0 => 1,
        _ => 0,
    };
    if decimals > 0 {
        let text = format!("{number:.decimals$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
