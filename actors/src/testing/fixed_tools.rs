//! Tools that are all there, for servers without any other source.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::ids::AccountId;
use crate::ports::toolbox::{
    AnsweredBy, ArgumentCheck, InvalidTool, MissingTools, OpenTools, RunTool, Toolbox, ToolsOpening, ToolsWish,
    parse_arguments,
};
use crate::ports::{Tool, ToolDefinition};
use crate::tool_use::ToolUse;

/// Each by its own name. Arguments are not checked.
pub struct FixedTools(BTreeMap<String, Arc<dyn Tool>>);

impl FixedTools {
    /// Of these. Of two with one name the later counts.
    pub fn new(tools: impl IntoIterator<Item = Arc<dyn Tool>>) -> Self {
        Self(tools.into_iter().map(|tool| (tool.definition().name, tool)).collect())
    }
}

/// Takes everything.
struct AnyArguments;

#[async_trait]
impl ArgumentCheck for AnyArguments {
    async fn read(&self, written: String) -> Result<Value, String> {
        parse_arguments(&written)
    }
}

impl Toolbox for FixedTools {
    fn check(&self, _account: &AccountId, tools: &[ToolUse]) -> Result<(), InvalidTool> {
        let unknown = tools.iter().position(|tool| match tool {
            ToolUse::Server(tool) => !self.0.contains_key(&tool.name),
            ToolUse::Client(_) => false,
            ToolUse::Http(_) | ToolUse::Mcp(_) => true,
        });
        unknown.map_or(Ok(()), |index| {
            Err(InvalidTool {
                index,
                field: None,
                is_unknown: true,
                problem: "there is no such tool".into(),
            })
        })
    }

    fn open(&self, wish: ToolsWish) -> ToolsOpening {
        let mut open = OpenTools::default();
        for wanted in wish.tools {
            let tool = match wanted {
                ToolUse::Server(wanted) => {
                    let Some(tool) = self.0.get(&wanted.name) else {
                        open.missing.push(MissingTools {
                            source: wanted.name,
                            reason: "the server does not have this tool any more".into(),
                        });
                        continue;
                    };
                    RunTool {
                        definition: tool.definition(),
                        answered_by: AnsweredBy::Server(tool.clone()),
                        requires_approval: wanted.requires_approval,
                        arguments: Arc::new(AnyArguments),
                    }
                }
                ToolUse::Client(wanted) => RunTool {
                    answered_by: AnsweredBy::Client {
                        deadline: wanted.deadline(),
                        on_deadline: wanted.on_deadline,
                    },
                    requires_approval: wanted.requires_approval,
                    arguments: Arc::new(AnyArguments),
                    definition: ToolDefinition {
                        name: wanted.name,
                        description: wanted.description,
                        parameters: wanted.parameters,
                    },
                },
                ToolUse::Http(_) | ToolUse::Mcp(_) => continue,
            };
            open.tools.insert(tool.definition.name.clone(), tool);
        }
        ToolsOpening::Ready(open)
    }

    fn names(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
}
