//! Every path, with what it takes and what it answers.

use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::ResponseBuilder;
use utoipa::openapi::path::{HttpMethod, OperationBuilder, PathItem, Paths, PathsBuilder};
use utoipa::openapi::schema::Type;
use utoipa::openapi::tag::{Tag, TagBuilder};

use super::agent_paths::{AGENTS, agent_paths};
use super::event_schemas::EventPage;
use super::file_paths::{FILES, file_paths};
use super::model_schemas::{Budget, ModelKeys, Models};
use super::operation::{
    api_operation, count, error_response, header_of, json_of, json_request, json_response, open_operation, query_of,
    query_text, request_header, run_id, text,
};
use super::request_schemas::RunRequest;
use super::run_schemas::{ItemPage, Run, RunPage, RunState};
use super::server_schemas::{Capacity, Cluster, Health, ReadinessAnswer};
use super::thread_paths::{THREADS, thread_paths};
use super::tool_schemas::{Approvals, Reviews, ToolOutputs};
use super::usage_schemas::AccountUsage;
use crate::http::error::ErrorCode;

const RUNS: &str = "runs";
const MODELS: &str = "models";
const USAGE: &str = "usage";
const SERVER: &str = "server";

pub(super) const LIMIT: &str = "Entries of the page; within `server.page_maximum`";
pub(super) const CURSOR: &str = "`next_cursor` of the page before";

/// What the operations are grouped by.
pub(super) fn tags() -> Vec<Tag> {
    let tag = |name: &str, description: &str| TagBuilder::new().name(name).description(Some(description)).build();
    vec![
        tag(RUNS, "Start runs, watch them, read them, end them"),
        tag(AGENTS, "Settings of runs under a name, in versions"),
        tag(
            THREADS,
            "Conversations: runs one after the other, each with what was said before",
        ),
        tag(FILES, "Upload files, for runs to read and show to models"),
        tag(MODELS, "Which models there are, and how their providers are"),
        tag(USAGE, "What accounts have used and may use"),
        tag(SERVER, "How the server is"),
    ]
}

/// All paths.
pub(super) fn paths() -> Paths {
    let get = |operation: OperationBuilder| PathItem::new(HttpMethod::Get, operation.build());
    let post = |operation: OperationBuilder| PathItem::new(HttpMethod::Post, operation.build());
    let mut runs = get(list_runs());
    runs.merge_operations(PathItem::new(HttpMethod::Post, create_run().build()));
    let mut paths = PathsBuilder::new();
    let of_others = agent_paths().into_iter().chain(thread_paths()).chain(file_paths());
    for (path, item) in of_others {
        paths = paths.path(path, item);
    }
    paths
        .path("/api/v1/runs", runs)
        .path("/api/v1/runs/{id}", get(get_run()))
        .path("/api/v1/runs/{id}/events", get(get_events()))
        .path("/api/v1/runs/{id}/items", get(list_items()))
        .path("/api/v1/runs/{id}/cancel", post(cancel_run()))
        .path("/api/v1/runs/{id}/tool_outputs", post(post_tool_outputs()))
        .path("/api/v1/runs/{id}/approvals", post(post_approvals()))
        .path("/api/v1/runs/{id}/review", post(post_review()))
        .path("/api/v1/models", get(get_models()))
        .path("/api/v1/models/keys", get(get_model_keys()))
        .path("/api/v1/budget", get(get_budget()))
        .path("/api/v1/usage", get(get_usage()))
        .path("/api/v1/capacity", get(get_capacity()))
        .path("/api/v1/cluster", get(get_cluster()))
        .path("/healthz", get(healthz()))
        .path("/readyz", get(readyz()))
        .path("/metrics", get(metrics()))
        .path("/openapi.json", get(document()))
        .build()
}

fn create_run() -> OperationBuilder {
    starts_run::<RunRequest>("createRun", RUNS, "Starts a run, or queues it", &[])
}

/// A run that this body starts. `more` are errors beside those of every start.
pub(super) fn starts_run<Body: ToSchema>(name: &str, tag: &str, summary: &str, more: &[ErrorCode]) -> OperationBuilder {
    let mut errors = vec![
        ErrorCode::InvalidJson,
        ErrorCode::InvalidUtf8,
        ErrorCode::EmptyBody,
        ErrorCode::InvalidType,
        ErrorCode::UnknownField,
        ErrorCode::MissingField,
        ErrorCode::DuplicateField,
        ErrorCode::InvalidValue,
        ErrorCode::EmptyInput,
        ErrorCode::UnknownModel,
        ErrorCode::UnknownTool,
        ErrorCode::InvalidModelOption,
        ErrorCode::UnknownAgent,
        ErrorCode::UnknownFile,
        ErrorCode::InvalidImage,
        ErrorCode::FilesUnavailable,
        ErrorCode::InvalidIdempotencyKey,
        ErrorCode::TierNotConfigured,
        ErrorCode::RequestTimeout,
        ErrorCode::IdempotencyConflict,
        ErrorCode::EventsExpired,
        ErrorCode::BodyTooLarge,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::QuotaExceeded,
        ErrorCode::AtCapacity,
        ErrorCode::QueueFull,
        ErrorCode::ShuttingDown,
    ];
    errors.extend(more);
    let location = || header_of("The run's path", Type::String);
    let replayed = || header_of("`true` if the run was there before", Type::String);
    let created = json_response::<Run>(
        "The run is durable: running, or queued. With `stream: true`, its events from the first one on",
    )
    .content("text/event-stream", text())
    .header("Location", location())
    .header("x-run-id", header_of("The run's id; with `stream: true`", Type::String))
    .header("idempotent-replayed", replayed());
    let replay = json_response::<Run>("The run that this `Idempotency-Key` started before, as it is now")
        .header("Location", location())
        .header("idempotent-replayed", replayed());
    api_operation(name, tag, summary, &errors)
        .parameter(request_header(
            "Idempotency-Key",
            Type::String,
            "1 to 255 visible ASCII characters. The same key with the same body is the same run; with another body it is a conflict",
        ))
        .request_body(Some(json_request::<Body>()))
        .response("201", created)
        .response("200", replay)
}

fn list_runs() -> OperationBuilder {
    api_operation(
        "listRuns",
        RUNS,
        "Lists runs, newest first",
        &[ErrorCode::InvalidCursor, ErrorCode::ThreadNotFound],
    )
    .parameter(query_of::<RunState>("state", "Only runs in this state"))
    .parameter(query_text("thread", "Only runs of this thread"))
    .parameter(count("limit", 1, LIMIT))
    .parameter(query_text("cursor", CURSOR))
    .response("200", json_response::<RunPage>("Runs, without `output`"))
}

fn get_run() -> OperationBuilder {
    let wait = "Seconds to wait until the run has ended, or waits for tool outputs, an approval or a review; within `server.max_long_poll`";
    api_operation("getRun", RUNS, "Shows a run", &[ErrorCode::RunNotFound])
        .parameter(run_id())
        .parameter(count("wait", 0, wait))
        .response(
            "200",
            json_response::<Run>("The run; after `wait`, look at its `state`"),
        )
}

fn get_events() -> OperationBuilder {
    let errors = [
        ErrorCode::InvalidLastEventId,
        ErrorCode::LastEventIdBeyondEnd,
        ErrorCode::RunNotFound,
        ErrorCode::EventsExpired,
    ];
    let example = "id: 3\nevent: text.delta\ndata: {\"seq\":3,\"run_id\":\"run_01…\",\"at\":\"2026-11-23T09:00:00.000000Z\",\
        \"type\":\"text.delta\",\"item_id\":\"item_01…\",\"delta\":\"Hello \"}\n\n";
    let mut stream = text();
    stream.example = Some(json!(example));
    let answer = ResponseBuilder::new()
        .description(
            "The events above the named one: as a stream (`id` is the event's `seq`, `event` its `type`, `data` an `Event`), or with \
             `Accept: application/json` as a page of what there is now",
        )
        .content("text/event-stream", stream)
        .content("application/json", json_of::<EventPage>());
    api_operation(
        "getEvents",
        RUNS,
        "Streams a run's events, or shows a page of them",
        &errors,
    )
    .parameter(run_id())
    .parameter(request_header(
        "Last-Event-ID",
        Type::Integer,
        "The last `seq` that was seen; wins over `after`",
    ))
    .parameter(count("after", 0, "The last `seq` that was seen"))
    .parameter(count(
        "limit",
        1,
        "Events of a page; only with `Accept: application/json`",
    ))
    .response("200", answer)
    .response(
        "204",
        ResponseBuilder::new().description("The run has ended and all its events were seen: nothing more will come"),
    )
}

fn list_items() -> OperationBuilder {
    let errors = [ErrorCode::InvalidCursor, ErrorCode::RunNotFound];
    api_operation(
        "listItems",
        RUNS,
        "Lists a run's durable steps, its input first",
        &errors,
    )
    .parameter(run_id())
    .parameter(count("limit", 1, LIMIT))
    .parameter(query_text("cursor", CURSOR))
    .response(
        "200",
        json_response::<ItemPage>("Items in the order of the conversation"),
    )
}

fn cancel_run() -> OperationBuilder {
    let errors = [ErrorCode::RunNotFound, ErrorCode::CancelUnconfirmed];
    api_operation("cancelRun", RUNS, "Ends a run for good", &errors)
        .parameter(run_id())
        .response(
            "200",
            json_response::<Run>("The run, ended. One that had ended before is shown as it is"),
        )
}

fn post_tool_outputs() -> OperationBuilder {
    about_calls::<ToolOutputs>(
        "postToolOutputs",
        "Answers calls of the client's own tools; when all are answered the run goes on",
    )
}

fn post_approvals() -> OperationBuilder {
    about_calls::<Approvals>(
        "postApprovals",
        "Says yes or no to tool calls that need a person's approval",
    )
}

fn post_review() -> OperationBuilder {
    about_calls::<Reviews>(
        "postReview",
        "Says what is to be done about tool calls that were cut off and must not be repeated unasked",
    )
}

fn about_calls<Body: ToSchema>(id: &str, summary: &str) -> OperationBuilder {
    let errors = [
        ErrorCode::InvalidJson,
        ErrorCode::InvalidType,
        ErrorCode::InvalidValue,
        ErrorCode::MissingField,
        ErrorCode::UnknownField,
        ErrorCode::RunNotFound,
        ErrorCode::RunNotWaiting,
        ErrorCode::CallNotWaiting,
        ErrorCode::CallNeedsOther,
        ErrorCode::BodyTooLarge,
        ErrorCode::UnsupportedMediaType,
        ErrorCode::RequestTimeout,
    ];
    api_operation(id, RUNS, summary, &errors)
        .parameter(run_id())
        .request_body(Some(json_request::<Body>()))
        .response("200", json_response::<Run>("The run as it is then"))
}

fn get_models() -> OperationBuilder {
    let summary = "Lists the models that a run may name, and who answers them";
    api_operation("listModels", MODELS, summary, &[]).response("200", json_response::<Models>("All models"))
}

fn get_model_keys() -> OperationBuilder {
    let summary =
        "Shows how things stand with the providers' keys: what they allow, what is used of it, which are set aside";
    let errors = [ErrorCode::AdminRequired];
    api_operation("getModelKeys", MODELS, summary, &errors).response("200", json_response::<ModelKeys>("All keys"))
}

fn get_budget() -> OperationBuilder {
    let summary = "Shows what the account's model calls may use, have used and have left";
    api_operation("getBudget", USAGE, summary, &[]).response("200", json_response::<Budget>("The account's budget"))
}

fn get_usage() -> OperationBuilder {
    let summary = "Shows what the account has used";
    let groups = "`day`, `model`, `provider`, or some of them with commas between; `day,model` if nothing is said";
    api_operation("getUsage", USAGE, summary, &[])
        .parameter(query_text(
            "from",
            "The first day, in UTC; the first of the month that `to` is in if nothing is said",
        ))
        .parameter(query_text(
            "to",
            "The last day, at most 365 days later; today if nothing is said",
        ))
        .parameter(query_text("group_by", groups))
        .response("200", json_response::<AccountUsage>("Sums, and the sum of all"))
}

fn get_capacity() -> OperationBuilder {
    let summary = "Shows the limits, how they came about, and how much of them is used";
    api_operation("getCapacity", SERVER, summary, &[]).response("200", json_response::<Capacity>("Limits and use"))
}

fn get_cluster() -> OperationBuilder {
    let summary = "Shows the instances of this installation, how busy each is, and what they come to together";
    let errors = [ErrorCode::AdminRequired];
    api_operation("getCluster", SERVER, summary, &errors)
        .response("200", json_response::<Cluster>("Instances and totals"))
}

fn healthz() -> OperationBuilder {
    open_operation("getHealth", SERVER, "Whether the process answers")
        .response("200", json_response::<Health>("It does"))
}

fn readyz() -> OperationBuilder {
    open_operation("getReadiness", SERVER, "Whether new runs would be taken")
        .response(
            "200",
            json_response::<ReadinessAnswer>(
                "They would; with `degraded`, something is not as it should be all the same",
            ),
        )
        .response("503", json_response::<ReadinessAnswer>("They would not"))
}

fn metrics() -> OperationBuilder {
    let answer = ResponseBuilder::new()
        .description("The text format of Prometheus")
        .content("text/plain", text());
    let guarded = error_response(&[ErrorCode::HostNotAllowed, ErrorCode::OriginNotAllowed]);
    open_operation("getMetrics", SERVER, "Shows the metrics")
        .response("200", answer)
        .response("403", guarded)
}

fn document() -> OperationBuilder {
    let mut content = text();
    content.schema = None;
    let answer = ResponseBuilder::new()
        .description("An OpenAPI 3.1 document")
        .content("application/json", content);
    open_operation("getDocument", SERVER, "Shows this document").response("200", answer)
}
