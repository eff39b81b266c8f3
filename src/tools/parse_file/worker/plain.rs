//! What is text already. It stays as it is; only what it is and how much of it there is are found out.

use csv::ReaderBuilder;

use super::sink::TextSink;
use super::{Description, counted};

pub(super) fn read(text: &str, sink: &mut TextSink) -> Description {
    sink.push(text);
    if let Some(extent) = table_extent(text) {
        return Description {
            kind: "CSV",
            extent: Some(extent),
        };
    }
    let is_json =
        text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    Description {
        kind: if is_json { "JSON" } else { "text" },
        extent: Some(counted(text.lines().count(), "line")),
    }
}

/// Rows and columns, if each line has the same number of fields, at least two, for one of the usual separators.
fn table_extent(text: &str) -> Option<String> {
    [b',', b';', b'\t', b'|'].into_iter().find_map(|separator| {
        let mut reader = ReaderBuilder::new()
            .delimiter(separator)
            .has_headers(false)
            .from_reader(text.as_bytes());
        let mut rows = 0;
        let mut columns = 0;
        for row in reader.byte_records() {
            // One that has another number of fields than the first is an error.
            columns = row.ok()?.len();
            rows += 1;
        }
        (rows >= 2 && columns >= 2).then(|| format!("{}, {}", counted(rows, "row"), counted(columns, "column")))
    })
}
