//! The tools of a server: asked for page by page, and each looked at before any model hears of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use rmcp::model::{ClientRequest, ListToolsRequest, PaginatedRequestParams, ServerResult, Tool};
use rmcp::service::{Peer, RoleClient};
use serde_json::Value;

use super::options::McpBounds;
use super::unavailable::Unavailable;
use crate::blocking::BlockingPool;
use crate::secrets::HiddenSecrets;
use crate::tools::schema::CompiledSchema;

/// Pages of a list.
const MOST_PAGES: usize = 100;

/// Tools that are left out, of which each is told; the others are counted.
const MOST_TOLD: usize = 10;

/// Bytes of a name. Longer ones are no names.
const LONGEST_NAME: usize = 256;

/// The tools of a server.
#[derive(Default)]
pub(super) struct Catalog {
    pub(super) tools: Vec<ServerTool>,
    /// What is left out of its list.
    pub(super) left_out: Vec<LeftOut>,
}

/// A tool of a server.
#[derive(Clone)]
pub(super) struct ServerTool {
    /// As the server calls it.
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
    pub(super) arguments: Arc<CompiledSchema>,
    /// The server says that it changes nothing.
    pub(super) says_read_only: bool,
    /// The server says that it may be called twice.
    pub(super) says_idempotent: bool,
}

/// Something of a list that is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The tool; `None` is some of the list.
    pub(super) tool: Option<String>,
    pub(super) reason: String,
}

/// Asks for the tools.
///
/// # Errors
/// The server does not answer as it should.
pub(super) async fn fetch(
    peer: &Peer<RoleClient>,
    bounds: &McpBounds,
    pool: &BlockingPool,
    hidden: &HiddenSecrets,
) -> Result<Catalog, Unavailable> {
    let has_tools = peer.peer_info().is_some_and(|info| info.capabilities.tools.is_some());
    if !has_tools {
        return Ok(Catalog::default());
    }
    let mut listed = Vec::new();
    let mut cut = None;
    let mut cursor: Option<String> = None;
    for page in 0.. {
        let params = PaginatedRequestParams::default().with_cursor(cursor.clone());
        let request = ListToolsRequest {
            method: Default::default(),
            params: Some(params),
            extensions: Default::default(),
        };
        let answer = peer.send_request(ClientRequest::ListToolsRequest(request)).await?;
        let next = take_page(answer, &mut listed)?;
        if listed.len() > bounds.max_tools {
            listed.truncate(bounds.max_tools);
            cut = Some(format!(
                "it has more than {} tools, and the others are left out",
                bounds.max_tools
            ));
            break;
        }
        if next.is_none() {
            break;
        }
        if next == cursor || page + 1 == MOST_PAGES {
            cut = Some("its list of tools has no end".to_owned());
            break;
        }
        cursor = next;
    }
    let (bounds, hidden) = (*bounds, hidden.clone());
    let reading = pool.run(move || read(listed, &bounds, &hidden)).await;
    let mut catalog = reading.map_err(|_| Unavailable::Broken)?;
    catalog
        .left_out
        .extend(cut.map(|reason| LeftOut { tool: None, reason }));
    Ok(catalog)
}

/// The tools of a page as they are written, and where the next one begins.
fn take_page(answer: ServerResult, listed: &mut Vec<Value>) -> Result<Option<String>, Unavailable> {
    if let ServerResult::ListToolsResult(page) = answer {
        for tool in page.tools {
            listed.push(serde_json::to_value(tool).map_err(|_| Unavailable::Broken)?);
        }
        return Ok(page.next_cursor);
    }
    // One tool that is none makes the list something else. The others are good for all that.
    let mut page = serde_json::to_value(answer).map_err(|_| Unavailable::Broken)?;
    let Some(Value::Array(tools)) = page.get_mut("tools").map(Value::take) else {
        return Err(Unavailable::Broken);
    };
    listed.extend(tools);
    Ok(page.get("nextCursor").and_then(Value::as_str).map(str::to_owned))
}

/// What is hidden is not even known here: it would be shown to models, and told with what is wrong.
fn read(listed: Vec<Value>, bounds: &McpBounds, hidden: &HiddenSecrets) -> Catalog {
    let mut catalog = Catalog::default();
    let mut names = BTreeSet::new();
    let mut untold = 0;
    for written in listed.into_iter().map(|written| without(hidden, written)) {
        let name = written.get("name").and_then(Value::as_str).map(shortened);
        let read = read_tool(written, bounds).and_then(|tool| {
            let is_new = names.insert(tool.name.clone());
            is_new
                .then_some(tool)
                .ok_or_else(|| "the server has two tools of this name".to_owned())
        });
        match read {
            Ok(tool) => catalog.tools.push(tool),
            Err(reason) if catalog.left_out.len() < MOST_TOLD => catalog.left_out.push(LeftOut { tool: name, reason }),
            Err(_) => untold += 1,
        }
    }
    if untold > 0 {
        catalog.left_out.push(LeftOut {
            tool: None,
            reason: format!("{untold} more of its tools cannot be used"),
        });
    }
    catalog
}

fn without(hidden: &HiddenSecrets, written: Value) -> Value {
    if hidden.is_empty() {
        return written;
    }
    let text = hidden.replaced_in(written.to_string());
    // As a rule it stays JSON: what is replaced is written as in a string. What does not is left out as no tool.
    serde_json::from_str(&text).unwrap_or_default()
}

fn read_tool(written: Value, bounds: &McpBounds) -> Result<ServerTool, String> {
    let tool: Tool = serde_json::from_value(written).map_err(|_| "this is no tool as MCP has it".to_owned())?;
    if tool.name.is_empty() || tool.name.len() > LONGEST_NAME {
        return Err("this is no name of a tool".to_owned());
    }
    let mut schema = Value::Object(tool.input_schema.as_ref().clone());
    let size = schema.to_string().len();
    if size > bounds.max_schema {
        return Err(format!("its schema has {size} bytes; {} are taken", bounds.max_schema));
    }
    if let Some(fields) = schema.as_object_mut() {
        // Which draft it is: providers know one, and some refuse what they do not know.
        fields.remove("$schema");
        let kind = fields.entry("type").or_insert_with(|| "object".into());
        if kind != "object" {
            return Err("its schema is not one of an object".to_owned());
        }
    }
    let arguments = CompiledSchema::of(&schema).map_err(|problem| format!("its schema is wrong: {problem}"))?;
    let mut description = tool.description.unwrap_or_default().into_owned();
    description.truncate(description.floor_char_boundary(bounds.max_description));
    let annotations = tool.annotations.unwrap_or_default();
    Ok(ServerTool {
        name: tool.name.into_owned(),
        description,
        schema,
        arguments,
        says_read_only: annotations.read_only_hint == Some(true),
        says_idempotent: annotations.idempotent_hint == Some(true),
    })
}

fn shortened(name: &str) -> String {
    name[..name.floor_char_boundary(64)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bounds() -> McpBounds {
        McpBounds {
            max_message: 1_000_000,
            max_tools: 100,
            max_description: 10,
            max_schema: 200,
            longest_call: std::time::Duration::from_secs(1),
        }
    }

    #[test]
    fn what_is_hidden_is_nowhere_in_a_list_of_tools() {
        let hidden = HiddenSecrets::new(&["hidden-\"token\"".into()]);
        let listed = vec![
            json!({"name": "good", "description": "hidden-\"token\"",
                   "inputSchema": {"type": "object", "properties": {"x": {"const": "hidden-\"token\""}}}}),
            json!({"name": "hidden-\"token\"", "inputSchema": {"type": "array"}}),
            json!({"name": "wrong", "inputSchema": {"type": "object", "required": "hidden-\"token\""}}),
        ];
        let roomy = McpBounds {
            max_description: 100,
            ..bounds()
        };
        let catalog = read(listed, &roomy, &hidden);
        let good = &catalog.tools[0];
        assert_eq!(good.description, "[secret]");
        let shown = format!("{} {:?}", good.schema, catalog.left_out);
        assert!(shown.contains("[secret]") && !shown.contains("token"), "{shown}");
        assert_eq!(catalog.left_out.len(), 2);
    }

    #[test]
    fn tools_that_cannot_be_used_are_left_out_and_told_and_the_others_stay() {
        let listed = vec![
            json!({"name": "good", "description": "twelve bytes", "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#"},
                   "annotations": {"readOnlyHint": true}}),
            json!({"name": "no_schema"}),
            json!({"name": "liar", "inputSchema": {"type": "array"}}),
            json!({"name": "wrong", "inputSchema": {"type": "object", "properties": {"x": {"type": "objekt"}}}}),
            json!({"name": "outside", "inputSchema": {"type": "object", "$ref": "https://example.com/s.json"}}),
            json!({"name": "huge", "inputSchema": {"type": "object", "description": "x".repeat(300)}}),
            json!({"name": "good", "inputSchema": {"type": "object"}}),
            json!(7),
        ];
        let catalog = read(listed, &bounds(), &HiddenSecrets::default());
        assert_eq!(catalog.tools.len(), 1);
        let good = &catalog.tools[0];
        assert_eq!(
            (good.description.as_str(), &good.schema),
            ("twelve byt", &json!({"type": "object"}))
        );
        assert!(good.says_read_only && !good.says_idempotent);
        let told: Vec<_> = catalog
            .left_out
            .iter()
            .map(|left| left.tool.as_deref().unwrap_or("?"))
            .collect();
        assert_eq!(told, ["no_schema", "liar", "wrong", "outside", "huge", "good", "?"]);
        let many = (0..50).map(|_| json!({"name": ""})).collect();
        let left_out = read(many, &bounds(), &HiddenSecrets::default()).left_out;
        assert_eq!(
            (left_out.len(), left_out[MOST_TOLD].reason.as_str()),
            (11, "40 more of its tools cannot be used")
        );
    }
}
