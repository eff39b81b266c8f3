//! Tools that runs may call, and what is said of their calls, as the document describes them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A tool that a run may call: the name of one of the server's, or one that is declared.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ToolUse {
    /// A tool of this server.
    Name(String),
    /// A tool with settings of its own.
    Declared(Box<DeclaredTool>),
}

/// A declared tool, by its `type`.
#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum DeclaredTool {
    /// A tool of this server.
    Server {
        name: String,
        /// A person has to say yes to each call.
        requires_approval: Option<bool>,
    },
    /// A tool whose calls the client answers: the run waits for `POST /runs/{id}/tool_outputs`.
    Client {
        /// 1 to 64 letters, digits, `_` or `-`.
        name: String,
        /// For the model.
        description: Option<String>,
        /// JSON Schema (2020-12) of the arguments. Arguments that do not fit are refused before anybody is asked.
        parameters: Map<String, Value>,
        /// How long a call waits for its output, from the approval on if there has to be one; as long as the run may take if not given. At
        /// most as long as runs of this server may take.
        #[schema(minimum = 1)]
        deadline_seconds: Option<u64>,
        on_deadline: Option<OnDeadline>,
        requires_approval: Option<bool>,
    },
    /// A web endpoint that the server calls. `{{name}}` stands for an argument, `{{secret:NAME}}` for a secret of the server.
    Http {
        /// 1 to 64 letters, digits, `_` or `-`.
        name: String,
        /// For the model.
        description: Option<String>,
        /// JSON Schema (2020-12) of the arguments.
        parameters: Map<String, Value>,
        /// With arguments in its path and query, where they are escaped; scheme and host are fixed.
        url: String,
        method: Option<HttpMethod>,
        /// With arguments and secrets in their values.
        headers: Option<BTreeMap<String, String>>,
        /// JSON in whose texts arguments stand; one that is a placeholder and nothing else becomes the argument, whatever its type. If not
        /// given: the arguments that `url` and `headers` do not use, as an object, or in the query with GET and DELETE.
        body: Option<Value>,
        /// JSON Pointer to the part of the answer that the model is shown.
        response_pointer: Option<String>,
        /// A text that the model is shown instead; `{{/pointer}}` stands for a part of the answer.
        response_template: Option<String>,
        /// The secret that requests are signed with, in the form of Standard Webhooks.
        signing_secret: Option<String>,
        retry: Option<RetryClass>,
        /// At most `tools.timeout`.
        timeout_seconds: Option<u64>,
        /// Calls at once, of all runs of the account on one instance.
        max_concurrent: Option<u32>,
        requires_approval: Option<bool>,
    },
    /// Tools of an MCP server. The model sees them as `server__tool`.
    Mcp {
        /// One of this server's configuration; with `url`, what the server there is called in this run. 1 to 32 letters, digits, `_` or `-`.
        server: String,
        /// A server that is no part of the configuration, over streamable HTTP.
        url: Option<String>,
        /// Header fields for `url`; `{{secret:NAME}}` stands for a secret of the server.
        headers: Option<BTreeMap<String, String>>,
        /// Which of its tools, by the names that the server has for them; all if not given.
        allowed_tools: Option<Vec<String>>,
        requires_approval: Option<bool>,
    },
}

/// What becomes of a call whose output does not come.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnDeadline {
    /// The model is told, and goes on.
    TellModel,
    /// The run fails with `tool_deadline`.
    FailRun,
}

/// How a web endpoint is asked.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum HttpMethod {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// Whether a call may be made again when nobody knows what became of it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RetryClass {
    /// It changes nothing.
    Safe,
    /// Made twice with one key, it acts once.
    Idempotent,
    /// Never: a person is asked.
    Unsafe,
}

/// A tool call that somebody has to answer or to decide about.
#[derive(Deserialize, ToSchema)]
pub(super) struct WaitingCall {
    item_id: String,
    call_id: String,
    /// Which tool.
    name: String,
    /// JSON text.
    arguments: String,
    needs: WaitingNeed,
    /// When it is given up.
    #[schema(format = DateTime)]
    deadline: Option<String>,
}

/// What a tool call waits for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum WaitingNeed {
    /// `POST /runs/{id}/tool_outputs`.
    Output,
    /// `POST /runs/{id}/approvals`.
    Approval,
    /// `POST /runs/{id}/review`.
    Review,
}

/// The answers of the client's own tools. All are taken, or none.
#[derive(Deserialize, ToSchema)]
pub(super) struct ToolOutputs {
    outputs: Vec<ToolOutput>,
}

/// The answer to one call.
#[derive(Deserialize, ToSchema)]
pub(super) struct ToolOutput {
    call_id: String,
    /// What the model gets to see; cut at `tools.max_output`.
    output: String,
    /// It tells of a failure.
    is_error: Option<bool>,
}

/// What a person says of calls that need a yes. All is taken, or nothing.
#[derive(Deserialize, ToSchema)]
pub(super) struct Approvals {
    approvals: Vec<Approval>,
}

/// Yes or no to one call.
#[derive(Deserialize, ToSchema)]
pub(super) struct Approval {
    call_id: String,
    approve: bool,
    /// Arguments instead of the model's; with a yes.
    arguments: Option<Map<String, Value>>,
    /// What the model is told; with a no.
    reason: Option<String>,
}

/// What a person says of calls that were cut off. All is taken, or nothing.
#[derive(Deserialize, ToSchema)]
pub(super) struct Reviews {
    reviews: Vec<Review>,
}

/// What is to be done about one call.
#[derive(Deserialize, ToSchema)]
pub(super) struct Review {
    call_id: String,
    action: ReviewAction,
    /// What it brought; with `result`.
    output: Option<String>,
    is_error: Option<bool>,
}

/// What is to be done about a call that was cut off.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReviewAction {
    /// Make it again.
    Retry,
    /// Take `output` for its result.
    Result,
    /// End the run with `review_failed`.
    Fail,
}
