//! What the server and the process that reads a document say to each other.
//!
//! In: a line of JSON ([`Assignment`]), then the document's bytes, to the end. Out: a line of JSON ([`Answer`]), then the text, to the end.

use serde::{Deserialize, Serialize};

/// The longest line of JSON, bytes.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;

/// What of a document is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// Only these pages, of a document that has some.
    pub pages: Option<PageRange>,
    /// Only this sheet, of a document that has some.
    pub sheet: Option<String>,
    /// Characters to leave out at the beginning.
    pub offset: u64,
    /// Characters at most.
    pub max_chars: u64,
    /// Bytes at most.
    pub max_bytes: u64,
}

/// Pages, counted from 1, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

/// What the process is to do, and what it may use.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) request: ReadRequest,
    /// Bytes of the document at most.
    pub(super) max_document_bytes: u64,
    /// Bytes of address space.
    pub(super) max_memory_bytes: u64,
    /// Seconds of CPU time.
    pub(super) max_cpu_seconds: u64,
}

/// What the process found.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// The text follows.
    Text(Head),
    /// It cannot be read: a sentence for whoever asked.
    Refused(String),
}

/// What is known of a document beside its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    /// What it is, such as `PDF`.
    pub(super) kind: String,
    /// How much it is, such as `12 pages`.
    pub(super) extent: Option<String>,
    /// How many characters it has, up to the end of what was wanted.
    pub(super) characters: u64,
    /// Where the text that was left out at the end begins.
    pub(super) next_offset: Option<u64>,
}

/// A document's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    pub(super) head: Head,
    pub(super) text: String,
}
