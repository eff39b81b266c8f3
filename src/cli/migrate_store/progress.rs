//! A line every few seconds.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::cli::text::grouped;
use crate::store::migrate::{Phase, Progress};

/// Between two lines about one table.
const INTERVAL: Duration = Duration::from_secs(5);

/// Says how far a migration is: every few seconds, and when a table is done.
pub(super) struct ProgressLines<'a, W> {
    log: &'a mut W,
    table: Option<(Phase, &'static str)>,
    since: Instant,
    last_line: Instant,
}

impl<'a, W: Write> ProgressLines<'a, W> {
    pub(super) fn new(log: &'a mut W) -> Self {
        let now = Instant::now();
        Self {
            log,
            table: None,
            since: now,
            last_line: now,
        }
    }

    pub(super) fn show(&mut self, progress: Progress) {
        let now = Instant::now();
        let table = Some((progress.phase, progress.table));
        if self.table != table {
            // The clock of a table starts where the one before it ended.
            self.since = self.last_line;
            self.table = table;
        }
        if progress.done < progress.of && now.duration_since(self.last_line) < INTERVAL {
            return;
        }
        self.last_line = now;
        // Nobody may be listening; the work goes on.
        let _ = writeln!(self.log, "{}", line(progress, now.duration_since(self.since)));
    }
}

/// `copying runs: 120,000 of 1,000,000 rows (12 %), 45,000 a second`.
fn line(progress: Progress, elapsed: Duration) -> String {
    let phase = match progress.phase {
        Phase::Copying => "copying",
        Phase::Comparing => "comparing",
    };
    let percent = (progress.done * 100).checked_div(progress.of).unwrap_or(100);
    let a_second = progress.done as f64 / elapsed.as_secs_f64().max(0.001);
    format!(
        "{phase} {}: {} of {} rows ({percent} %), {} a second",
        progress.table,
        grouped(progress.done),
        grouped(progress.of),
        grouped(a_second as u64)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_done_has_its_line_at_once_and_one_under_way_does_not() {
        let mut log = Vec::new();
        let mut lines = ProgressLines::new(&mut log);
        for (table, done) in [("runs", 10), ("runs", 20), ("items", 5)] {
            lines.show(Progress {
                phase: Phase::Copying,
                table,
                done,
                of: 20,
            });
        }
        let printed = String::from_utf8(log).expect("UTF-8");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(
            printed.starts_with("copying runs: 20 of 20 rows (100 %), "),
            "{printed}"
        );
    }

    #[test]
    fn rates_are_of_the_table() {
        let progress = Progress {
            phase: Phase::Comparing,
            table: "items",
            done: 3_000,
            of: 12_000,
        };
        assert_eq!(
            line(progress, Duration::from_secs(2)),
            "comparing items: 3,000 of 12,000 rows (25 %), 1,500 a second"
        );
    }
}
