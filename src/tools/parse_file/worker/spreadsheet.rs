//! Sheets: each by its name, its rows as CSV.

use std::fmt::Write;
use std::io::{Cursor, Read, Seek};

use calamine::{Data, DataRef, Error, ExcelDateTime, Ods, OdsError, Reader, Sheets, Xls, Xlsb, Xlsx, XlsxError};

use super::super::protocol::ReadRequest;
use super::detect::SheetFormat;
use super::sink::TextSink;
use super::{Description, Refusal, counted};

/// Columns that Excel has; what is further right is made up.
const MAX_COLUMNS: u32 = 16_384;

pub(super) fn read(
    document: &[u8],
    format: SheetFormat,
    request: &ReadRequest,
    sink: &mut TextSink,
) -> Result<Description, Refusal> {
    let mut workbook = open(document, format).map_err(|error| match error {
        Error::Ods(OdsError::CellLimitExceeded { .. }) => {
            Refusal::new("the spreadsheet says that it has more cells than can be read")
        }
        error if error.to_string().contains("assword") => Refusal::locked("spreadsheet"),
        _ => Refusal::damaged("spreadsheet"),
    })?;
    let names = workbook.sheet_names();
    let wanted: Vec<&String> = match &request.sheet {
        Some(wanted) => names.iter().filter(|name| *name == wanted).collect(),
        None => names.iter().collect(),
    };
    if wanted.is_empty() {
        let mut known = names.join(", ");
        known.truncate(known.floor_char_boundary(1000));
        return Err(Refusal::new(format!("there is no such sheet; there are {known}")));
    }
    for name in wanted {
        if sink.is_full() {
            break;
        }
        sink.push(&format!("## Sheet {name}\n\n"));
        let mut rows = Rows::new();
        match &mut workbook {
            Sheets::Xlsx(xlsx) => read_streamed(xlsx, name, &mut rows, sink)?,
            other => read_whole(other, name, &mut rows, sink)?,
        }
        rows.end_row(sink);
        sink.push("\n");
    }
    Ok(Description {
        kind: "spreadsheet",
        extent: Some(counted(names.len(), "sheet")),
    })
}

/// (The library's own guess of the format tries each, and says nothing of why none will do.)
fn open(document: &[u8], format: SheetFormat) -> Result<Sheets<Cursor<&[u8]>>, Error> {
    let bytes = Cursor::new(document);
    Ok(match format {
        SheetFormat::Xlsx => Sheets::Xlsx(Xlsx::new(bytes)?),
        SheetFormat::Xlsb => Sheets::Xlsb(Xlsb::new(bytes)?),
        SheetFormat::Ods => Sheets::Ods(Ods::new(bytes)?),
        SheetFormat::Xls => Sheets::Xls(Xls::new(bytes)?),
    })
}

/// Cell by cell: a sheet with one cell at either end is not the rectangle between.
fn read_streamed<Bytes: Read + Seek>(
    workbook: &mut Xlsx<Bytes>,
    name: &str,
    rows: &mut Rows,
    sink: &mut TextSink,
) -> Result<(), Refusal> {
    let damaged = |_| Refusal::damaged("spreadsheet");
    let mut cells = workbook.worksheet_cells_reader(name).map_err(damaged)?;
    let mut unreadable = 0;
    loop {
        match cells.next_cell() {
            Ok(None) => break,
            Ok(Some(_)) if sink.is_full() => return Ok(()),
            Ok(Some(cell)) => rows.cell(cell.get_position(), cell.get_value(), sink),
            // The sheet itself is broken.
            Err(XlsxError::Io(_) | XlsxError::Zip(_) | XlsxError::Xml(_) | XlsxError::XmlEof(_)) => {
                if rows.is_empty {
                    return Err(Refusal::damaged("spreadsheet"));
                }
                rows.end_row(sink);
                sink.push("[the rest of this sheet cannot be read]\n");
                break;
            }
            // A value that is none, such as an error that the library does not know (`#SPILL!`): the next cell may be well.
            Err(_) => unreadable += 1,
        }
    }
    if unreadable > 0 {
        rows.end_row(sink);
        let cells = counted(unreadable, "cell");
        sink.push(&format!("[{cells} of this sheet left out: no value that is known]\n"));
    }
    Ok(())
}

fn read_whole<Bytes: Read + Seek + Clone>(
    workbook: &mut Sheets<Bytes>,
    name: &str,
    rows: &mut Rows,
    sink: &mut TextSink,
) -> Result<(), Refusal> {
    let range = workbook
        .worksheet_range(name)
        .map_err(|_| Refusal::damaged("spreadsheet"))?;
    let (first_row, first_column) = range.start().unwrap_or_default();
    for (row, column, value) in range.used_cells() {
        if sink.is_full() {
            return Ok(());
        }
        let position = (first_row + row as u32, first_column + column as u32);
        rows.cell(position, &borrowed(value), sink);
    }
    Ok(())
}

fn borrowed(value: &Data) -> DataRef<'_> {
    match value {
        Data::Int(number) => DataRef::Int(*number),
        Data::Float(number) => DataRef::Float(*number),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => DataRef::SharedString(text),
        Data::Bool(value) => DataRef::Bool(*value),
        Data::DateTime(time) => DataRef::DateTime(*time),
        Data::Error(error) => DataRef::Error(error.clone()),
        Data::Empty => DataRef::Empty,
    }
}

/// Puts cells into rows. Empty rows are left out.
struct Rows {
    /// There was no cell yet.
    is_empty: bool,
    row: Option<u32>,
    next_column: u32,
    line: String,
}

impl Rows {
    const fn new() -> Self {
        Self {
            is_empty: true,
            row: None,
            next_column: 0,
            line: String::new(),
        }
    }

    fn cell(&mut self, (row, column): (u32, u32), value: &DataRef<'_>, sink: &mut TextSink) {
        if *value == DataRef::Empty || column >= MAX_COLUMNS {
            return;
        }
        self.is_empty = false;
        if self.row != Some(row) {
            self.end_row(sink);
            self.row = Some(row);
        }
        while self.next_column < column {
            self.line.push(',');
            self.next_column += 1;
        }
        self.write(value);
    }

    fn end_row(&mut self, sink: &mut TextSink) {
        if self.row.take().is_some() {
            self.line.push('\n');
            sink.push(&self.line);
        }
        self.line.clear();
        self.next_column = 0;
    }

    fn write(&mut self, value: &DataRef<'_>) {
        // Writing to a string does not fail.
        let _ = match value {
            DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => self.quoted(text),
            DataRef::SharedString(text) => self.quoted(text),
            DataRef::Int(number) => write!(self.line, "{number}"),
            DataRef::Float(number) => write!(self.line, "{number}"),
            DataRef::Bool(value) => write!(self.line, "{value}"),
            DataRef::DateTime(time) => self.time(time),
            DataRef::Error(error) => write!(self.line, "{error}"),
            DataRef::Empty => Ok(()),
        };
    }

    fn quoted(&mut self, text: &str) -> std::fmt::Result {
        if text.contains([',', '"', '\n', '\r']) {
            write!(self.line, "\"{}\"", text.replace('"', "\"\""))
        } else {
            self.line.write_str(text)
        }
    }

    fn time(&mut self, time: &ExcelDateTime) -> std::fmt::Result {
        if time.is_duration() {
            let seconds = (time.as_f64() * 86_400.0).round() as i64;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            return write!(self.line, "{hours}:{minutes:02}:{:02}", seconds % 60);
        }
        let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
        write!(self.line, "{year:04}-{month:02}-{day:02}")?;
        if (hour, minute, second) == (0, 0, 0) {
            return Ok(());
        }
        write!(self.line, " {hour:02}:{minute:02}:{second:02}")
    }
}
