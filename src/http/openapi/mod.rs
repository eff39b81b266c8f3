//! `GET /openapi.json`: this surface, for programs; and `/docs`, a page to browse it. Neither asks for a key.
//!
//! The schemas mirror the types that handlers read and write (`actors` knows no OpenAPI), the paths are put together in `paths`. A test
//! on a real server asks every path and compares real answers with the schemas.

mod agent_paths;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod agent_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod event_schemas;
mod file_paths;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod file_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod model_schemas;
mod operation;
mod page;
mod paths;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod request_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod run_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod server_schemas;
mod thread_paths;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod thread_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod tool_schemas;
#[expect(dead_code, reason = "these types exist for their schemas only")]
mod usage_schemas;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{self, ContentType};
use actix_web::web::{self, Bytes, ServiceConfig};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{Components, InfoBuilder, License, OpenApi as Document, OpenApiBuilder};

use super::error::ApiError;
use super::server::resource;

const DESCRIPTION: &str = "Post a run, watch it to its last event, lose nothing.\n\n\
    Requests are read strictly: an unknown field or query parameter is an error. Answers may get more fields later. Every answer has \
    the header `x-request-id`.\n\n\
    A server without API keys serves one local account and needs no authorization. With keys, *Authorize* with one (`ck_…`).\n\n\
    `/docs` cannot show an event stream while it grows: use `curl -N`.";

static JSON: LazyLock<Result<Bytes, serde_json::Error>> = LazyLock::new(|| document().to_json().map(Bytes::from));

/// Adds the document, the page, and the way there from the root.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        .service(resource("/", "GET").route(web::get().to(page::to_page)))
        .service(resource("/docs", "GET").route(web::get().to(page::to_page)))
        .service(resource("/docs/{file:.*}", "GET").route(web::get().to(page::get_file)))
        .service(resource("/openapi.json", "GET").route(web::get().to(get_document)));
}

/// Shows the document.
async fn get_document() -> Result<HttpResponse, ApiError> {
    let json = JSON.as_ref().map_err(|error| {
        tracing::error!(%error, "the document of the interface could not be written");
        ApiError::internal()
    })?;
    Ok(HttpResponse::Ok()
        .insert_header(ContentType::json())
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(json.clone()))
}

/// Collects the schemas, with all that they refer to.
#[derive(OpenApi)]
#[openapi(components(schemas(
    request_schemas::RunRequest,
    agent_schemas::AgentRequest,
    agent_schemas::AgentChange,
    agent_schemas::Agent,
    agent_schemas::AgentPage,
    request_schemas::ThreadRunRequest,
    request_schemas::ThreadRequest,
    thread_schemas::Thread,
    thread_schemas::ThreadPage,
    thread_schemas::ThreadItemPage,
    run_schemas::Run,
    run_schemas::RunPage,
    run_schemas::ItemPage,
    run_schemas::ErrorAnswer,
    run_schemas::ErrorCodeName,
    event_schemas::EventPage,
    file_schemas::File,
    file_schemas::FilePage,
    file_schemas::FileForm,
    model_schemas::Models,
    model_schemas::ModelKeys,
    model_schemas::Budget,
    tool_schemas::ToolOutputs,
    tool_schemas::Approvals,
    tool_schemas::Reviews,
    server_schemas::Capacity,
    server_schemas::Cluster,
    server_schemas::Health,
    server_schemas::ReadinessAnswer,
    usage_schemas::AccountUsage,
)))]
struct Schemas;

fn document() -> Document {
    let mut components = Schemas::openapi().components.unwrap_or_else(Components::new);
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description =
        Some("An API key: `callboard keys create` prints one. Not needed on a server without keys.".into());
    components.add_security_scheme(operation::BEARER, SecurityScheme::Http(bearer));
    let mut license = License::new("Apache-2.0 OR MIT");
    license.identifier = Some("Apache-2.0 OR MIT".into());
    let info = InfoBuilder::new()
        .title("Callboard")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .tags(Some(paths::tags()))
        .paths(paths::paths())
        .components(Some(components))
        .build()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::collections::BTreeSet;

    use callboard_actors::error::RunErrorCode;
    use callboard_actors::event;
    use callboard_actors::item::{ItemStatus, Role};
    use callboard_actors::ports::RetryClass;
    use callboard_actors::run_state::RunState;
    use callboard_actors::tool_use::{HttpMethod, OnDeadline};
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;
    use crate::http::error::DETAILS;

    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn everything_that_is_referred_to_is_there() {
        let json: Value = serde_json::from_slice(JSON.as_ref().unwrap()).unwrap();
        let mut found = Vec::new();
        references(&json, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(json.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let json: Value = serde_json::from_slice(JSON.as_ref().unwrap()).unwrap();
        let mut names = BTreeSet::new();
        for (path, item) in json["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let name = operation["operationId"].as_str().unwrap();
                assert!(names.insert(name), "{method} {path}: {name}");
                assert!(
                    operation["responses"].as_object().is_some_and(|all| !all.is_empty()),
                    "{name}"
                );
            }
        }
    }

    /// What serde takes for an enum of plain names, as it says when it meets another one.
    fn names_of<T: DeserializeOwned + std::fmt::Debug>() -> BTreeSet<String> {
        let refusal = serde_json::from_value::<T>("no such name".into())
            .unwrap_err()
            .to_string();
        let (_, expected) = refusal.split_once(", expected ").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn enums_have_the_names_that_the_server_has() {
        let json: Value = serde_json::from_slice(JSON.as_ref().unwrap()).unwrap();
        let of_server = [
            ("RunState", names_of::<RunState>()),
            ("RunErrorCode", names_of::<RunErrorCode>()),
            ("WaitingReason", names_of::<event::WaitingReason>()),
            ("WaitingNeed", names_of::<event::WaitingNeed>()),
            ("QueuedReason", names_of::<event::QueuedReason>()),
            ("ModelWaitingReason", names_of::<event::ModelWaitingReason>()),
            ("FinishReason", names_of::<event::FinishReason>()),
            ("OnDeadline", names_of::<OnDeadline>()),
            ("HttpMethod", names_of::<HttpMethod>()),
            ("RetryClass", names_of::<RetryClass>()),
            ("Role", names_of::<Role>()),
            ("ItemStatus", names_of::<ItemStatus>()),
        ];
        for (schema, names) in of_server {
            let described = json["components"]["schemas"][schema]["enum"].as_array();
            let described = described.unwrap_or_else(|| panic!("{schema} is no enum"));
            let described = described.iter().map(|name| name.as_str().unwrap().to_owned());
            assert_eq!(described.collect::<BTreeSet<_>>(), names, "{schema}");
        }
    }

    #[test]
    fn codes_of_failed_runs_are_in_the_documentation() {
        let documentation = include_str!("../../../docs/run-states.md");
        for code in names_of::<RunErrorCode>() {
            assert!(
                documentation.contains(&format!("| `{code}` | ")),
                "docs/run-states.md lacks {code}"
            );
        }
    }

    #[test]
    fn errors_have_the_details_that_the_server_gives() {
        let json: Value = serde_json::from_slice(JSON.as_ref().unwrap()).unwrap();
        let described = json["components"]["schemas"]["ErrorBody"]["properties"]
            .as_object()
            .unwrap();
        let of_all = ["code", "type", "message", "param", "request_id"];
        let names: BTreeSet<&str> = of_all.iter().chain(DETAILS).copied().collect();
        assert_eq!(described.keys().map(String::as_str).collect::<BTreeSet<_>>(), names);
    }

    #[test]
    fn every_event_of_the_vocabulary_is_described() {
        let json: Value = serde_json::from_slice(JSON.as_ref().unwrap()).unwrap();
        let variants = json["components"]["schemas"]["EventBody"]["oneOf"].as_array().unwrap();
        let described: Vec<&str> = variants
            .iter()
            .filter_map(|variant| variant["properties"]["type"]["enum"][0].as_str())
            .collect();
        let vocabulary = include_str!("../../../docs/http-api.md");
        assert_eq!(described.len(), 25);
        for kind in described {
            assert!(
                vocabulary.contains(&format!("| `{kind}` | ")),
                "{kind} is not in docs/http-api.md"
            );
        }
    }
}
