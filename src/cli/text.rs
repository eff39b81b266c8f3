//! How figures and tables look in a terminal of 80 columns.

use std::time::Duration;

use callboard_actors::time::Timestamp;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{CellAlignment, Table, TableStyle};

/// Borders without lines between the rows: room for 80 columns.
const STYLE: TableStyle = UTF8_BORDERS_ONLY;

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `2026-11-23 15:03`, in UTC.
pub(super) fn to_the_minute(time: Timestamp) -> String {
    let text = time.to_string().replace('T', " ");
    text.chars().take("2026-11-23 15:03".len()).collect()
}

/// `0.4 s`, `12 s`, `3 min`, `5 h`, `2 d`: as much as says how things are.
pub(super) fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{seconds}.{} s", duration.subsec_millis() / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", grouped(seconds / 86_400)),
    }
}

/// A table with these headings. Columns of `right` (from 0) are aligned to the right.
pub(super) fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    rows: Vec<[String; COLUMNS]>,
    right: &[usize],
) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    table.set_header(headings);
    table.add_rows(rows);
    for index in right {
        if let Some(column) = table.column_mut(*index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// An error and its causes on one line. Many errors say their cause in their own text; what was said is not said again.
pub fn error_chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.contains(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (3_840, "3,840"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        for (milliseconds, text) in [
            (0, "0.0 s"),
            (449, "0.4 s"),
            (9_999, "9.9 s"),
            (10_000, "10 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_199_999, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(rounded(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn a_point_in_time_is_shown_to_the_minute() {
        assert_eq!(to_the_minute(Timestamp::from_micros(0)), "1970-01-01 00:00");
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let error = anyhow::anyhow!("the disk is full")
            .context("cannot write x: the disk is full")
            .context("the store does not open");
        assert_eq!(
            error_chain(&error),
            "the store does not open: cannot write x: the disk is full"
        );
    }
}
