//! The paths of files.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Required, ResponseBuilder};

use super::file_schemas::{File, FileForm, FilePage};
use super::operation::{api_operation, count, file_id, header_of, json_of, json_response, query_text, text};
use super::paths::{CURSOR, LIMIT};
use crate::http::error::ErrorCode;

pub(super) const FILES: &str = "files";

/// Each path with its operations.
pub(super) fn file_paths() -> Vec<(&'static str, PathItem)> {
    let item = |method, operation: OperationBuilder| PathItem::new(method, operation.build());
    let mut files = item(HttpMethod::Get, list_files());
    files.merge_operations(item(HttpMethod::Post, create_file()));
    let mut file = item(HttpMethod::Get, get_file());
    file.merge_operations(item(HttpMethod::Delete, delete_file()));
    vec![
        ("/api/v1/files", files),
        ("/api/v1/files/{id}", file),
        ("/api/v1/files/{id}/content", item(HttpMethod::Get, get_content())),
    ]
}

fn create_file() -> OperationBuilder {
    let errors = [
        ErrorCode::InvalidMultipart,
        ErrorCode::UnknownField,
        ErrorCode::MissingField,
        ErrorCode::DuplicateField,
        ErrorCode::InvalidValue,
        ErrorCode::RequestTimeout,
        ErrorCode::FileTooLarge,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::FileQuotaExceeded,
        ErrorCode::TooManyUploads,
        ErrorCode::TooManyAccountUploads,
        ErrorCode::FilesUnavailable,
    ];
    let body = RequestBodyBuilder::new()
        .content("multipart/form-data", json_of::<FileForm>())
        .content("application/octet-stream", text())
        .required(Some(Required::True))
        .build();
    let created =
        json_response::<File>("The file is durable").header("Location", header_of("The file's path", Type::String));
    api_operation("createFile", FILES, "Uploads a file", &errors)
        .parameter(query_text(
            "filename",
            "What the file is called; only where the body is the file itself",
        ))
        .parameter(query_text(
            "purpose",
            "What it is for; only where the body is the file itself",
        ))
        .request_body(Some(body))
        .response("201", created)
}

fn list_files() -> OperationBuilder {
    let errors = [ErrorCode::InvalidCursor];
    api_operation("listFiles", FILES, "Lists files, newest first", &errors)
        .parameter(count("limit", 1, LIMIT))
        .parameter(query_text("cursor", CURSOR))
        .response("200", json_response::<FilePage>("Files"))
}

fn get_file() -> OperationBuilder {
    api_operation(
        "getFile",
        FILES,
        "Shows what is known of a file",
        &[ErrorCode::FileNotFound],
    )
    .parameter(file_id())
    .response("200", json_response::<File>("The file"))
}

fn get_content() -> OperationBuilder {
    let errors = [
        ErrorCode::FileNotFound,
        ErrorCode::TooManyDownloads,
        ErrorCode::TooManyAccountDownloads,
        ErrorCode::FilesUnavailable,
    ];
    let answer = ResponseBuilder::new()
        .description("The file's bytes, with its media type, as an attachment")
        .content("application/octet-stream", text());
    api_operation("getFileContent", FILES, "Downloads a file", &errors)
        .parameter(file_id())
        .response("200", answer)
}

fn delete_file() -> OperationBuilder {
    api_operation("deleteFile", FILES, "Deletes a file", &[ErrorCode::FileNotFound])
        .parameter(file_id())
        .response("204", ResponseBuilder::new().description("It is gone"))
}
