//! DOCX: a ZIP archive with XML in it, read piece by piece.

use std::io::{BufReader, Cursor};

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};
use zip::ZipArchive;
use zip::result::ZipError;

use super::sink::TextSink;
use super::{Description, Refusal};

/// Elements within elements. Word writes a few dozen.
const MAX_DEPTH: usize = 512;

/// Elements of which nothing is shown: where tab stops are, what was moved away from here, and, for programs that do not know how to show a
/// thing, what to show in its place: those that do know have it right before, and so it would be here twice.
const PASSED_OVER: [&str; 3] = ["tabs", "moveFrom", "Fallback"];

pub(super) fn read(document: &[u8], sink: &mut TextSink) -> Result<Description, Refusal> {
    let damaged = || Refusal::damaged("DOCX");
    let mut archive = ZipArchive::new(Cursor::new(document)).map_err(|_| damaged())?;
    let body = archive.by_name("word/document.xml").map_err(|error| match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => Refusal::locked("DOCX"),
        _ => damaged(),
    })?;
    let mut reader = Reader::from_reader(BufReader::new(body));
    let mut buffer = Vec::new();
    let mut body = Body::default();
    let mut depth = 0usize;
    // How deep the outermost element is that is passed over.
    let mut passed_over: Option<usize> = None;
    while !sink.is_full() {
        buffer.clear();
        match reader.read_event_into(&mut buffer).map_err(|_| damaged())? {
            Event::Start(element) => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(Refusal::new("the DOCX is nested too deep"));
                }
                if passed_over.is_none() && PASSED_OVER.contains(&element.local_name().as_ref()) {
                    passed_over = Some(depth);
                }
                if passed_over.is_none() {
                    body.begin(&element, sink);
                }
            }
            Event::End(element) => {
                if passed_over.is_none() {
                    body.end(element.local_name().as_ref(), sink);
                }
                passed_over = passed_over.filter(|outermost| *outermost < depth);
                depth = depth.saturating_sub(1);
            }
            // The end of the file within an element.
            Event::Eof if depth > 0 => return Err(damaged()),
            Event::Eof => break,
            // Word writes none; whoever does means no good.
            Event::DocType(_) => return Err(damaged()),
            _ if passed_over.is_some() => {}
            Event::Empty(element) => {
                body.begin(&element, sink);
                body.end(element.local_name().as_ref(), sink);
            }
            Event::Text(text) if body.is_in_text => {
                sink.push(&text);
            }
            Event::GeneralRef(reference) if body.is_in_text => sink.push(&letter_of(&reference)),
            _ => {}
        }
    }
    Ok(Description {
        kind: "DOCX",
        extent: None,
    })
}

#[derive(Default)]
struct Body {
    is_in_text: bool,
    /// Tables within tables.
    tables: usize,
}

impl Body {
    fn begin(&mut self, element: &BytesStart<'_>, sink: &mut TextSink) {
        match element.local_name().as_ref() {
            "t" => self.is_in_text = true,
            "tab" if !self.is_in_text => sink.push("\t"),
            "br" | "cr" => sink.push("\n"),
            "tbl" => self.tables += 1,
            "pStyle" => {
                let level = element.try_get_attribute("w:val").ok().flatten().and_then(|style| {
                    let name = style.value.to_lowercase();
                    let level = name.strip_prefix("heading")?.trim().parse::<usize>().ok()?;
                    (1..=6).contains(&level).then_some(level)
                });
                if let Some(level) = level {
                    sink.push(&format!("{} ", "#".repeat(level)));
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str, sink: &mut TextSink) {
        match name {
            "t" => self.is_in_text = false,
            // In a table, lines are rows.
            "p" if self.tables > 0 => sink.push(" "),
            "p" => sink.push("\n"),
            "tc" => sink.push("| "),
            "tr" => sink.push("\n"),
            "tbl" => {
                self.tables = self.tables.saturating_sub(1);
                sink.push("\n");
            }
            _ => {}
        }
    }
}

fn letter_of(reference: &BytesRef<'_>) -> String {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return letter.to_string();
    }
    let letter = match reference.as_ref() {
        "lt" => "<",
        "gt" => ">",
        "amp" => "&",
        "apos" => "'",
        "quot" => "\"",
        _ => "",
    };
    letter.to_owned()
}
