//! The rules of a fleet, and what of the evidence breaks them.

mod accepted;
mod instances;
mod logs;
mod quota;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::fmt;

use super::evidence::Evidence;

/// What always holds. The numbers are those of `docs/reliability.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Rule {
    /// An account never has more in `running` than its tier allows.
    Quota,
    /// No instance has more runs than Permits, and all are back at the end.
    Capacity,
    /// One terminal event, at the end, which agrees with the state.
    OneEnding,
    /// Every reader sees the same log.
    OneLog,
    /// What is committed is not produced again.
    NoRepeat,
    /// Who lost his lease writes nothing.
    Fencing,
    /// Cancelled is cancelled.
    StopSticks,
    /// An account does not see another's runs.
    Isolation,
    /// Who is told to leave does, in good order.
    Leaving,
    /// What was accepted is there, once, and comes out as if nothing had happened.
    NothingLost,
    /// Instances bear all this: none panics, all come back.
    Endurance,
}

impl Rule {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 11] = [
        Self::Quota,
        Self::Capacity,
        Self::OneEnding,
        Self::OneLog,
        Self::NoRepeat,
        Self::Fencing,
        Self::StopSticks,
        Self::Isolation,
        Self::Leaving,
        Self::NothingLost,
        Self::Endurance,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Quota => "1 Quota",
            Self::Capacity => "2 Capacity",
            Self::OneEnding => "3 One ending",
            Self::OneLog => "4 One log",
            Self::NoRepeat => "5 No repeat of what is known",
            Self::Fencing => "6 Fencing",
            Self::StopSticks => "7 Stop sticks",
            Self::Isolation => "9 Isolation",
            Self::Leaving => "10 Leaving",
            Self::NothingLost => "Nothing is lost",
            Self::Endurance => "Instances come back",
        })
    }
}

/// Something that broke a rule.
#[derive(Debug, Clone)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    /// The run it is about, if it is about one.
    pub(crate) run: Option<String>,
    /// What differs from what.
    pub(crate) text: String,
}

/// Figures that are no rule's, but say how hard the rules were tried.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figures {
    pub(crate) completed: usize,
    pub(crate) failed_as_meant: usize,
    pub(crate) cancelled: usize,
    /// Runs that went on after their instance was lost or left.
    pub(crate) recovered_runs: usize,
    /// How often a run was taken over and went on at once.
    pub(crate) taken_over: usize,
    /// How often a run went back to the head of its line: its instance left, or whoever took it over had no Permit for it.
    pub(crate) handed_over: usize,
    pub(crate) model_calls: usize,
    /// Beyond the first of each step: its result was not committed, or the provider had been told to fail.
    pub(crate) model_calls_repeated: usize,
    /// Of these, after the step's result was committed.
    pub(crate) model_calls_after_commit: usize,
    pub(crate) tool_calls: usize,
    /// Calls that were under way when their run was taken over or given back, at most; all of tools that are safe to repeat.
    pub(crate) tool_calls_repeated: usize,
    pub(crate) readers: usize,
    pub(crate) events_read: usize,
    /// Streams that broke and were opened again.
    pub(crate) reconnects: usize,
    pub(crate) gaps: usize,
    pub(crate) duplicates: usize,
}

/// What comes of the checks.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) findings: Vec<Finding>,
    /// What each rule was checked against.
    pub(crate) checked: BTreeMap<Rule, Vec<String>>,
    pub(crate) figures: Figures,
}

impl Verdict {
    fn find(&mut self, rule: Rule, run: Option<&str>, text: impl Into<String>) {
        let (run, text) = (run.map(str::to_owned), text.into());
        self.findings.push(Finding { rule, run, text });
    }

    fn checked(&mut self, rule: Rule, what: impl Into<String>) {
        self.checked.entry(rule).or_default().push(what.into());
    }

    /// How often a rule was broken.
    pub(crate) fn broken(&self, rule: Rule) -> usize {
        self.findings.iter().filter(|finding| finding.rule == rule).count()
    }
}

/// Checks everything.
pub(super) fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    quota::check(evidence, &mut verdict);
    instances::check(evidence, &mut verdict);
    logs::check(evidence, &mut verdict);
    work::check(evidence, &mut verdict);
    accepted::check(evidence, &mut verdict);
    verdict
}
