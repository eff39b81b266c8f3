//! Files, as the document describes them.

use serde::Deserialize;
use utoipa::ToSchema;

/// An uploaded file.
#[derive(Deserialize, ToSchema)]
pub(super) struct File {
    /// `file_…`.
    id: String,
    /// Always `file`.
    object: String,
    /// What its owner calls it.
    filename: String,
    /// How many it has.
    bytes: u64,
    /// What it is: by its content if that shows it, else as it was uploaded.
    media_type: String,
    /// SHA-256 of its bytes, in hexadecimal digits.
    sha256: String,
    /// What its owner says that it is for.
    #[schema(required)]
    purpose: Option<String>,
    /// RFC 3339, UTC.
    #[schema(format = DateTime)]
    created_at: String,
}

/// A part of a list of files.
#[derive(Deserialize, ToSchema)]
pub(super) struct FilePage {
    /// Newest first.
    data: Vec<File>,
    /// Whether there are more.
    has_more: bool,
    /// Goes in `cursor` for the next page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// A form with a file.
#[derive(Deserialize, ToSchema)]
pub(super) struct FileForm {
    /// The file, with a filename.
    #[schema(format = Binary)]
    file: String,
    /// What it is for: 1 to 64 letters, digits, `-` or `_`. Kept and shown, nothing else.
    purpose: Option<String>,
}
