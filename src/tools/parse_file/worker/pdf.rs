//! PDF, page by page.

use std::fmt;
use std::panic::AssertUnwindSafe;

use pdf_extract::{ConvertToFmt, Document, PlainTextOutput, output_doc_page};

use super::super::protocol::ReadRequest;
use super::sink::TextSink;
use super::{Description, Refusal, counted};

/// A page with more text than this is cut: bytes.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The text of a page. Ends the reading of one that never ends.
struct PageText<'a>(&'a mut String);

impl fmt::Write for PageText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_PAGE_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

impl<'a> ConvertToFmt for PageText<'a> {
    type Writer = PageText<'a>;

    fn convert(self) -> Self::Writer {
        self
    }
}

pub(super) fn read(document: &[u8], request: &ReadRequest, sink: &mut TextSink) -> Result<Description, Refusal> {
    let mut pdf = Document::load_mem(document).map_err(|error| {
        if matches!(error, pdf_extract::Error::InvalidPassword) {
            Refusal::locked("PDF")
        } else {
            Refusal::damaged("PDF")
        }
    })?;
    // Many that nobody needs a password for are encrypted with an empty one.
    if pdf.is_encrypted() && pdf.decrypt("").is_err() {
        return Err(Refusal::locked("PDF"));
    }
    let numbers: Vec<u32> = pdf.get_pages().into_keys().collect();
    if numbers.is_empty() {
        return Err(Refusal::damaged("PDF"));
    }
    let is_wanted = |number: &u32| {
        request
            .pages
            .is_none_or(|range| (range.first..=range.last).contains(number))
    };
    let wanted: Vec<u32> = numbers.iter().copied().filter(is_wanted).collect();
    if wanted.is_empty() {
        return Err(Refusal::new(format!(
            "the PDF has only {}",
            counted(numbers.len(), "page")
        )));
    }
    let mut was_any_read = false;
    for number in wanted {
        if sink.is_full() {
            break;
        }
        let mut text = String::new();
        let reading =
            AssertUnwindSafe(|| output_doc_page(&pdf, &mut PlainTextOutput::new(PageText(&mut text)), number));
        // The parser gives up on much that a person would still call a page: then the others are worth more than nothing.
        let is_whole = matches!(std::panic::catch_unwind(reading), Ok(Ok(())));
        was_any_read |= is_whole || !text.is_empty();
        sink.push(&format!("## Page {number}\n\n{}\n", text.trim()));
        if !is_whole {
            sink.push("[the rest of this page cannot be read]\n");
        }
        sink.push("\n");
    }
    if !was_any_read {
        return Err(Refusal::damaged("PDF"));
    }
    Ok(Description {
        kind: "PDF",
        extent: Some(counted(numbers.len(), "page")),
    })
}
