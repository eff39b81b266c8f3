//! Documents of each kind, made here: sound ones, broken ones and hostile ones.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A PDF of these objects; the first is the catalog. Each is what stands between `obj` and `endobj`.
fn pdf_of(objects: &[String]) -> Vec<u8> {
    let mut pdf = String::from("%PDF-1.4\n");
    let mut places = Vec::new();
    for (index, object) in objects.iter().enumerate() {
        places.push(pdf.len());
        write!(pdf, "{} 0 obj\n{object}\nendobj\n", index + 1).unwrap();
    }
    let table = pdf.len();
    let count = objects.len() + 1;
    write!(pdf, "xref\n0 {count}\n0000000000 65535 f \n").unwrap();
    for place in places {
        writeln!(pdf, "{place:010} 00000 n ").unwrap();
    }
    let id = "<00112233445566778899aabbccddeeff>";
    write!(
        pdf,
        "trailer\n<< /Size {count} /Root 1 0 R /ID [{id} {id}] >>\nstartxref\n{table}\n%%EOF\n"
    )
    .unwrap();
    pdf.into_bytes()
}

fn stream(dictionary: &str, content: &str) -> String {
    format!(
        "<< {dictionary} /Length {} >>\nstream\n{content}\nendstream",
        content.len()
    )
}

fn page_tree(count: usize, first_page: usize) -> [String; 2] {
    let kids: Vec<String> = (0..count).map(|index| format!("{} 0 R", first_page + index)).collect();
    [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        format!(
            "<< /Type /Pages /Count {count} /Kids [{}] /MediaBox [0 0 612 792] >>",
            kids.join(" ")
        ),
    ]
}

const FONT: &str = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>";

/// A PDF with one line on each page.
pub(crate) fn pdf(pages: &[&str]) -> Vec<u8> {
    let mut objects: Vec<String> = page_tree(pages.len(), 4).into();
    objects.push(FONT.to_owned());
    let first_content = 4 + pages.len();
    for index in 0..pages.len() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /Resources << /Font << /F1 3 0 R >> >> /Contents {} 0 R >>",
            first_content + index
        ));
    }
    for text in pages {
        objects.push(stream("", &format!("BT /F1 12 Tf 72 720 Td ({text}) Tj ET")));
    }
    pdf_of(&objects)
}

/// A small PDF whose one page draws a form ten times, which draws a form ten times, and so on: it is read for ever.
pub(crate) fn endless_pdf() -> Vec<u8> {
    const LEVELS: usize = 30;
    let mut objects: Vec<String> = page_tree(1, 3).into();
    objects.push("<< /Type /Page /Parent 2 0 R /Resources << /XObject << /X 5 0 R >> >> /Contents 4 0 R >>".to_owned());
    objects.push(stream("", "/X Do"));
    for level in 0..LEVELS {
        let next = 6 + level;
        let dictionary =
            format!("/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X {next} 0 R >> >>");
        objects.push(stream(&dictionary, &"/X Do ".repeat(10)));
    }
    objects.push(stream(
        "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << >>",
        "q Q",
    ));
    pdf_of(&objects)
}

/// A PDF whose form draws itself: whoever follows it runs out of stack.
pub(crate) fn bottomless_pdf() -> Vec<u8> {
    let mut objects: Vec<String> = page_tree(1, 3).into();
    objects.push("<< /Type /Page /Parent 2 0 R /Resources << /XObject << /X 5 0 R >> >> /Contents 4 0 R >>".to_owned());
    objects.push(stream("", "/X Do"));
    let dictionary = "/Type /XObject /Subtype /Form /BBox [0 0 1 1] /Resources << /XObject << /X 5 0 R >> >>";
    objects.push(stream(dictionary, "/X Do"));
    pdf_of(&objects)
}

/// A PDF that only who knows a password can read.
pub(crate) fn locked_pdf() -> Vec<u8> {
    use lopdf::{Document, EncryptionState, EncryptionVersion, Permissions};
    let mut document = Document::load_mem(&pdf(&["Secret."])).unwrap();
    let version = EncryptionVersion::V2 {
        document: &document,
        owner_password: "owner",
        user_password: "user",
        key_length: 128,
        permissions: Permissions::all(),
    };
    let state = EncryptionState::try_from(version).unwrap();
    document.encrypt(&state).unwrap();
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

/// A ZIP archive of these files.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A DOCX with this between the tags of its body.
pub(crate) fn docx(body: &str) -> Vec<u8> {
    let namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><w:document xmlns:w=\"{namespace}\"><w:body>{body}</w:body></w:document>"
    );
    archive(&[
        ("[Content_Types].xml", b"<Types/>".as_slice()),
        ("word/document.xml", document.as_bytes()),
    ])
}

/// A workbook with these sheets of texts and numbers.
pub(crate) fn xlsx(sheets: &[(&str, &[&[&str]])]) -> Vec<u8> {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    for (name, rows) in sheets {
        let sheet = workbook.add_worksheet();
        sheet.set_name(*name).unwrap();
        for (row, cells) in rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                let place = (row as u32, column as u16);
                match cell.parse::<f64>() {
                    Ok(number) => sheet.write_number(place.0, place.1, number).unwrap(),
                    Err(_) => sheet.write_string(place.0, place.1, *cell).unwrap(),
                };
            }
        }
    }
    workbook.save_to_buffer().unwrap()
}

/// A workbook with a cell at either end of its sheet, and nothing between.
pub(crate) fn sparse_xlsx() -> Vec<u8> {
    let mut workbook = rust_xlsxwriter::Workbook::new();
    let sheet = workbook.add_worksheet();
    sheet.write_string(0, 0, "first").unwrap();
    sheet.write_string(1_048_575, 16_383, "last").unwrap();
    workbook.save_to_buffer().unwrap()
}

/// The parts of a workbook with one sheet that every one has; it lacks `xl/worksheets/sheet1.xml`.
const WORKBOOK: [(&str, &str); 4] = [
    (
        "[Content_Types].xml",
        "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>",
    ),
    (
        "_rels/.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>",
    ),
    (
        "xl/workbook.xml",
        "<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" \
         xmlns:r=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships\"><sheets><sheet name=\"One\" sheetId=\"1\" r:id=\"rId1\"/></sheets></workbook>",
    ),
    (
        "xl/_rels/workbook.xml.rels",
        "<Relationships xmlns=\"http://schemas.openxmlformats.org/package/2006/relationships\"><Relationship Id=\"rId1\" \
         Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" Target=\"worksheets/sheet1.xml\"/></Relationships>",
    ),
];

/// A workbook with this sheet, as it is written.
pub(crate) fn xlsx_of_sheet(sheet: &str) -> Vec<u8> {
    let mut parts: Vec<(&str, &[u8])> = WORKBOOK.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    parts.push(("xl/worksheets/sheet1.xml", sheet.as_bytes()));
    archive(&parts)
}

/// A workbook of which one part is `times` the same, between a beginning and an end: a few kilobytes that become very many.
fn blown_up_workbook(name: &str, beginning: &str, same: &str, times: usize, end: &str) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_level(Some(1));
    for (name, text) in WORKBOOK {
        writer.start_file(name, options).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.start_file(name, options).unwrap();
    writer.write_all(beginning.as_bytes()).unwrap();
    let block = same.repeat(1000);
    for _ in 0..times / 1000 {
        writer.write_all(block.as_bytes()).unwrap();
    }
    writer.write_all(end.as_bytes()).unwrap();
    writer.finish().unwrap().into_inner()
}

/// A workbook with so many texts, which all have to be known before the first cell can be read.
pub(crate) fn xlsx_of_texts(times: usize) -> Vec<u8> {
    blown_up_workbook("xl/sharedStrings.xml", "<sst>", "<si><t>boom</t></si>", times, "</sst>")
}

/// A workbook with so many cells.
pub(crate) fn xlsx_of_cells(times: usize) -> Vec<u8> {
    let beginning = "<worksheet><sheetData><row r=\"1\">";
    let end = "</row></sheetData></worksheet>";
    blown_up_workbook(
        "xl/worksheets/sheet1.xml",
        beginning,
        "<c r=\"A1\"><v>1</v></c>",
        times,
        end,
    )
}

/// An OpenDocument sheet with one cell, said to be there as often as this, in each of as many rows.
pub(crate) fn repetitive_ods(times: u32) -> Vec<u8> {
    let content = format!(
        "<office:document-content xmlns:office=\"urn:oasis:names:tc:opendocument:xmlns:office:1.0\" \
         xmlns:table=\"urn:oasis:names:tc:opendocument:xmlns:table:1.0\" xmlns:text=\"urn:oasis:names:tc:opendocument:xmlns:text:1.0\">\
         <office:body><office:spreadsheet><table:table table:name=\"One\"><table:table-row table:number-rows-repeated=\"{times}\">\
         <table:table-cell office:value-type=\"string\" table:number-columns-repeated=\"{times}\"><text:p>boom</text:p></table:table-cell>\
         </table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"
    );
    archive(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet".as_slice()),
        (
            "META-INF/manifest.xml",
            b"<manifest:manifest xmlns:manifest=\"urn:oasis:names:tc:opendocument:xmlns:manifest:1.0\"/>",
        ),
        ("content.xml", content.as_bytes()),
    ])
}

/// A PDF whose page is small until it is unpacked: to so many bytes of spaces.
pub(crate) fn packed_pdf(bytes: usize) -> Vec<u8> {
    use lopdf::{Document, Object};
    let mut document = Document::load_mem(&pdf(&["Hello there."])).unwrap();
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![b' '; 1_000_000];
    for _ in 0..bytes / block.len() {
        packer.write_all(&block).unwrap();
    }
    let packed = packer.finish().unwrap();
    let content = document.objects.values_mut().find_map(|object| match object {
        Object::Stream(stream) => Some(stream),
        _ => None,
    });
    let content = content.unwrap();
    content.dict.set("Filter", Object::Name(b"FlateDecode".to_vec()));
    content.set_content(packed);
    let mut saved = Vec::new();
    document.save_to(&mut saved).unwrap();
    saved
}

/// A PDF whose tree of pages leads back to its root.
pub(crate) fn circular_pdf() -> Vec<u8> {
    pdf_of(&[
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Count 1 /Kids [3 0 R] >>".to_owned(),
        "<< /Type /Pages /Parent 2 0 R /Count 1 /Kids [2 0 R 3 0 R] >>".to_owned(),
    ])
}

/// A picture of one pixel, as far as anybody looks.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0";
