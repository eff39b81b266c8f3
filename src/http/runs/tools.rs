//! The field `tools` of a run: names of the server's tools, and tools that the client declares.

use std::collections::BTreeSet;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::toolbox::InvalidTool;
use callboard_actors::tool_use::{ClientTool, HttpTool, McpToolUse, ServerToolUse, ToolUse};
use serde_json::{Map, Value};

use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::declared::read_declared;
use crate::http::extract::fields::{Fields, invalid_value, text, wrong_type};
use crate::http::options::RunRequestLimits;
use crate::http::state::Catalog;

/// Bytes of one declared tool.
const LONGEST_DECLARATION: usize = 64 * 1024;

/// Seconds that a call of a client's tool waits at most, if the server lets its runs take longer: 366 days.
const LONGEST_DEADLINE: u64 = 366 * 24 * 60 * 60;

/// What providers take as the name of a tool.
const LONGEST_NAME: usize = 64;

/// Reads the list. What the names stand for is checked by [`check_tools`].
pub(super) fn read_tools(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<Option<Vec<ToolUse>>, ApiError> {
    let Some(listed) = fields.optional_list("tools")? else {
        return Ok(None);
    };
    if listed.len() > bounds.max_tools {
        let message = format!("`tools` may have at most {} entries", bounds.max_tools);
        return Err(invalid_value("tools", &message));
    }
    let mut tools = Vec::with_capacity(listed.len());
    let mut names = BTreeSet::new();
    for (index, value) in listed.iter().enumerate() {
        let path = format!("tools[{index}]");
        let tool = read_tool(value, &path, bounds)?;
        let name = match &tool {
            ToolUse::Mcp(tools) => format!("mcp server {}", tools.server),
            tool => tool.name().unwrap_or_default().to_owned(),
        };
        if !names.insert(name.clone()) {
            return Err(invalid_value(&path, &format!("the tool `{name}` is listed twice")));
        }
        tools.push(tool);
    }
    Ok(Some(tools))
}

fn read_tool(value: &Value, path: &str, bounds: &RunRequestLimits) -> Result<ToolUse, ApiError> {
    let map = match value {
        Value::String(name) => return Ok(ToolUse::named(name)),
        Value::Object(map) => map,
        other => return Err(wrong_type(path, "the name of a tool, or an object", other)),
    };
    let length = value.to_string().len();
    if length > LONGEST_DECLARATION {
        let message = format!("`{path}` has {length} bytes; a tool has at most {LONGEST_DECLARATION}");
        return Err(invalid_value(path, &message));
    }
    let type_path = format!("{path}.type");
    let kind = map.get("type").filter(|kind| !kind.is_null()).ok_or_else(|| {
        ApiError::new(ErrorCode::MissingField, format!("`{type_path}` is missing")).with_param(&type_path)
    })?;
    let mut map = map.clone();
    map.remove("type");
    let tool = match text(kind, &type_path)? {
        "server" => ToolUse::Server(read_declared::<ServerToolUse>(map, path)?),
        "client" => ToolUse::Client(read_client_tool(map, path, bounds)?),
        "http" => ToolUse::Http(Box::new(read_declared::<HttpTool>(map, path)?)),
        "mcp" => ToolUse::Mcp(read_declared::<McpToolUse>(map, path)?),
        _ => {
            let message = format!("`{type_path}` must be \"server\", \"client\", \"http\" or \"mcp\"");
            return Err(invalid_value(&type_path, &message));
        }
    };
    check_name(&tool, path)?;
    Ok(tool)
}

fn read_client_tool(map: Map<String, Value>, path: &str, bounds: &RunRequestLimits) -> Result<ClientTool, ApiError> {
    let tool = read_declared::<ClientTool>(map, path)?;
    // No run waits for longer than it may take.
    let longest = bounds.deadline_ceiling.as_secs().min(LONGEST_DEADLINE);
    if tool
        .deadline_seconds
        .is_none_or(|seconds| (1..=longest).contains(&seconds))
    {
        return Ok(tool);
    }
    let param = format!("{path}.deadline_seconds");
    let message = format!("`{param}` must be a whole number from 1 to {longest}");
    Err(invalid_value(&param, &message))
}

fn check_name(tool: &ToolUse, path: &str) -> Result<(), ApiError> {
    let Some(name) = tool.name() else { return Ok(()) };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    let param = format!("{path}.name");
    let message = format!("`{param}` must have 1 to {LONGEST_NAME} letters, digits, '_' or '-'");
    Err(invalid_value(&param, &message))
}

/// Checks the tools against what this server has.
pub(super) fn check_tools(catalog: &Catalog, account: &AccountId, tools: &[ToolUse]) -> Result<(), ApiError> {
    catalog.check_tools(account, tools).map_err(|invalid| {
        let InvalidTool {
            index,
            field,
            is_unknown,
            problem,
        } = invalid;
        let param = match field {
            Some(field) => format!("tools[{index}].{field}"),
            None => format!("tools[{index}]"),
        };
        if is_unknown {
            return ApiError::new(ErrorCode::UnknownTool, problem)
                .with_param(param)
                .with_detail("available", catalog.tool_names());
        }
        invalid_value(&param, &format!("`{param}`: {problem}"))
    })
}
