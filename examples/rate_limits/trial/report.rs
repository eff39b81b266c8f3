//! What came of a trial, for people.

use comfy_table::{CellAlignment, Table, presets};

use super::Options;
use super::course::{Course, Disturbance};
use super::evidence::Evidence;
use super::runs::PlannedAccount;
use super::site::Key;
use super::waits::Waits;
use super::windows::KeyUse;

/// Between two looks at what is used.
const STEP_US: i64 = 250_000;

/// What came of a trial.
pub(crate) struct Report {
    options: Options,
    pub(crate) accounts: Vec<PlannedAccount>,
    pub(crate) course: Course,
    pub(crate) uses: Vec<KeyUse>,
    pub(crate) waits: Waits,
    evidence: Evidence,
}

/// A figure and what it should be.
pub(crate) struct Verdict {
    what: &'static str,
    figure: String,
    wanted: &'static str,
    pub(crate) is_met: bool,
}

impl Verdict {
    /// One line of it.
    pub(crate) fn in_short(&self) -> String {
        let mark = if self.is_met { "✓" } else { "✗" };
        format!("{mark} {}: {} ({})", self.what, self.figure, self.wanted)
    }
}

impl Report {
    pub(super) fn new(
        options: &Options,
        accounts: &[PlannedAccount],
        keys: &[Key],
        course: Course,
        evidence: Evidence,
    ) -> Self {
        Self {
            options: options.clone(),
            accounts: accounts.to_vec(),
            uses: keys.iter().map(|key| KeyUse::of(key, &evidence.calls)).collect(),
            waits: Waits::of(&course.posted, accounts.len(), &evidence),
            course,
            evidence,
        }
    }

    /// Whether all targets were met.
    pub(crate) fn is_as_wanted(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.is_met)
    }

    /// When the last call ended, microseconds since 1970.
    pub(crate) fn ended_us(&self) -> i64 {
        let ended = self.evidence.calls.iter().map(|call| call.ended_us);
        ended.max().unwrap_or(self.course.began_us)
    }

    /// Looks at each key, while calls wait and nothing keeps it from being used: what part of its scarcer limit is used on the average.
    /// `None`: there was no such moment.
    fn share_of(&self, uses: &[KeyUse]) -> Option<f64> {
        let (from, until) = self.waits.saturated_us();
        let (mut sum, mut looks) = (0.0, 0_u32);
        let mut at_us = from;
        while at_us < until {
            let is_stopped = |key: &Key| self.course.disturbances.iter().any(|one| one.stops(key, at_us));
            for one in uses.iter().filter(|one| !is_stopped(&one.key)) {
                sum += one.share(at_us);
                looks += 1;
            }
            at_us += STEP_US;
        }
        (looks > 0).then(|| sum / f64::from(looks))
    }

    /// Of all keys together.
    pub(crate) fn share(&self) -> Option<f64> {
        self.share_of(&self.uses)
    }

    /// What part of all calls that reached a region was answered 429.
    pub(crate) fn rate_limited_share(&self) -> f64 {
        let limited: usize = self.uses.iter().map(|one| one.rate_limited).sum();
        limited as f64 / self.evidence.calls.len().max(1) as f64
    }

    /// Runs that were taken and did not complete.
    pub(crate) fn not_completed(&self) -> Vec<String> {
        let told = self
            .course
            .posted
            .iter()
            .filter_map(|run| match self.evidence.runs.get(&run.id) {
                None => Some(format!("{} is lost", run.id)),
                Some(stored) if stored.state != "completed" => {
                    let error = stored.error.as_deref().unwrap_or_default();
                    Some(format!("{} is {} {error}", run.id, stored.state))
                }
                Some(_) => None,
            });
        told.collect()
    }

    /// Runs that went on elsewhere after their instance was killed.
    pub(crate) fn recovered(&self) -> usize {
        self.evidence.runs.values().filter(|run| run.epoch > 1).count()
    }

    /// Keys of which some minute saw more than they allow.
    pub(crate) fn keys_over_limit(&self) -> usize {
        self.uses.iter().filter(|one| one.is_over_limit()).count()
    }

    /// What each account got while all wanted more, compared to an equal share.
    fn fairness(&self) -> Vec<Option<f64>> {
        let taken = self.waits.taken_while_all_wanted_more();
        let fair = taken.iter().sum::<usize>() as f64 / taken.len() as f64;
        taken
            .into_iter()
            .map(|taken| (fair > 0.0).then(|| taken as f64 / fair))
            .collect()
    }

    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let share = self.share();
        let limited = self.rate_limited_share();
        let least = self.fairness().into_iter().flatten().reduce(f64::min);
        let not_completed = self.not_completed().len();
        let over = self.keys_over_limit();
        vec![
            Verdict {
                what: "share of the quota used while calls waited",
                figure: share.map_or_else(unknown, percent),
                wanted: "≥ 90 %",
                is_met: share.is_none_or(|share| share >= 0.9),
            },
            Verdict {
                what: "calls answered 429",
                figure: format!("{:.3} %", limited * 100.0),
                wanted: "≤ 0.1 %",
                is_met: limited <= 0.001,
            },
            Verdict {
                what: "runs lost or failed",
                figure: not_completed.to_string(),
                wanted: "0",
                is_met: not_completed == 0,
            },
            Verdict {
                what: "keys over their limit in any minute",
                figure: over.to_string(),
                wanted: "0",
                is_met: over == 0,
            },
            Verdict {
                what: "of a fair share, what the account had that got least",
                figure: least.map_or_else(unknown, percent),
                wanted: "≥ 90 %",
                is_met: least.is_none_or(|least| least >= 0.9),
            },
        ]
    }

    /// Prints it as tables.
    pub(crate) fn print(&self) {
        let options = &self.options;
        let minutes = (self.ended_us() - self.course.began_us) as f64 / 60e6;
        println!(
            "\n{} runs of {} accounts, {} keys, {} instances, posted within {:?}: {minutes:.1} minutes",
            options.runs,
            self.accounts.len(),
            self.uses.len(),
            options.instances,
            options.posted_within,
        );
        for Disturbance {
            kind,
            from_us,
            until_us,
        } in &self.course.disturbances
        {
            let second = |at_us: i64| (at_us - self.course.began_us) as f64 / 1e6;
            let until = until_us.map(|until| format!(" to {:.0} s", second(until)));
            println!("{kind}: {:.0} s{}", second(*from_us), until.unwrap_or_default());
        }
        self.print_keys();
        self.print_accounts();
        let recovered = self.recovered();
        println!("\nruns that went on elsewhere after their instance was killed: {recovered}\n");
        for verdict in self.verdicts() {
            println!("{}", verdict.in_short());
        }
        for problem in self.not_completed() {
            println!("  {problem}");
        }
    }

    fn print_keys(&self) {
        let rows = self.uses.iter().map(|one| {
            let (total, most) = (one.total(), one.most_in_a_minute());
            let share = self.share_of(std::slice::from_ref(one));
            [
                format!("{} …{}", one.key.region, one.key.ending),
                total.calls.to_string(),
                total.tokens.to_string(),
                format!("{} of {}", most.calls, one.key.calls),
                format!("{} of {}", most.tokens, one.key.tokens),
                share.map_or_else(unknown, percent),
                one.rate_limited.to_string(),
                one.refused.to_string(),
                one.outages.to_string(),
            ]
        });
        let header = [
            "key",
            "calls",
            "tokens",
            "most calls in a minute",
            "most tokens",
            "share used",
            "429",
            "401",
            "503",
        ];
        print_table(header, rows);
    }

    fn print_accounts(&self) {
        let fairness = self.fairness();
        let rows = (0..).zip(&self.accounts).zip(fairness).map(|((index, account), fair)| {
            let waits = self.waits.first_waits_us(index);
            let at = |part: f64| {
                let place = (waits.len().saturating_sub(1) as f64 * part).round() as usize;
                waits
                    .get(place)
                    .map_or_else(unknown, |wait| format!("{:.1} s", *wait as f64 / 1e6))
            };
            [
                account.name.to_owned(),
                waits.len().to_string(),
                at(0.5),
                at(0.95),
                at(1.0),
                fair.map_or_else(unknown, percent),
            ]
        });
        let header = [
            "account",
            "runs",
            "wait p50",
            "p95",
            "longest",
            "of a fair share, while all wanted more",
        ];
        print_table(header, rows);
    }
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn unknown() -> String {
    "–".to_owned()
}

fn print_table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: impl Iterator<Item = [String; COLUMNS]>) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}");
}
