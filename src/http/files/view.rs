//! A file as clients see it.

use actix_web::http::header;
use actix_web::{HttpResponse, HttpResponseBuilder};
use callboard_actors::ids::FileId;
use callboard_actors::ports::files::FileRecord;
use callboard_actors::time::Timestamp;
use serde::Serialize;

/// A file.
#[derive(Debug, Serialize)]
pub(super) struct FileView {
    id: FileId,
    object: &'static str,
    filename: String,
    bytes: u64,
    media_type: String,
    sha256: String,
    purpose: Option<String>,
    created_at: Timestamp,
}

impl From<FileRecord> for FileView {
    fn from(file: FileRecord) -> Self {
        Self {
            id: file.id,
            object: "file",
            filename: file.filename,
            bytes: file.bytes,
            media_type: file.media_type,
            sha256: file.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            purpose: file.purpose,
            created_at: file.created_at,
        }
    }
}

impl FileView {
    /// The answer that shows it.
    pub(super) fn answer(file: FileRecord, mut response: HttpResponseBuilder) -> HttpResponse {
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .json(Self::from(file))
    }
}

/// The path of a file.
pub(super) fn file_path(file: FileId) -> String {
    format!("/api/v1/files/{file}")
}
