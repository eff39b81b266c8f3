//! The tools of this server and those that clients declare, put together for each run.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::toolbox::{
    AnsweredBy, ArgumentCheck, InvalidTool, MissingTools, OpenTools, RunTool, Toolbox, ToolsOpening, ToolsWish,
};
use callboard_actors::ports::{Tool, ToolDefinition};
use callboard_actors::tool_use::{ClientTool, ServerToolUse, ToolUse};

use super::schema::argument_check;
use crate::outbound::Outbound;
use crate::secrets::Secrets;

/// What tools reach the world with.
#[derive(Clone)]
pub struct ToolReach {
    /// Requests to addresses that others choose.
    pub outbound: Outbound,
    /// What may go along with them.
    pub secrets: Arc<Secrets>,
}

/// The tools of this server, and what can be made of declared ones.
pub struct ServerToolbox {
    tools: BTreeMap<String, ServerTool>,
    reach: ToolReach,
}

struct ServerTool {
    tool: Arc<dyn Tool>,
    arguments: Arc<dyn ArgumentCheck>,
}

impl ServerToolbox {
    /// Of these tools.
    ///
    /// # Errors
    /// Two have one name, or the schema of one is none.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>, reach: ToolReach) -> anyhow::Result<Self> {
        let mut by_name = BTreeMap::new();
        for tool in tools {
            let definition = tool.definition();
            let arguments = argument_check(&definition.parameters)
                .map_err(|problem| anyhow::anyhow!("the schema of the tool {:?}: {problem}", definition.name))?;
            if by_name
                .insert(definition.name.clone(), ServerTool { tool, arguments })
                .is_some()
            {
                anyhow::bail!("there are two tools named {:?}", definition.name);
            }
        }
        Ok(Self { tools: by_name, reach })
    }

    fn server_tool(&self, wanted: &ServerToolUse) -> Option<RunTool> {
        let found = self.tools.get(&wanted.name)?;
        Some(RunTool {
            definition: found.tool.definition(),
            answered_by: AnsweredBy::Server(found.tool.clone()),
            requires_approval: wanted.requires_approval,
            arguments: found.arguments.clone(),
        })
    }
}

impl Toolbox for ServerToolbox {
    fn check(&self, _account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool> {
        for (index, tool) in tools.iter().enumerate() {
            let invalid = |field: Option<&str>, is_unknown, problem| InvalidTool {
                index,
                field: field.map(str::to_owned),
                is_unknown,
                problem,
            };
            match tool {
                ToolUse::Server(wanted) => {
                    if !self.tools.contains_key(&wanted.name) {
                        let problem = format!("there is no tool `{}` here", wanted.name);
                        return Err(invalid(None, true, problem));
                    }
                }
                ToolUse::Client(declared) => {
                    argument_check(&declared.parameters)
                        .map_err(|problem| invalid(Some("parameters"), false, problem))?;
                }
                ToolUse::Http(_) | ToolUse::Mcp(_) => {
                    let problem = format!("tools of type `{}` are not available here", tool.kind());
                    return Err(invalid(Some("type"), false, problem));
                }
            }
        }
        Ok(())
    }

    fn open(&self, wish: ToolsWish) -> ToolsOpening {
        let mut open = OpenTools::default();
        for wanted in &wish.tools {
            let opened = match wanted {
                ToolUse::Server(wanted) => self
                    .server_tool(wanted)
                    .ok_or_else(|| "the server does not have this tool any more".to_owned()),
                ToolUse::Client(declared) => client_tool(declared),
                ToolUse::Http(_) | ToolUse::Mcp(_) => Err("the server does not have tools of this kind".to_owned()),
            };
            match opened {
                Ok(tool) => {
                    open.tools.insert(tool.definition.name.clone(), tool);
                }
                Err(reason) => open.missing.push(MissingTools {
                    source: wanted.name().unwrap_or(wanted.kind()).to_owned(),
                    reason,
                }),
            }
        }
        ToolsOpening::Ready(open)
    }

    fn names(&self) -> Vec<String> {
        self.tools.keys().cloned().collect()
    }
}

fn client_tool(declared: &ClientTool) -> Result<RunTool, String> {
    Ok(RunTool {
        arguments: argument_check(&declared.parameters)?,
        answered_by: AnsweredBy::Client {
            deadline: declared.deadline(),
            on_deadline: declared.on_deadline,
        },
        requires_approval: declared.requires_approval,
        definition: ToolDefinition {
            name: declared.name.clone(),
            description: declared.description.clone(),
            parameters: declared.parameters.clone(),
        },
    })
}
