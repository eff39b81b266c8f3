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
        write!(pdf, "{place:010} 00000 n \n").unwrap();
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

/// A picture of one pixel, as far as anybody looks.
pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0";
