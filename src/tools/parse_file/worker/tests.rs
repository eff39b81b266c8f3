#![allow(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "others use the rest")]
#[path = "../../../../tests/it/documents.rs"]
mod documents;

use super::super::protocol::PageRange;
use super::*;
use documents::{archive, docx, locked_pdf, pdf, repetitive_ods, sparse_xlsx, xlsx, xlsx_of_sheet};

const ALL: ReadRequest = ReadRequest {
    pages: None,
    sheet: None,
    offset: 0,
    max_chars: 100_000,
    max_bytes: 100_000,
};

fn text_of(document: &[u8], request: &ReadRequest) -> (String, String) {
    let extracted = read(document, request).unwrap();
    let extent = extracted.head.extent.unwrap_or_default();
    (format!("{} {extent}", extracted.head.kind), extracted.text)
}

fn refusal_of(document: &[u8]) -> String {
    read(document, &ALL).unwrap_err().0
}

#[test]
fn a_pdf_is_read_page_by_page() {
    let document = pdf(&["Hello there.", "Second page.", "The end."]);
    let (kind, text) = text_of(&document, &ALL);
    assert_eq!(kind, "PDF 3 pages");
    assert_eq!(
        text.trim(),
        "## Page 1\n\nHello there.\n\n## Page 2\n\nSecond page.\n\n## Page 3\n\nThe end."
    );
    let pages = Some(PageRange { first: 2, last: 9 });
    let (_, text) = text_of(&document, &ReadRequest { pages, ..ALL });
    assert!(!text.contains("Hello") && text.contains("Second page.") && text.contains("The end."));
    let pages = Some(PageRange { first: 4, last: 4 });
    let refused = read(&document, &ReadRequest { pages, ..ALL }).unwrap_err();
    assert_eq!(refused.0, "the PDF has only 3 pages");
}

#[test]
fn a_broken_or_locked_pdf_says_so() {
    let whole = pdf(&["Hello there."]);
    for broken in [&whole[..whole.len() / 3], b"%PDF-1.7 and nothing else"] {
        assert_eq!(
            refusal_of(broken),
            "the file is not a whole PDF: it is damaged or cut off"
        );
    }
    assert_eq!(refusal_of(&locked_pdf()), "the PDF is protected by a password");
}

#[test]
fn a_docx_keeps_headings_lines_tables_and_special_letters() {
    let body = "<w:p><w:pPr><w:pStyle w:val=\"Heading2\"/></w:pPr><w:r><w:t>Report</w:t></w:r></w:p>\
                <w:p><w:r><w:t>Fish &amp; chips, </w:t></w:r><w:r><w:t>t&#228;glich</w:t></w:r><w:r><w:tab/><w:t>x</w:t></w:r></w:p>\
                <w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>";
    let (kind, text) = text_of(&docx(body), &ALL);
    assert_eq!(kind, "DOCX ");
    assert_eq!(text, "## Report\nFish & chips, täglich\tx\na | b | \n\n");
}

#[test]
fn a_docx_shows_no_tab_stops_and_nothing_twice() {
    let run = |text: &str| format!("<w:r><w:t>{text}</w:t></w:r>");
    let body = format!(
        "<w:p><w:pPr><w:tabs><w:tab w:val=\"left\"/><w:tab w:val=\"right\"/></w:tabs></w:pPr>{}</w:p>\
         <w:p><w:moveFrom w:id=\"1\">{}<w:r><w:br/></w:r></w:moveFrom><w:moveTo w:id=\"2\">{}</w:moveTo></w:p>\
         <w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent><w:p>{}</w:p></w:txbxContent></mc:Choice>\
         <mc:Fallback><w:pict><w:txbxContent><w:p>{}</w:p></w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r>{}</w:p>",
        run("Contents"),
        run("moved"),
        run("moved"),
        run("in a box"),
        run("in a box"),
        run("after it"),
    );
    assert_eq!(text_of(&docx(&body), &ALL).1, "Contents\nmoved\nin a box\nafter it\n");
}

#[test]
fn a_hostile_docx_is_refused() {
    let deep = format!("{}{}", "<w:p>".repeat(100_000), "</w:p>".repeat(100_000));
    assert_eq!(refusal_of(&docx(&deep)), "the DOCX is nested too deep");
    let cut = archive(&[("word/document.xml", b"<w:document><w:body><w:p>".as_slice())]);
    assert_eq!(
        refusal_of(&cut),
        "the file is not a whole DOCX: it is damaged or cut off"
    );
    let entities = "<!DOCTYPE w [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><w:document><w:t>&b;</w:t></w:document>";
    let entities = archive(&[("word/document.xml", entities.as_bytes())]);
    assert_eq!(
        refusal_of(&entities),
        "the file is not a whole DOCX: it is damaged or cut off"
    );
    let whole = docx("<w:p/>");
    assert!(refusal_of(&whole[..whole.len() - 30]).contains("damaged"));
}

#[test]
fn what_is_blown_up_in_an_archive_is_read_no_further_than_it_is_wanted() {
    let bomb = docx(&format!(
        "<w:p><w:r><w:t>{}</w:t></w:r></w:p>",
        "boom ".repeat(2_000_000)
    ));
    assert!(bomb.len() < 100_000, "it is small: {}", bomb.len());
    let extracted = read(&bomb, &ReadRequest { max_chars: 50, ..ALL }).unwrap();
    assert_eq!((extracted.text.len(), extracted.head.next_offset), (50, Some(50)));
}

#[test]
fn sheets_are_named_and_rows_are_csv() {
    let document = xlsx(&[
        ("Costs", &[&["what", "how much"], &["rent, cold", "950.5"]]),
        ("Notes", &[&["said \"no\""]]),
    ]);
    let (kind, text) = text_of(&document, &ALL);
    assert_eq!(kind, "spreadsheet 2 sheets");
    assert_eq!(
        text,
        "## Sheet Costs\n\nwhat,how much\n\"rent, cold\",950.5\n\n## Sheet Notes\n\n\"said \"\"no\"\"\"\n\n"
    );
    let sheet = Some("Notes".to_owned());
    let (_, text) = text_of(&document, &ReadRequest { sheet, ..ALL });
    assert!(text.starts_with("## Sheet Notes"));
    let sheet = Some("Nope".to_owned());
    let refused = read(&document, &ReadRequest { sheet, ..ALL }).unwrap_err();
    assert_eq!(refused.0, "there is no such sheet; there are Costs, Notes");
}

#[test]
fn a_cell_that_cannot_be_read_costs_itself_and_a_sheet_that_breaks_off_its_rest() {
    let cells = "<worksheet><sheetData><row r=\"1\"><c r=\"A1\"><v>42</v></c><c r=\"B1\" t=\"e\"><v>#SPILL!</v></c>\
                 <c r=\"C1\" t=\"b\"><v>perhaps</v></c><c r=\"D1\" t=\"e\"><v>#DIV/0!</v></c></row>";
    let whole = format!("{cells}<row r=\"2\"><c r=\"A2\"><v>43</v></c></row></sheetData></worksheet>");
    let (_, text) = text_of(&xlsx_of_sheet(&whole), &ALL);
    assert!(
        text.contains("42,,,#DIV/0!\n43\n[2 cells of this sheet left out"),
        "{text}"
    );
    let (_, text) = text_of(&xlsx_of_sheet(&format!("{cells}<row r=\"2\"><c r=")), &ALL);
    assert!(
        text.contains("42,,,#DIV/0!\n[the rest of this sheet cannot be read]\n"),
        "{text}"
    );
    let nothing = refusal_of(&xlsx_of_sheet("<worksheet><sheetData><row r=\"1\"><c"));
    assert_eq!(nothing, "the file is not a whole spreadsheet: it is damaged or cut off");
}

#[test]
fn a_broken_workbook_of_any_kind_says_so() {
    let damaged = "the file is not a whole spreadsheet: it is damaged or cut off";
    let whole = xlsx(&[("One", &[&["a"]])]);
    let cut = refusal_of(&whole[..whole.len() - 40]);
    assert_eq!(
        cut,
        "the file is not a whole document (a ZIP archive): it is damaged or cut off"
    );
    let no_sheet = archive(&[("xl/workbook.xml", b"<workbook><sheets>".as_slice())]);
    let no_letters = archive(&[("xl/workbook.xml", b"\xff\xfe\xfd".as_slice())]);
    let of_binary = archive(&[("xl/workbook.bin", b"nothing".as_slice())]);
    let ods = repetitive_ods(2);
    assert!(text_of(&ods, &ALL).1.contains("boom,boom\nboom,boom\n"));
    let mut of_1997 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1".to_vec();
    of_1997.extend("Workbook".encode_utf16().flat_map(u16::to_le_bytes));
    of_1997.extend([0xff; 2000]);
    for broken in [no_sheet, no_letters, of_binary, of_1997] {
        assert_eq!(refusal_of(&broken), damaged);
    }
}

#[test]
fn a_sheet_with_two_cells_far_apart_is_two_cells() {
    let (_, text) = text_of(&sparse_xlsx(), &ALL);
    assert!(
        text.contains("first\n") && text.ends_with(",last\n\n"),
        "{} bytes",
        text.len()
    );
}

#[test]
fn html_becomes_what_a_reader_sees() {
    let page = "<!DOCTYPE html><html><head><title>T</title><style>p{}</style></head><body><h1>Title</h1>\
                <script>alert(1)</script><p>Some <b>text</b> &amp; more.</p></body></html>";
    let (kind, text) = text_of(page.as_bytes(), &ALL);
    assert_eq!(kind, "HTML ");
    assert_eq!(text.trim(), "# T\n\n# Title\n\nSome text & more.");
    // What it says of its letters counts, and so does where somebody wants to read on.
    let page = b"<html><meta charset=windows-1251><p>\xcf\xf0</p><p>and so on</p>";
    let request = ReadRequest {
        offset: 1,
        max_chars: 5,
        ..ALL
    };
    let extracted = read(page, &request).unwrap();
    assert_eq!(
        (extracted.text.as_str(), extracted.head.next_offset),
        ("р\n\nan", Some(6))
    );
}

#[test]
fn text_is_told_from_tables_and_data_by_its_content() {
    assert_eq!(text_of(b"a,b\n1,\"2,3\"\n", &ALL).0, "CSV 2 rows, 2 columns");
    assert_eq!(text_of(b"a;b;c\n1;2;3\n", &ALL).0, "CSV 2 rows, 3 columns");
    assert_eq!(text_of(b"{\"a\": [1, 2]}", &ALL).0, "JSON 1 line");
    assert_eq!(text_of(b"# Title\n\nHello, world, again\n", &ALL).0, "text 3 lines");
    assert_eq!(text_of(b"", &ALL).0, "text 0 lines");
    assert_eq!(text_of(b"\xff\xfeh\0i\0", &ALL).1, "hi");
    assert_eq!(text_of(b"t\xe4glich", &ALL).1, "täglich");
    let unknown = refusal_of(b"\x7fELF\x02\x01\x01\0\0\0");
    assert!(
        unknown.starts_with("the file is of a kind that cannot be read as text"),
        "{unknown}"
    );
    assert_eq!(refusal_of(&archive(&[("a.txt", b"a".as_slice())])), unknown);
}

#[test]
fn a_long_text_comes_in_parts_that_fit_together() {
    let whole: String = (0..500).map(|number| format!("{number} ä\n")).collect();
    let mut together = String::new();
    let mut offset = 0;
    loop {
        let request = ReadRequest {
            offset,
            max_chars: 300,
            max_bytes: 310,
            ..ALL
        };
        let extracted = read(whole.as_bytes(), &request).unwrap();
        assert!(extracted.text.len() <= 310 && extracted.text.chars().count() <= 300);
        together.push_str(&extracted.text);
        match extracted.head.next_offset {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(together, whole);
    let count = whole.chars().count() as u64;
    for (offset, characters) in [(0, count), (count, count), (count + 7, count)] {
        let extracted = read(whole.as_bytes(), &ReadRequest { offset, ..ALL }).unwrap();
        assert_eq!(
            (extracted.head.characters, extracted.head.next_offset),
            (characters, None)
        );
    }
}
