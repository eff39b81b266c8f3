//! The tools of this server and those that clients declare, put together for each run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::toolbox::{
    AnsweredBy, InvalidTool, MissingTools, OpenTools, RunTool, Toolbox, ToolsOpening, ToolsWish,
};
use callboard_actors::ports::{Tool, ToolDefinition};
use callboard_actors::tool_use::{ClientTool, HttpTool, McpToolUse, ServerToolUse, ToolUse};

use super::declarations::Declarations;
use super::http_tool::{DeclaredHttpTool, FieldProblem};
use super::limited::{LimitedTool, ToolLimits};
use super::mcp::McpServers;
use super::reach::ToolReach;
use super::schema::CompiledSchema;
use crate::blocking::BlockingPool;
use crate::places::Places;

/// The bounds of a toolbox.
#[derive(Debug, Clone)]
pub struct ToolboxOptions {
    /// How long any call may take.
    pub longest_call: Duration,
    /// Bytes of memory for declared tools that are kept ready.
    pub max_kept: usize,
    /// Limits of the server's own tools, by name.
    pub limits: BTreeMap<String, ToolLimits>,
}

/// The tools of this server, and what can be made of declared ones. Cheap to clone.
#[derive(Clone)]
pub struct ServerToolbox(Arc<Inner>);

struct Inner {
    tools: BTreeMap<String, ServerTool>,
    declarations: Declarations,
    places: Places,
    reach: ToolReach,
    mcp: McpServers,
}

/// What may be done to open a declared tool.
#[derive(Debug, Clone, Copy)]
enum Effort {
    /// It is taken as it was kept, which takes a moment.
    OnlyKnown,
    /// It is taken apart, which takes a while.
    TakeApart,
}

struct ServerTool {
    tool: Arc<dyn Tool>,
    definition: ToolDefinition,
    arguments: Arc<CompiledSchema>,
}

impl ServerToolbox {
    /// Of these tools.
    ///
    /// # Errors
    /// Two have one name, the schema of one is none, or there are limits for one that is not there.
    pub fn new(
        tools: impl IntoIterator<Item = Arc<dyn Tool>>,
        reach: ToolReach,
        mcp: McpServers,
        mut options: ToolboxOptions,
    ) -> anyhow::Result<Self> {
        let mut by_name = BTreeMap::new();
        for tool in tools {
            let definition = tool.definition();
            let name = definition.name.clone();
            let arguments = CompiledSchema::of(&definition.parameters)
                .map_err(|problem| anyhow::anyhow!("the schema of the tool {name:?}: {problem}"))?;
            let limits = options.limits.remove(&name).unwrap_or_default();
            let tool = ServerTool {
                tool: Arc::new(LimitedTool::new(tool, &name, limits)),
                definition,
                arguments,
            };
            if by_name.insert(name.clone(), tool).is_some() {
                anyhow::bail!("there are two tools named {name:?}");
            }
        }
        if let Some((name, _)) = options.limits.pop_first() {
            anyhow::bail!("tools.limits.{name}: this server has no tool of this name");
        }
        Ok(Self(Arc::new(Inner {
            tools: by_name,
            declarations: Declarations::new(options.max_kept, options.longest_call),
            places: Places::default(),
            reach,
            mcp,
        })))
    }
}

impl Inner {
    fn server_tool(&self, wanted: &ServerToolUse, pool: &BlockingPool) -> Result<RunTool, String> {
        let found = self.tools.get(&wanted.name);
        let found = found.ok_or("the server does not have this tool any more")?;
        Ok(RunTool {
            definition: found.definition.clone(),
            answered_by: AnsweredBy::Server(found.tool.clone()),
            requires_approval: wanted.requires_approval,
            arguments: found.arguments.check_on(pool),
        })
    }

    fn client_tool(
        &self,
        declared: &ClientTool,
        pool: &BlockingPool,
        effort: Effort,
    ) -> Option<Result<RunTool, String>> {
        let compiled = match effort {
            Effort::OnlyKnown => Ok(self.declarations.known_schema(&declared.parameters)?),
            Effort::TakeApart => self.declarations.schema(&declared.parameters),
        };
        Some(compiled.map(|compiled| RunTool {
            arguments: compiled.check_on(pool),
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
        }))
    }

    fn http_tool(
        &self,
        declared: &HttpTool,
        account: &AccountId,
        pool: &BlockingPool,
        effort: Effort,
    ) -> Option<Result<RunTool, String>> {
        let declaration = match effort {
            Effort::OnlyKnown => Ok(self.declarations.known_http_tool(declared)?),
            Effort::TakeApart => self.declarations.http_tool(declared),
        };
        let declaration = declaration.map_err(|wrong| wrong.to_string());
        Some(declaration.map(|declaration| RunTool {
            definition: declaration.definition.clone(),
            arguments: declaration.arguments.check_on(pool),
            requires_approval: declared.requires_approval,
            answered_by: AnsweredBy::Server(Arc::new(DeclaredHttpTool::new(
                declaration,
                account,
                &self.places,
                &self.reach,
            ))),
        }))
    }

    fn check_http_tool(&self, declared: &HttpTool, account: &AccountId) -> Result<(), FieldProblem> {
        self.declarations.http_tool(declared)?.check_for(account, &self.reach)
    }

    /// The tools of a run but for those of MCP servers. `None` if that takes more than it may.
    fn open_own(&self, wish: &ToolsWish, effort: Effort) -> Option<OpenTools> {
        let mut open = OpenTools::default();
        if wish.tools.is_empty() {
            return Some(open);
        }
        let pool = self.reach.blocking_pool.for_account(&wish.account);
        for wanted in &wish.tools {
            let opened = match wanted {
                ToolUse::Server(wanted) => self.server_tool(wanted, &pool),
                ToolUse::Client(declared) => self.client_tool(declared, &pool, effort)?,
                ToolUse::Http(declared) => self.http_tool(declared, &wish.account, &pool, effort)?,
                ToolUse::Mcp(_) => continue,
            };
            match opened {
                Ok(tool) => drop(open.tools.insert(tool.definition.name.clone(), tool)),
                Err(reason) => open.missing.push(missing(wanted, reason)),
            }
        }
        Some(open)
    }

    /// The MCP servers whose tools a run has.
    fn mcp_servers(&self, wish: &ToolsWish) -> Vec<McpToolUse> {
        let named = wish.tools.iter().filter_map(|tool| match tool {
            ToolUse::Mcp(wanted) => Some(wanted.clone()),
            _ => None,
        });
        self.mcp.with_those_of_every_run(&wish.account, named.collect())
    }
}

fn missing(wanted: &ToolUse, reason: String) -> MissingTools {
    MissingTools {
        source: wanted.name().unwrap_or(wanted.kind()).to_owned(),
        reason,
    }
}

/// What a run has if its tools could not even be looked at.
fn nothing_of(wish: &ToolsWish) -> OpenTools {
    let own = wish.tools.iter().filter(|tool| !matches!(tool, ToolUse::Mcp(_)));
    OpenTools {
        missing: own
            .map(|tool| missing(tool, "it could not be opened".to_owned()))
            .collect(),
        ..OpenTools::default()
    }
}

impl Toolbox for ServerToolbox {
    fn check(&self, account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool> {
        for (index, tool) in tools.iter().enumerate() {
            let invalid = |field: Option<&str>, is_unknown, problem| InvalidTool {
                index,
                field: field.map(str::to_owned),
                is_unknown,
                problem,
            };
            match tool {
                ToolUse::Server(wanted) => {
                    if !self.0.tools.contains_key(&wanted.name) {
                        let problem = format!("there is no tool `{}` here", wanted.name);
                        return Err(invalid(None, true, problem));
                    }
                }
                ToolUse::Client(declared) => {
                    let checked = self.0.declarations.schema(&declared.parameters);
                    checked.map_err(|problem| invalid(Some("parameters"), false, problem))?;
                }
                ToolUse::Http(declared) => {
                    let checked = self.0.check_http_tool(declared, account);
                    checked.map_err(|wrong| invalid(Some(&wrong.field), false, wrong.problem))?;
                }
                ToolUse::Mcp(wanted) => self.0.mcp.check(account, wanted, index)?,
            }
        }
        Ok(())
    }

    fn open(&self, wish: ToolsWish) -> ToolsOpening {
        let inner = self.0.clone();
        if let Some(mut open) = inner.open_own(&wish, Effort::OnlyKnown) {
            let servers = inner.mcp_servers(&wish);
            if inner.mcp.open_known(&wish.account, &servers, &mut open).is_some() {
                return ToolsOpening::Ready(open);
            }
            return ToolsOpening::Later(Box::pin(async move {
                inner.mcp.open(&wish.account, &servers, &mut open).await;
                open
            }));
        }
        ToolsOpening::Later(Box::pin(async move {
            let (opener, wish) = (inner.clone(), Arc::new(wish));
            let wanted = wish.clone();
            let pool = inner.reach.blocking_pool.for_account(&wish.account);
            let opened = pool.run(move || opener.open_own(&wanted, Effort::TakeApart)).await;
            let mut open = opened.ok().flatten().unwrap_or_else(|| nothing_of(&wish));
            let servers = inner.mcp_servers(&wish);
            inner.mcp.open(&wish.account, &servers, &mut open).await;
            open
        }))
    }

    fn names(&self) -> Vec<String> {
        self.0.tools.keys().cloned().collect()
    }
}
