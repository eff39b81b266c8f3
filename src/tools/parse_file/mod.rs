//! `parse_file`: the text of an uploaded document.
//!
//! The reading is done by a process of its own for each document ([`process`]; the other side is [`worker`]), so that a document that is
//! broken, hostile or slow costs that process and nothing else: neither memory of the server, nor one of its threads, nor anybody's stream.

mod process;
mod protocol;
pub mod worker;

use std::sync::Arc;

use async_trait::async_trait;
use callboard_actors::ids::{AccountId, FileId};
use callboard_actors::ports::files::FileRecord;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::files::{FileError, FileService};
pub use process::{DocumentLimits, DocumentReader, ReadError};
use protocol::Extracted;
pub use protocol::{PageRange, ReadRequest};

/// What is said around the text, at most.
const BYTES_AROUND: usize = 2048;

/// The longest name of a sheet that anybody asks for.
const MAX_SHEET_BYTES: usize = 256;

/// The tool.
pub struct ParseFile {
    files: FileService,
    documents: DocumentReader,
    max_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    file_id: String,
    pages: Option<String>,
    sheet: Option<String>,
    #[serde(default)]
    offset: u64,
    max_chars: Option<u64>,
}

impl ParseFile {
    /// Reads these files. An answer has at most `max_output` bytes: more would be cut elsewhere, without a word on how to go on.
    pub fn new(files: FileService, documents: DocumentReader, max_output: usize) -> Self {
        Self {
            files,
            documents,
            max_bytes: max_output.saturating_sub(BYTES_AROUND).max(1),
        }
    }

    async fn record(&self, call: &ToolCall, file: &str) -> Result<FileRecord, ToolError> {
        let unknown = || ToolError::new("there is no file with this id");
        let id: FileId = file.parse().map_err(|_| unknown())?;
        let found = self.files.file(&call.account, id).await.map_err(|error| {
            tracing::warn!(run_id = %call.run_id, %error, "the store did not say what a file is");
            unavailable()
        })?;
        found.ok_or_else(unknown)
    }
}

#[async_trait]
impl Tool for ParseFile {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "parse_file".into(),
            description: "The text of an uploaded file: PDF, Word (DOCX), Excel (XLSX, XLSB, XLS) and OpenDocument sheets, CSV, HTML, JSON, \
                          Markdown or plain text. Long texts come in parts: the end says how to go on."
                .into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "file_id": {"type": "string", "description": "file_…"},
                    "pages": {"type": "string", "description": "only these pages of a PDF, such as \"3\" or \"3-7\""},
                    "sheet": {"type": "string", "description": "only the sheet of this name"},
                    "offset": {"type": "integer", "minimum": 0, "description": "leave out so many characters at the beginning"},
                    "max_chars": {"type": "integer", "minimum": 1, "description": "at most so many characters"}
                },
                "required": ["file_id"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    fn places(&self, account: &AccountId) -> Vec<Arc<Semaphore>> {
        self.documents.places(account)
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let arguments: Arguments = super::arguments(call.arguments.clone())?;
        let pages = arguments.pages.as_deref().map(read_pages).transpose()?;
        if arguments
            .sheet
            .as_ref()
            .is_some_and(|sheet| sheet.len() > MAX_SHEET_BYTES)
        {
            return Err(ToolError::new("no sheet has so long a name"));
        }
        let file = self.record(&call, &arguments.file_id).await?;
        let limit = self.documents.limits().max_bytes;
        if file.bytes > limit {
            return Err(ToolError::new(format!(
                "the file has {} bytes; documents are read up to {limit}",
                file.bytes
            )));
        }
        let until = Instant::now() + self.documents.limits().timeout;
        let opening = tokio::time::timeout_at(until, self.files.contents(&file)).await;
        let opened = opening.map_err(|_elapsed| {
            tracing::warn!(run_id = %call.run_id, "the storage did not begin to give a file in time");
            unavailable()
        })?;
        let contents = opened.map_err(|error| match error {
            FileError::Unknown => ToolError::new("there is no file with this id"),
            FileError::Lost => unavailable(),
            error => {
                tracing::warn!(run_id = %call.run_id, %error, "a file could not be read");
                unavailable()
            }
        })?;
        let request = ReadRequest {
            pages,
            sheet: arguments.sheet,
            offset: arguments.offset,
            max_chars: arguments.max_chars.unwrap_or(u64::MAX).max(1),
            max_bytes: self.max_bytes as u64,
        };
        match self.documents.read(contents, &request, until).await {
            Ok(extracted) => Ok(shown(&file, &request, &extracted)),
            Err(ReadError::Document(message)) => Err(ToolError::new(message)),
            Err(error) => {
                tracing::warn!(run_id = %call.run_id, %error, "a document could not be read");
                Err(unavailable())
            }
        }
    }
}

fn unavailable() -> ToolError {
    ToolError::new("the file cannot be read at the moment; try again later")
}

fn shown(file: &FileRecord, request: &ReadRequest, extracted: &Extracted) -> String {
    let Extracted { head, text } = extracted;
    let extent = head
        .extent
        .as_ref()
        .map(|extent| format!(", {extent}"))
        .unwrap_or_default();
    let mut shown = format!("{} ({}{extent})\n\n{text}", file.filename, head.kind);
    if let Some(offset) = head.next_offset {
        shown.push_str(&format!("\n[there is more: go on with offset {offset}]"));
    } else if text.trim().is_empty() && request.offset > 0 && head.characters > 0 {
        let characters = head.characters;
        shown.push_str(&format!(
            "[there is nothing more: the text has {characters} characters]"
        ));
    } else if text.trim().is_empty() {
        shown.push_str("[there is no text in it]");
    }
    shown
}

/// `3` or `3-7`.
fn read_pages(text: &str) -> Result<PageRange, ToolError> {
    let wrong = || ToolError::new("pages must be a number such as \"3\", or a range such as \"3-7\", counted from 1");
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|number| *number > 0);
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = PageRange {
        first: number(first).ok_or_else(wrong)?,
        last: number(last).ok_or_else(wrong)?,
    };
    if range.first > range.last {
        return Err(wrong());
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_one_or_a_range() {
        let range = |first, last| Ok(PageRange { first, last });
        assert_eq!(read_pages("3"), range(3, 3));
        assert_eq!(read_pages("3 - 7"), range(3, 7));
        for wrong in ["", "0", "7-3", "1-", "a", "1,2", "-1"] {
            assert!(read_pages(wrong).is_err(), "{wrong}");
        }
    }
}
