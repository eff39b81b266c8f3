//! The pieces of an operation: what each has, so that `paths` says only what is special.

use std::collections::BTreeMap;

use utoipa::ToSchema;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, Header, Ref, RefOr, Required, Response, ResponseBuilder};

use super::run_schemas::ErrorAnswer;
use crate::http::error::{ErrorCode, ErrorKind};

/// The name of the security scheme.
pub(super) const BEARER: &str = "api_key";

/// What any endpoint below `/api/v1` may answer.
const ERRORS_OF_ALL: &[ErrorCode] = &[
    ErrorCode::UnknownParameter,
    ErrorCode::InvalidParameter,
    ErrorCode::MissingApiKey,
    ErrorCode::InvalidApiKey,
    ErrorCode::RevokedApiKey,
    ErrorCode::HostNotAllowed,
    ErrorCode::OriginNotAllowed,
    ErrorCode::RateLimited,
    ErrorCode::StoreUnavailable,
    ErrorCode::Internal,
];

/// An operation below `/api/v1`: needs a key, if the server has any.
pub(super) fn api_operation(name: &str, tag: &str, summary: &str, errors: &[ErrorCode]) -> OperationBuilder {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in ERRORS_OF_ALL.iter().chain(errors) {
        by_status.entry(code.status().as_u16()).or_default().push(*code);
    }
    let nobody = SecurityRequirement::default();
    let key = SecurityRequirement::new(BEARER, Vec::<String>::new());
    let operation = open_operation(name, tag, summary).securities(Some([key, nobody]));
    by_status.into_iter().fold(operation, |operation, (status, codes)| {
        operation.response(status.to_string(), error_response(&codes))
    })
}

/// An operation that asks nobody who they are.
pub(super) fn open_operation(name: &str, tag: &str, summary: &str) -> OperationBuilder {
    OperationBuilder::new()
        .operation_id(Some(name))
        .tag(tag)
        .summary(Some(summary))
        .securities(Some(Vec::<SecurityRequirement>::new()))
}

/// The answer with any of these codes, which share a status.
pub(super) fn error_response(codes: &[ErrorCode]) -> Response {
    let names: Vec<String> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
    let mut response = ResponseBuilder::new()
        .description(names.join(", "))
        .content("application/json", json_of::<ErrorAnswer>());
    if codes.iter().any(|code| code.retry_after_seconds().is_some()) {
        response = response.header(
            "Retry-After",
            header_of("Seconds after which asking again makes sense", Type::Integer),
        );
    }
    if codes.iter().any(|code| code.kind() == ErrorKind::Authentication) {
        response = response.header("WWW-Authenticate", header_of("`Bearer`", Type::String));
    }
    if codes.contains(&ErrorCode::QuotaExceeded) {
        let meaning = "`false` with `quota_exceeded`: a client should not retry by itself";
        response = response.header("x-should-retry", header_of(meaning, Type::String));
    }
    response.build()
}

/// A JSON answer with this schema.
pub(super) fn json_response<Body: ToSchema>(description: &str) -> ResponseBuilder {
    ResponseBuilder::new()
        .description(description)
        .content("application/json", json_of::<Body>())
}

/// A body with this schema.
pub(super) fn json_of<Body: ToSchema>() -> Content {
    Content::new(Some(RefOr::<Schema>::Ref(Ref::from_schema_name(Body::name()))))
}

/// A body of a request with this schema, which must be there.
pub(super) fn json_request<Body: ToSchema>() -> RequestBody {
    RequestBodyBuilder::new()
        .content("application/json", json_of::<Body>())
        .required(Some(Required::True))
        .build()
}

/// A body that is a JSON Merge Patch, whichever of the two media types it has.
pub(super) fn merge_patch_request<Body: ToSchema>() -> RequestBody {
    RequestBodyBuilder::new()
        .content("application/json", json_of::<Body>())
        .content("application/merge-patch+json", json_of::<Body>())
        .required(Some(Required::True))
        .build()
}

/// A text of another kind than JSON.
pub(super) fn text() -> Content {
    Content::new(Some(plain(Type::String)))
}

/// A response header.
pub(super) fn header_of(description: &str, kind: Type) -> Header {
    HeaderBuilder::new()
        .schema(Some(plain(kind)))
        .description(Some(description))
        .build()
}

/// `{id}` of a path that names an agent.
pub(super) fn agent_id() -> Parameter {
    id_of("The agent's id, `agt_…`")
}

/// The same of a file.
pub(super) fn file_id() -> Parameter {
    id_of("The file's id, `file_…`")
}

/// The same of a thread.
pub(super) fn thread_id() -> Parameter {
    parameter("id", ParameterIn::Path, plain(Type::String), "The thread's id, `thr_…`")
        .required(Required::True)
        .build()
}

/// The same of a run.
pub(super) fn run_id() -> Parameter {
    id_of("The run's id, `run_…`")
}

fn id_of(description: &str) -> Parameter {
    parameter("id", ParameterIn::Path, plain(Type::String), description)
        .required(Required::True)
        .build()
}

/// A query parameter that is a whole number from `least`.
pub(super) fn count(name: &str, least: u32, description: &str) -> Parameter {
    let schema = ObjectBuilder::new()
        .schema_type(SchemaType::new(Type::Integer))
        .minimum(Some(least));
    parameter(name, ParameterIn::Query, schema.into(), description).build()
}

/// A query parameter that is a text.
pub(super) fn query_text(name: &str, description: &str) -> Parameter {
    parameter(name, ParameterIn::Query, plain(Type::String), description).build()
}

/// A query parameter with a schema of the document.
pub(super) fn query_of<Value: ToSchema>(name: &str, description: &str) -> Parameter {
    let schema = RefOr::Ref(Ref::from_schema_name(Value::name()));
    parameter(name, ParameterIn::Query, schema, description).build()
}

/// A request header that is a text.
pub(super) fn request_header(name: &str, kind: Type, description: &str) -> Parameter {
    parameter(name, ParameterIn::Header, plain(kind), description).build()
}

fn parameter(name: &str, place: ParameterIn, schema: RefOr<Schema>, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(Required::False)
        .description(Some(description))
        .schema(Some(schema))
}

fn plain(kind: Type) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(SchemaType::new(kind)).into()
}
