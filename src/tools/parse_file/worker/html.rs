//! HTML: what a reader sees, as the tool `fetch_url` shows it.

use super::Description;
use super::sink::TextSink;
use crate::tools::page_text::PageText;

pub(super) fn read(text: &str, sink: &mut TextSink) -> Description {
    sink.push(&PageText::of(text, None, sink.most_bytes()).with_title());
    Description {
        kind: "HTML",
        extent: None,
    }
}
