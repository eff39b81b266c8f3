//! How figures and tables look in a terminal of 80 columns.

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

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        for (number, text) in [(0, "0"), (999, "999"), (3_840, "3,840"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(number), text);
        }
    }
}
