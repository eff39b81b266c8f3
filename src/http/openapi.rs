//! `/openapi.json`: the API in a machine's words, and the page to browse it.
//!
//! Written by hand as the JSON it is: requests are read field by field (so that every error names its field), which leaves no types for
//! a derive to read. Tests hold it against the routes and the table of error codes.

use actix_web::http::header;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::error_code::ErrorCode;

const DOCUMENT: &str = "/openapi.json";

/// The document, the page, and the way there from the root.
pub(super) fn configure(config: &mut ServiceConfig) {
    let to_page = || async {
        HttpResponse::Found()
            .insert_header((header::LOCATION, "/docs/"))
            .finish()
    };
    config
        .service(super::server::resource(DOCUMENT, "GET").route(web::get().to(get_document)))
        .service(super::server::resource("/", "GET").route(web::get().to(to_page)))
        .service(super::server::resource("/docs", "GET").route(web::get().to(to_page)))
        .service(SwaggerUi::new("/docs/{_:.*}").config(Config::from(DOCUMENT)));
}

async fn get_document(_request: HttpRequest) -> HttpResponse {
    HttpResponse::Ok().json(document())
}

/// The whole document, OpenAPI 3.1.
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Callboard",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Post a run, watch it to its last event, lose nothing.",
            "license": {"name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT"}
        },
        "security": [{"apiKey": []}, {}],
        "tags": [{"name": "runs"}, {"name": "server"}],
        "paths": paths(),
        "components": {
            "securitySchemes": {"apiKey": {
                "type": "http", "scheme": "bearer",
                "description": "A key of `callboard keys create`. A server without keys asks for none."
            }},
            "schemas": schemas(),
            "responses": {"Error": {
                "description": "It was refused, and nothing was changed. The code says why.",
                "headers": {
                    "x-request-id": {"schema": {"type": "string"}},
                    "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds; where asking again may help."}
                },
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
            }}
        }
    })
}

fn paths() -> Value {
    json!({
        "/api/v1/runs": {
            "post": operation("runs", "createRun", "Start a run", json!({
                "parameters": [header_parameter("Idempotency-Key", "string", "The same key and body again is the same run.")],
                "requestBody": {"required": true, "content": {"application/json": {
                    "schema": {"$ref": "#/components/schemas/RunRequest"},
                    "example": {"input": "Hello", "model_options": {"simulate": {"tokens": 12}}}
                }}},
                "responses": {
                    "201": run_or_stream("The run is durable. With `stream`, the answer is its event stream."),
                    "200": run_or_stream("The same request came before: its run, with `Idempotent-Replayed: true`.")
                }
            })),
            "get": operation("runs", "listRuns", "Your runs, newest first", json!({
                "parameters": [
                    query("state", state_schema(), "Only runs in this state."),
                    query("limit", json!({"type": "integer", "minimum": 1}), "Runs of the page."),
                    query("cursor", json!({"type": "string"}), "`next_cursor` of the page before.")
                ],
                "responses": {"200": json_response("A page.", "RunList")}
            }))
        },
        "/api/v1/runs/{id}": {
            "get": operation("runs", "getRun", "A run", json!({
                "parameters": [
                    id_parameter(),
                    query("wait", json!({"type": "integer", "minimum": 0}), "Seconds to wait for its end.")
                ],
                "responses": {"200": json_response("The run.", "Run")}
            }))
        },
        "/api/v1/runs/{id}/items": {
            "get": operation("runs", "listItems", "A run's items, input first", json!({
                "parameters": [
                    id_parameter(),
                    query("limit", json!({"type": "integer", "minimum": 1}), "Items of the page."),
                    query("cursor", json!({"type": "string"}), "`next_cursor` of the page before.")
                ],
                "responses": {"200": json_response("A page.", "ItemList")}
            }))
        },
        "/api/v1/runs/{id}/events": {
            "get": operation("runs", "streamEvents", "A run's events, as they happen", json!({
                "parameters": [
                    id_parameter(),
                    header_parameter("Last-Event-ID", "integer", "Continue after this seq. Wins over `after`."),
                    query("after", json!({"type": "integer", "minimum": 0}), "Continue after this seq."),
                    query("limit", json!({"type": "integer", "minimum": 1}), "Events of a JSON page.")
                ],
                "responses": {
                    "200": {"description": "An event stream, or a page for clients that ask for JSON.", "content": {
                        "text/event-stream": {"schema": {"type": "string"}},
                        "application/json": {"schema": {"$ref": "#/components/schemas/EventList"}}
                    }},
                    "204": {"description": "The run has ended and all was read."}
                }
            }))
        },
        "/api/v1/runs/{id}/cancel": {
            "post": operation("runs", "cancelRun", "End a run; what was shown is kept", json!({
                "parameters": [id_parameter()],
                "responses": {"200": json_response("The run as it is now.", "Run")}
            }))
        },
        "/api/v1/capacity": {"get": operation("server", "getCapacity", "Limits, how they came about, and their use", json!({
            "responses": {"200": {"description": "How things stand.", "content": {"application/json": {"schema": {"type": "object"}}}}}
        }))},
        "/healthz": {"get": plain("healthz", "Alive", "text/plain")},
        "/readyz": {"get": plain("readyz", "Would take a run; 503 if not", "application/json")},
        "/metrics": {"get": plain("metrics", "Figures for Prometheus", "text/plain")}
    })
}

/// An operation with the answers that every one has.
fn operation(tag: &str, id: &str, summary: &str, mut rest: Value) -> Value {
    rest["tags"] = json!([tag]);
    rest["operationId"] = id.into();
    rest["summary"] = summary.into();
    rest["responses"]["default"] = json!({"$ref": "#/components/responses/Error"});
    rest
}

fn plain(id: &str, summary: &str, content_type: &str) -> Value {
    json!({
        "tags": ["server"], "operationId": id, "summary": summary, "security": [],
        "responses": {"200": {"description": summary, "content": {content_type: {}}}}
    })
}

fn json_response(description: &str, schema: &str) -> Value {
    let reference = format!("#/components/schemas/{schema}");
    json!({"description": description, "content": {"application/json": {"schema": {"$ref": reference}}}})
}

fn run_or_stream(description: &str) -> Value {
    let mut response = json_response(description, "Run");
    response["content"]["text/event-stream"] = json!({"schema": {"type": "string"}});
    response["headers"] = json!({
        "Location": {"schema": {"type": "string"}},
        "x-run-id": {"schema": {"type": "string"}, "description": "With `stream`."},
        "Idempotent-Replayed": {"schema": {"type": "string"}}
    });
    response
}

fn id_parameter() -> Value {
    json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string", "pattern": "^run_[0-9a-f]{32}$"}})
}

fn header_parameter(name: &str, kind: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "schema": {"type": kind}, "description": description})
}

fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "schema": schema, "description": description})
}

fn state_schema() -> Value {
    let states = callboard_actors::run_state::RunState::ALL.map(|state| state.as_str());
    json!({"type": "string", "enum": states})
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let count = json!({"type": "integer", "minimum": 0});
    let time = json!({"type": ["string", "null"], "format": "date-time"});
    let limits = json!({"type": "object", "additionalProperties": false, "properties": {
        "max_steps": {"type": "integer", "minimum": 1}, "max_output_tokens": {"type": "integer", "minimum": 1},
        "deadline_seconds": {"type": "integer", "minimum": 1}
    }});
    let list_of = |schema: &str| {
        let items = json!({"$ref": format!("#/components/schemas/{schema}")});
        json!({"type": "object", "required": ["data", "has_more", "next_cursor"], "properties": {
            "data": {"type": "array", "items": items}, "has_more": {"type": "boolean"}, "next_cursor": {"type": ["string", "null"]}
        }})
    };
    json!({
        "RunRequest": {"type": "object", "additionalProperties": false, "required": ["input"], "properties": {
            "input": {"oneOf": [text, {"type": "array", "items": {"$ref": "#/components/schemas/InputItem"}}]},
            "model": text, "instructions": text, "tools": {"type": "array", "items": text},
            "model_options": {"type": "object"}, "metadata": {"type": "object", "additionalProperties": text}, "limits": limits,
            "on_limit": {"type": "string", "enum": ["queue", "refuse"]}, "stream": {"type": "boolean"}
        }},
        "InputItem": {"type": "object", "required": ["type"], "properties": {
            "type": {"type": "string", "enum": ["message", "tool_call", "tool_result"]},
            "role": {"type": "string", "enum": ["user", "assistant", "system"]},
            "content": {"oneOf": [text, {"type": "array", "items": {"type": "object"}}]},
            "call_id": text, "name": text, "arguments": text, "output": text
        }},
        "Run": {"type": "object", "required": ["id", "object", "state", "model", "limits", "usage", "created_at"], "properties": {
            "id": text, "object": {"const": "run"}, "state": state_schema(), "model": text, "simulated": {"type": "boolean"},
            "instructions": {"type": ["string", "null"]}, "tools": {"type": "array", "items": text}, "metadata": {"type": "object"},
            "model_options": {"type": "object"}, "limits": limits,
            "error": {"type": ["object", "null"], "properties": {"code": text, "message": text}},
            "waiting": {"type": ["string", "null"]}, "queue_position": {"type": ["integer", "null"]}, "queue_deadline": time,
            "output": {"type": ["string", "null"]}, "usage": {"$ref": "#/components/schemas/Usage"}, "steps": count,
            "next_seq": count, "created_at": time, "started_at": time, "ended_at": time, "links": {"type": "object"}
        }},
        "Usage": {"type": "object", "properties": {"input_tokens": count, "output_tokens": count}},
        "Item": {"type": "object", "required": ["id", "status", "type", "created_at"], "properties": {
            "id": text, "status": {"type": "string", "enum": ["completed", "incomplete"]}, "created_at": time,
            "type": {"type": "string", "enum": ["message", "reasoning", "tool_call", "tool_result"]}
        }},
        "Event": {"type": "object", "required": ["seq", "run_id", "at", "type"], "properties": {
            "seq": count, "run_id": text, "at": time, "type": text
        }},
        "RunList": list_of("Run"), "ItemList": list_of("Item"), "EventList": list_of("Event"),
        "Error": {"type": "object", "required": ["error"], "properties": {"error": {
            "type": "object", "required": ["code", "message", "type", "param", "request_id"],
            "properties": {
                "code": {"type": "string", "enum": ErrorCode::ALL.iter().map(|code| code.as_str()).collect::<Vec<_>>()},
                "message": text, "type": text, "param": {"type": ["string", "null"]}, "request_id": text
            }
        }}}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every `$ref` of the document, wherever it stands.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|field| references(field, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for reference in found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operation_ids_are_distinct() {
        let document = document();
        let paths = document["paths"].as_object().expect("paths");
        let ids: Vec<&str> = paths
            .values()
            .flat_map(|path| path.as_object().expect("operations").values())
            .filter_map(|operation| operation["operationId"].as_str())
            .collect();
        let distinct: std::collections::BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!((ids.len(), distinct.len()), (10, 10));
    }
}
