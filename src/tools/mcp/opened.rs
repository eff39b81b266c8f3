//! The tools of a server as a run has them.

use std::collections::BTreeSet;
use std::sync::Arc;

use callboard_actors::ports::toolbox::{AnsweredBy, MissingTools, OpenTools, RunTool};
use callboard_actors::ports::{RetryClass, ToolDefinition};
use callboard_actors::tool_use::McpToolUse;

use super::catalog::{Catalog, ServerTool};
use super::names;
use super::server::McpServer;
use super::tool::McpTool;
use super::unavailable::Unavailable;
use crate::blocking::BlockingPool;

/// A server as a run has it.
pub(super) struct Wanted {
    pub(super) wish: McpToolUse,
    pub(super) server: Result<Arc<McpServer>, Unavailable>,
}

/// Adds what a server has to a run's tools, whose arguments are checked on this pool.
pub(super) fn add(
    wanted: Wanted,
    pool: &BlockingPool,
    catalog: Result<Arc<Catalog>, Unavailable>,
    open: &mut OpenTools,
) {
    let Wanted { wish, server } = wanted;
    let mut missing = |source: String, reason: String| open.missing.push(MissingTools { source, reason });
    let (server, catalog) = match server.and_then(|server| Ok((server, catalog?))) {
        Ok(found) => found,
        Err(reason) => return missing(wish.server, reason.to_string()),
    };
    let is_wanted = |name: &str| {
        wish.allowed_tools
            .as_ref()
            .is_none_or(|names| names.iter().any(|wanted| wanted == name))
    };
    for left in &catalog.left_out {
        match &left.tool {
            Some(tool) if is_wanted(tool) => missing(format!("{}: {tool}", wish.server), left.reason.clone()),
            Some(_) => {}
            None => missing(wish.server.clone(), left.reason.clone()),
        }
    }
    for name in wish.allowed_tools.iter().flatten() {
        let is_there = catalog.tools.iter().any(|tool| tool.name == *name);
        if !is_there && !catalog.left_out.iter().any(|left| left.tool.as_ref() == Some(name)) {
            missing(
                format!("{}: {name}", wish.server),
                "the server has no tool of this name".to_owned(),
            );
        }
    }
    let mut taken: BTreeSet<String> = open.tools.keys().cloned().collect();
    for tool in &catalog.tools {
        // All of them are named, so that a name does not depend on which are wanted.
        let name = names::exposed(&wish.server, &tool.name, &mut taken);
        if is_wanted(&tool.name) {
            open.tools
                .insert(name.clone(), run_tool(&wish, pool, &server, tool, name));
        }
    }
}

fn run_tool(
    wish: &McpToolUse,
    pool: &BlockingPool,
    server: &Arc<McpServer>,
    tool: &ServerTool,
    name: String,
) -> RunTool {
    let definition = ToolDefinition {
        name,
        description: tool.description.clone(),
        parameters: tool.schema.clone(),
    };
    let settings = &server.settings;
    let retry = match settings.retry {
        RetryClass::Unsafe if settings.trust_annotations && tool.says_read_only => RetryClass::Safe,
        RetryClass::Unsafe if settings.trust_annotations && tool.says_idempotent => RetryClass::Idempotent,
        configured => configured,
    };
    RunTool {
        answered_by: AnsweredBy::Server(Arc::new(McpTool {
            server: server.clone(),
            server_name: wish.server.clone(),
            name: tool.name.clone(),
            definition: definition.clone(),
            retry,
        })),
        definition,
        requires_approval: wish.requires_approval,
        arguments: tool.arguments.check_on(pool),
    }
}
