//! HTML, as Markdown.

use htmd::HtmlToMarkdown;

use super::sink::TextSink;
use super::{Description, Refusal};

/// What nobody reads.
const SKIPPED: [&str; 8] = [
    "script", "style", "noscript", "template", "svg", "iframe", "object", "head",
];

pub(super) fn read(text: &str, sink: &mut TextSink) -> Result<Description, Refusal> {
    let converter = HtmlToMarkdown::builder().skip_tags(SKIPPED.to_vec()).build();
    let markdown = converter.convert(text).map_err(|_| Refusal::damaged("HTML page"))?;
    sink.push(&markdown);
    Ok(Description {
        kind: "HTML",
        extent: None,
    })
}
