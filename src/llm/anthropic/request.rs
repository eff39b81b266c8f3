//! What is sent to `/v1/messages`.

use std::borrow::Cow;

use callboard_actors::item::CacheControl;
use callboard_actors::ports::ModelRequest;
use serde::Serialize;
use serde_json::{Value, json};

use super::cache_marks::mark_all;
use super::messages::{Block, Side, Turn, system_of, turns_of};
use super::options::{OptionsInUse, OutputConfig, PassedOn};

/// The fewest tokens that the API takes as a budget for thoughts.
const SMALLEST_THINKING_BUDGET: u64 = 1_024;

#[derive(Serialize)]
pub(super) struct MessagesRequest<'a> {
    model: &'a str,
    max_tokens: u64,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<Vec<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Cow<'a, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(flatten)]
    passed_on: PassedOn<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    input_schema: &'a Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
}

impl<'a> MessagesRequest<'a> {
    pub(super) fn new(
        model: &'a str,
        default_max_tokens: u64,
        request: &'a ModelRequest,
        options: OptionsInUse<'a>,
    ) -> Self {
        let tools = request.tools.iter().map(|tool| Tool {
            name: &tool.name,
            description: &tool.description,
            input_schema: &tool.parameters,
            cache_control: None,
        });
        let mut tools: Vec<_> = tools.collect();
        let mut system = system_of(request.instructions.as_deref(), &request.conversation);
        let mut messages = turns_of(&request.conversation);
        if let Some(mark) = &options.cache_mark {
            mark_all(mark, &mut tools, &mut system, &mut messages);
        }
        // What the model may think is part of what it may write, and must leave room for an answer.
        let default_max_tokens = default_max_tokens.saturating_add(options.thinking_budget());
        let max_tokens = request.max_output_tokens.unwrap_or(default_max_tokens);
        let thinking = options
            .thinking
            .filter(|thinking| can_go_on_thinking(thinking, &messages));
        Self {
            model,
            max_tokens,
            stream: true,
            tool_choice: tool_choice(&options, tools.is_empty()),
            thinking: thinking.and_then(|thinking| thinking_within(max_tokens, thinking)),
            system,
            messages,
            tools,
            stop_sequences: options.stop_sequences,
            output_config: options.output_config,
            passed_on: options.passed_on,
        }
    }
}

/// The API refuses a choice where there is nothing to choose from, and a word on parallel calls where there are to be none.
fn tool_choice(options: &OptionsInUse<'_>, no_tools: bool) -> Option<Value> {
    if no_tools {
        return None;
    }
    if !options.one_tool_at_a_time {
        return options.tool_choice.clone();
    }
    let mut choice = options.tool_choice.clone().unwrap_or_else(|| json!({"type": "auto"}));
    if choice["type"] != "none" {
        choice["disable_parallel_tool_use"] = true.into();
    }
    Some(choice)
}

/// The API refuses a budget for thoughts that is not below `max_tokens`, and what is left of a run's or an account's budget may be less than
/// the agent's author had in mind. The thoughts then have three quarters of it, so that an answer comes of them; `None` where not even the
/// smallest budget fits.
fn thinking_within(max_tokens: u64, thinking: &Value) -> Option<Cow<'_, Value>> {
    let is_too_much = thinking["type"] == "enabled"
        && thinking["budget_tokens"]
            .as_u64()
            .is_some_and(|budget| budget >= max_tokens);
    if !is_too_much {
        return Some(Cow::Borrowed(thinking));
    }
    if max_tokens <= SMALLEST_THINKING_BUDGET {
        return None;
    }
    let mut less = thinking.clone();
    less["budget_tokens"] = (max_tokens - max_tokens.div_ceil(4))
        .max(SMALLEST_THINKING_BUDGET)
        .into();
    Some(Cow::Owned(less))
}

/// With a budget for thoughts (`enabled`), the API wants the turn that called the tools to begin with a thought. It does not if another
/// provider answered then: this answer does without.
fn can_go_on_thinking(thinking: &Value, turns: &[Turn<'_>]) -> bool {
    if thinking["type"] != "enabled" {
        return true;
    }
    let last_answer = turns.iter().rfind(|turn| turn.role == Side::Assistant);
    last_answer.is_none_or(|turn| {
        !turn.content.iter().any(Block::is_tool_use) || turn.content.first().is_some_and(Block::is_thought)
    })
}
