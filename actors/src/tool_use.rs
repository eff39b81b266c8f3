//! What a run may call, as clients and agents declare it: pinned in the run's settings.
//!
//! A name stands for a tool that the server has. Everything else is an object with a `type`: a tool that the client answers itself, a web
//! endpoint, the tools of an MCP server.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ports::RetryClass;

/// A tool, or a source of several, that a run may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(from = "WrittenTool", into = "WrittenTool")]
pub enum ToolUse {
    /// A tool that the server has.
    Server(ServerToolUse),
    /// The client answers the call: the run waits for it.
    Client(ClientTool),
    /// The server calls a web endpoint.
    Http(Box<HttpTool>),
    /// Tools of an MCP server.
    Mcp(McpToolUse),
}

/// A tool that the server has: built in, or of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerToolUse {
    /// Which.
    pub name: String,
    /// A person has to say yes to each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
}

/// A tool whose calls the client answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTool {
    /// How the model names it.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema (2020-12) of its arguments: an object.
    pub parameters: Value,
    /// Seconds that a call waits for its output; `None`: as long as the run may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// What becomes of a call whose output does not come.
    #[serde(default, skip_serializing_if = "OnDeadline::is_default")]
    pub on_deadline: OnDeadline,
    /// A person has to say yes to each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
}

/// What becomes of a call that was waited for long enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeadline {
    /// The model is told that there was no answer, and goes on.
    #[default]
    TellModel,
    /// The run fails with `tool_deadline`.
    FailRun,
}

impl OnDeadline {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A web endpoint as a tool. `{{name}}` in `url` (behind the host), `headers` and `body` stands for the argument of this name;
/// `{{secret:NAME}}` in `headers` for one of the server's secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTool {
    /// How the model names it.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema (2020-12) of its arguments: an object.
    pub parameters: Value,
    /// Where to ask. Arguments are escaped for the place where they stand.
    pub url: String,
    /// How to ask.
    #[serde(default, skip_serializing_if = "HttpMethod::is_default")]
    pub method: HttpMethod,
    /// Header fields.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The body, a template in JSON. `None`: the arguments that `url` and `headers` do not use, as a JSON object where the method has a body, in
    /// the query of the URL where not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The part of a JSON answer that the model is shown (RFC 6901); `None` is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_pointer: Option<String>,
    /// What the model is shown instead: a text in which `{{/pointer}}` stands for a part of what `response_pointer` leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_template: Option<String>,
    /// The secret that requests are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_secret: Option<String>,
    /// Whether a call may be made again when nobody knows what became of it.
    #[serde(default = "careful", skip_serializing_if = "is_careful")]
    pub retry: RetryClass,
    /// Seconds that a call may take, if less than the server's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u64>,
    /// Calls of this tool, of all runs of the account on one instance, that are made at once; others wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// A person has to say yes to each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
}

const fn careful() -> RetryClass {
    RetryClass::Unsafe
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_careful(class: &RetryClass) -> bool {
    *class == RetryClass::Unsafe
}

/// How a web endpoint is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// Arguments in the query.
    Get,
    /// Arguments in the body.
    #[default]
    Post,
    /// Arguments in the body.
    Put,
    /// Arguments in the body.
    Patch,
    /// Arguments in the query.
    Delete,
}

impl HttpMethod {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The method of HTTP.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether arguments that stand nowhere else go into a body.
    pub const fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }
}

/// Tools of an MCP server: one of the configuration, or one at an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpToolUse {
    /// The name of a server of the configuration. With `url`: what the server at that address is called in this run.
    pub server: String,
    /// A server that is no part of the configuration, over streamable HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Header fields for `url`; `{{secret:NAME}}` stands for one of the server's secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Which of its tools; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_tools: Option<Vec<String>>,
    /// A person has to say yes to each call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub requires_approval: bool,
}

/// As it is written: a name alone, or an object.
#[derive(Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenTool {
    Name(String),
    Declared(DeclaredTool),
}

/// As it is written, with its `type`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum DeclaredTool {
    Server(ServerToolUse),
    Client(ClientTool),
    Http(Box<HttpTool>),
    Mcp(McpToolUse),
}

impl From<WrittenTool> for ToolUse {
    fn from(written: WrittenTool) -> Self {
        match written {
            WrittenTool::Name(name) => Self::named(name),
            WrittenTool::Declared(DeclaredTool::Server(tool)) => Self::Server(tool),
            WrittenTool::Declared(DeclaredTool::Client(tool)) => Self::Client(tool),
            WrittenTool::Declared(DeclaredTool::Http(tool)) => Self::Http(tool),
            WrittenTool::Declared(DeclaredTool::Mcp(tools)) => Self::Mcp(tools),
        }
    }
}

impl From<ToolUse> for WrittenTool {
    fn from(tool: ToolUse) -> Self {
        match tool {
            ToolUse::Server(tool) if !tool.requires_approval => Self::Name(tool.name),
            ToolUse::Server(tool) => Self::Declared(DeclaredTool::Server(tool)),
            ToolUse::Client(tool) => Self::Declared(DeclaredTool::Client(tool)),
            ToolUse::Http(tool) => Self::Declared(DeclaredTool::Http(tool)),
            ToolUse::Mcp(tools) => Self::Declared(DeclaredTool::Mcp(tools)),
        }
    }
}

impl ToolUse {
    /// A tool that the server has, called without asking anybody.
    pub fn named(name: impl Into<String>) -> Self {
        Self::Server(ServerToolUse {
            name: name.into(),
            requires_approval: false,
        })
    }

    /// The `type` in JSON.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Server(_) => "server",
            Self::Client(_) => "client",
            Self::Http(_) => "http",
            Self::Mcp(_) => "mcp",
        }
    }

    /// The name that the model will use; `None` where that is not known before.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Server(tool) => Some(&tool.name),
            Self::Client(tool) => Some(&tool.name),
            Self::Http(tool) => Some(&tool.name),
            Self::Mcp(_) => None,
        }
    }
}

impl ClientTool {
    /// How long a call waits for its output.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline_seconds.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_alone_and_an_object_read_back_as_they_are_written() {
        for written in [
            json!("now"),
            json!({"type": "server", "name": "now", "requires_approval": true}),
            json!({"type": "client", "name": "ask", "description": "asks", "parameters": {"type": "object"}, "deadline_seconds": 5}),
            json!({
                "type": "http", "name": "pay", "description": "", "parameters": {"type": "object"},
                "url": "https://example.com/{{id}}", "method": "PUT", "retry": "idempotent",
            }),
            json!({"type": "mcp", "server": "files", "allowed_tools": ["read"]}),
        ] {
            let tool: ToolUse = serde_json::from_value(written.clone()).expect("a tool");
            assert_eq!(serde_json::to_value(&tool).expect("JSON"), written);
        }
        let plain = json!({"type": "server", "name": "now"});
        let tool: ToolUse = serde_json::from_value(plain).expect("a tool");
        assert_eq!(tool, ToolUse::named("now"));
    }
}
