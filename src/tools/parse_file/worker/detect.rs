//! What a document is, by its content: names lie.

use std::io::{Cursor, Read};

use encoding_rs::{Encoding, WINDOWS_1252};
use zip::ZipArchive;

use super::Refusal;
use crate::tools::page_text::charset;

/// Bytes at the beginning that are looked at.
const HEAD_BYTES: usize = 1024;

/// What there is a reader for.
pub(super) enum Kind {
    Pdf,
    Docx,
    Spreadsheet(SheetFormat),
    Html(String),
    Text(String),
}

/// How a spreadsheet is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum SheetFormat {
    Xlsx,
    Xlsb,
    Ods,
    Xls,
}

pub(super) fn kind_of(document: &[u8]) -> Result<Kind, Refusal> {
    let head = &document[..document.len().min(HEAD_BYTES)];
    if contains(head, b"%PDF-") {
        return Ok(Kind::Pdf);
    }
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return kind_of_archive(document);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return kind_of_compound(document);
    }
    let text = text_of(document).ok_or_else(unknown)?;
    let beginning = text.trim_start().chars().take(HEAD_BYTES).collect::<String>();
    if is_html(&beginning.to_ascii_lowercase()) {
        let text = match charset::of_page(document) {
            Some(encoding) => encoding.decode(document).0.into_owned(),
            None => text,
        };
        return Ok(Kind::Html(text));
    }
    Ok(Kind::Text(text))
}

fn unknown() -> Refusal {
    Refusal::new(
        "the file is of a kind that cannot be read as text; PDF, DOCX, XLSX, XLSB, XLS, ODS, CSV, HTML, JSON, Markdown and plain text can",
    )
}

fn kind_of_archive(document: &[u8]) -> Result<Kind, Refusal> {
    let mut archive =
        ZipArchive::new(Cursor::new(document)).map_err(|_| Refusal::damaged("document (a ZIP archive)"))?;
    let has = |name: &str| archive.index_for_name(name).is_some();
    if has("word/document.xml") {
        return Ok(Kind::Docx);
    }
    if has("xl/workbook.xml") {
        return Ok(Kind::Spreadsheet(SheetFormat::Xlsx));
    }
    if has("xl/workbook.bin") {
        return Ok(Kind::Spreadsheet(SheetFormat::Xlsb));
    }
    // OpenDocument says itself what it is.
    let mut said = String::new();
    if let Ok(entry) = archive.by_name("mimetype")
        && entry.take(HEAD_BYTES as u64).read_to_string(&mut said).is_ok()
        && said.trim_end() == "application/vnd.oasis.opendocument.spreadsheet"
    {
        return Ok(Kind::Spreadsheet(SheetFormat::Ods));
    }
    Err(unknown())
}

/// What Office wrote before 2007, and what it writes today when there is a password.
fn kind_of_compound(document: &[u8]) -> Result<Kind, Refusal> {
    let utf16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    if contains(document, &utf16("EncryptedPackage")) {
        return Err(Refusal::locked("document"));
    }
    if contains(document, &utf16("Workbook")) || contains(document, &utf16("Book")) {
        return Ok(Kind::Spreadsheet(SheetFormat::Xls));
    }
    Err(unknown())
}

/// As text: what its first bytes say, else UTF-8, else what the Windows of Western Europe wrote. `None` if it is none.
fn text_of(document: &[u8]) -> Option<String> {
    if let Some((encoding, mark)) = Encoding::for_bom(document) {
        let (text, has_errors) = encoding.decode_without_bom_handling(&document[mark..]);
        return (!has_errors).then(|| text.into_owned());
    }
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 14..=26 | 28..=31);
    if document.iter().any(is_binary) {
        return None;
    }
    match std::str::from_utf8(document) {
        Ok(text) => Some(text.to_owned()),
        Err(_) => WINDOWS_1252
            .decode_without_bom_handling_and_without_replacement(document)
            .map(|text| text.into_owned()),
    }
}

fn is_html(beginning: &str) -> bool {
    ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|tag| beginning.starts_with(tag))
        || (beginning.starts_with("<?xml") || beginning.starts_with("<!--")) && beginning.contains("<html")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}
