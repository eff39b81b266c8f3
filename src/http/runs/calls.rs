//! What clients and people say of the tool calls that a run waits for: `POST /runs/{id}/tool_outputs`, `/approvals` and `/review`.
//!
//! What is said in one request is taken as a whole or not at all; each call is answered once, whoever else is at it.

use std::collections::HashSet;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use callboard_actors::call_ledger::{CallOutput, CallProblem, CallProblemKind, CallResolution, CallStage, CallVerdict};
use callboard_actors::ports::store::{ParkedOutcome, RunRecord};
use callboard_actors::ports::toolbox::ToolsOpening;
use callboard_actors::run_state::RunState;
use serde_json::Value;

use super::view::RunView;
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::fields::{Fields, invalid_value, list, wrong_type};
use crate::http::extract::json_body::read_json;
use crate::http::extract::query::QueryParameters;
use crate::http::extract::run_path::owned_run;
use crate::http::state::HttpState;

/// Calls that one request may speak of.
const MOST_CALLS: usize = 1000;

/// `POST /runs/{id}/tool_outputs`: the answers of the client's own tools.
pub(super) async fn post_tool_outputs(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let said = Said {
        list: "outputs",
        known: &["call_id", "output", "is_error"],
    };
    resolve(&request, payload, &caller, &state, said, |fields, state| {
        Ok(CallVerdict::Output(read_output(fields, state)?))
    })
    .await
}

/// `POST /runs/{id}/approvals`: a person says yes or no to calls.
pub(super) async fn post_approvals(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let said = Said {
        list: "approvals",
        known: &["call_id", "approve", "arguments", "reason"],
    };
    resolve(&request, payload, &caller, &state, said, |fields, _state| {
        let approve = fields.required("approve")?;
        let approve = approve
            .as_bool()
            .ok_or_else(|| wrong_type(&fields.path_of("approve"), "true or false", approve))?;
        let meaningless = if approve { "reason" } else { "arguments" };
        if fields.optional(meaningless).is_some() {
            let param = fields.path_of(meaningless);
            let message = format!("`{param}` has no meaning where `approve` is {approve}");
            return Err(invalid_value(&param, &message));
        }
        if !approve {
            let reason = fields.optional_text("reason")?.map(str::to_owned);
            return Ok(CallVerdict::Refuse { reason });
        }
        let Some(arguments) = fields.optional_object("arguments")? else {
            return Ok(CallVerdict::Approve { arguments: None });
        };
        Ok(CallVerdict::Approve {
            arguments: Some(Value::Object(arguments.clone()).to_string()),
        })
    })
    .await
}

/// `POST /runs/{id}/review`: a person says what became of calls that were cut off.
pub(super) async fn post_review(
    request: HttpRequest,
    payload: web::Payload,
    caller: Caller,
    state: web::Data<HttpState>,
) -> Result<HttpResponse, ApiError> {
    let said = Said {
        list: "reviews",
        known: &["call_id", "action", "output", "is_error"],
    };
    resolve(&request, payload, &caller, &state, said, |fields, state| {
        let action = fields.required_text("action")?;
        if action != "result" {
            for meaningless in ["output", "is_error"] {
                if fields.optional(meaningless).is_some() {
                    let param = fields.path_of(meaningless);
                    let message = format!("`{param}` has a meaning for the action \"result\" only");
                    return Err(invalid_value(&param, &message));
                }
            }
        }
        match action {
            "retry" => Ok(CallVerdict::Retry),
            "fail" => Ok(CallVerdict::FailRun),
            "result" => Ok(CallVerdict::TakeResult(read_output(fields, state)?)),
            _ => {
                let param = fields.path_of("action");
                let message = format!(
                    "`{param}` must be \"retry\" (make the call again), \"result\" (this is what it brought) or \"fail\" (end the run)"
                );
                Err(invalid_value(&param, &message))
            }
        }
    })
    .await
}

/// The list in which something is said of calls, and the fields of its entries.
struct Said {
    list: &'static str,
    known: &'static [&'static str],
}

async fn resolve(
    request: &HttpRequest,
    payload: web::Payload,
    caller: &Caller,
    state: &HttpState,
    Said { list: field, known }: Said,
    read: impl Fn(&Fields<'_>, &HttpState) -> Result<CallVerdict, ApiError>,
) -> Result<HttpResponse, ApiError> {
    QueryParameters::of(request, &[])?;
    let run = owned_run(request, state, caller).await?;
    let body = read_json(request, payload, &state.options).await?;
    let fields = Fields::of(&body, "", &[field])?;
    let said = list(fields.required(field)?, field)?;
    if said.is_empty() || said.len() > MOST_CALLS {
        let message = format!("`{field}` must have 1 to {MOST_CALLS} entries");
        return Err(invalid_value(field, &message));
    }
    let mut resolutions = Vec::with_capacity(said.len());
    let mut call_ids = HashSet::with_capacity(said.len());
    for (index, value) in said.iter().enumerate() {
        let fields = Fields::of(value, &format!("{field}[{index}]"), known)?;
        let call_id = fields.required_text("call_id")?;
        if !call_ids.insert(call_id) {
            let param = fields.path_of("call_id");
            return Err(invalid_value(
                &param,
                &format!("`{param}` names a call that is named before"),
            ));
        }
        resolutions.push(CallResolution {
            call_id: call_id.to_owned(),
            verdict: read(&fields, state)?,
        });
    }
    if run.state != RunState::Waiting {
        return Err(not_waiting(&run));
    }
    check_arguments(&run, &resolutions, field, state).await?;
    let runs = state.parts.runs.clone();
    let id = run.id;
    let outcome = state
        .on_io(async move { runs.resolve_calls(id, resolutions).await })
        .await??;
    match outcome {
        ParkedOutcome::Updated { record, .. } => {
            let view = RunView::whole_with_position(state, *record).await?;
            Ok(HttpResponse::Ok()
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .json(view))
        }
        ParkedOutcome::Refused(problem) => Err(refused(problem, field)),
        ParkedOutcome::NotParked(run) => Err(not_waiting(&run)),
        ParkedOutcome::NotFound => Err(ApiError::run_not_found()),
    }
}

fn read_output(fields: &Fields<'_>, state: &HttpState) -> Result<CallOutput, ApiError> {
    let output = fields.required_text("output")?.to_owned();
    let is_error = fields.optional_bool("is_error")?.unwrap_or(false);
    Ok(CallOutput::bounded(
        output,
        is_error,
        state.options.runs.max_tool_output,
    ))
}

/// Arguments that a person has changed have to fit as those of the model. Where the tool is not at hand, the call finds out.
async fn check_arguments(
    run: &RunRecord,
    resolutions: &[CallResolution],
    field: &str,
    state: &HttpState,
) -> Result<(), ApiError> {
    let changed = resolutions.iter().enumerate().filter_map(|(index, said)| {
        let CallVerdict::Approve { arguments: Some(text) } = &said.verdict else {
            return None;
        };
        let call = run.calls.calls.iter().find(|call| call.call_id == said.call_id)?;
        Some((index, call.name.clone(), text.clone()))
    });
    let changed: Vec<(usize, String, String)> = changed.collect();
    if changed.is_empty() {
        return Ok(());
    }
    let opening = state.parts.catalog.open_tools(run);
    let problem = state
        .on_io(async move {
            let tools = match opening {
                ToolsOpening::Ready(open) => open.tools,
                ToolsOpening::Later(opening) => opening.await.tools,
            };
            for (index, name, text) in changed {
                let Some(tool) = tools.get(&name) else { continue };
                if let Err(problem) = tool.arguments.read(text).await {
                    return Some((index, problem));
                }
            }
            None
        })
        .await?;
    let Some((index, problem)) = problem else { return Ok(()) };
    let param = format!("{field}[{index}].arguments");
    Err(invalid_value(&param, &format!("`{param}`: {problem}")))
}

fn not_waiting(run: &RunRecord) -> ApiError {
    let message = format!("the run waits for no tool call: it is {}", run.state);
    ApiError::new(ErrorCode::RunNotWaiting, message).with_detail("state", run.state.as_str())
}

fn refused(problem: CallProblem, field: &str) -> ApiError {
    let param = format!("{field}[{}].call_id", problem.index);
    match problem.kind {
        CallProblemKind::Unknown => {
            let message = "the run waits for no call of this name: it is answered, or was never made";
            ApiError::new(ErrorCode::CallNotWaiting, message).with_param(param)
        }
        CallProblemKind::WaitsFor(stage) => {
            let (needs, endpoint) = match stage {
                CallStage::Output => ("output", "tool_outputs"),
                CallStage::Review => ("review", "review"),
                _ => ("approval", "approvals"),
            };
            let message = format!("the call waits for something else: POST it to /runs/{{id}}/{endpoint}");
            ApiError::new(ErrorCode::CallNeedsOther, message)
                .with_param(param)
                .with_detail("needs", needs)
        }
    }
}
