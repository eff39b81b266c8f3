//! The paths of threads.

use utoipa::openapi::ResponseBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem};
use utoipa::openapi::schema::Type;

use super::operation::{api_operation, count, header_of, json_request, json_response, query_text, thread_id};
use super::paths::{CURSOR, LIMIT, starts_run};
use super::request_schemas::{ThreadRequest, ThreadRunRequest};
use super::thread_schemas::{Thread, ThreadItemPage, ThreadPage};
use crate::http::error::ErrorCode;

pub(super) const THREADS: &str = "threads";

/// Each path with its operations.
pub(super) fn thread_paths() -> Vec<(&'static str, PathItem)> {
    let mut threads = PathItem::new(HttpMethod::Get, list_threads().build());
    threads.merge_operations(PathItem::new(HttpMethod::Post, create_thread().build()));
    let mut thread = PathItem::new(HttpMethod::Get, get_thread().build());
    thread.merge_operations(PathItem::new(HttpMethod::Delete, delete_thread().build()));
    vec![
        ("/api/v1/threads", threads),
        ("/api/v1/threads/{id}", thread),
        (
            "/api/v1/threads/{id}/items",
            PathItem::new(HttpMethod::Get, list_items().build()),
        ),
        (
            "/api/v1/threads/{id}/runs",
            PathItem::new(HttpMethod::Post, create_run().build()),
        ),
    ]
}

fn create_thread() -> OperationBuilder {
    let errors = [
        ErrorCode::InvalidJson,
        ErrorCode::InvalidUtf8,
        ErrorCode::EmptyBody,
        ErrorCode::InvalidType,
        ErrorCode::UnknownField,
        ErrorCode::MissingField,
        ErrorCode::DuplicateField,
        ErrorCode::InvalidValue,
        ErrorCode::UnknownFile,
        ErrorCode::InvalidImage,
        ErrorCode::RequestTimeout,
        ErrorCode::BodyTooLarge,
        ErrorCode::UnsupportedMediaType,
    ];
    api_operation("createThread", THREADS, "Begins a thread", &errors)
        .request_body(Some(json_request::<ThreadRequest>()))
        .response(
            "201",
            json_response::<Thread>("The thread is durable")
                .header("Location", header_of("The thread's path", Type::String)),
        )
}

fn list_threads() -> OperationBuilder {
    let summary = "Lists threads, newest first";
    api_operation("listThreads", THREADS, summary, &[ErrorCode::InvalidCursor])
        .parameter(count("limit", 1, LIMIT))
        .parameter(query_text("cursor", CURSOR))
        .response("200", json_response::<ThreadPage>("Threads"))
}

fn get_thread() -> OperationBuilder {
    api_operation("getThread", THREADS, "Shows a thread", &[ErrorCode::ThreadNotFound])
        .parameter(thread_id())
        .response("200", json_response::<Thread>("The thread"))
}

fn delete_thread() -> OperationBuilder {
    let summary = "Deletes a thread and cancels its runs that have not ended; its runs stay, as runs";
    api_operation("deleteThread", THREADS, summary, &[ErrorCode::ThreadNotFound])
        .parameter(thread_id())
        .response("204", ResponseBuilder::new().description("It is gone"))
}

fn list_items() -> OperationBuilder {
    let errors = [ErrorCode::InvalidCursor, ErrorCode::ThreadNotFound];
    let summary = "Lists what was said in a thread, each item with its run";
    api_operation("listThreadItems", THREADS, summary, &errors)
        .parameter(thread_id())
        .parameter(count("limit", 1, LIMIT))
        .parameter(query_text("cursor", CURSOR))
        .response(
            "200",
            json_response::<ThreadItemPage>("Items in the order of the conversation"),
        )
}

fn create_run() -> OperationBuilder {
    let summary = "Starts a run that goes on with the thread, or queues it";
    let errors = [ErrorCode::ThreadNotFound, ErrorCode::ThreadBusy];
    starts_run::<ThreadRunRequest>("createThreadRun", THREADS, summary, &errors).parameter(thread_id())
}
