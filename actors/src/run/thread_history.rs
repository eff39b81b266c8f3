//! What was said in a run's thread before the run: as much of it as the model can see.
//!
//! Read from the newest turn back, and no further than it fits, so that a run costs what its model sees and not what its thread is long.

use std::sync::Arc;

use crate::error::{RunError, RunErrorCode};
use crate::event::EventBody;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::llm::estimate::{ConversationSize, likely_tokens_of_bytes, likely_tokens_of_settings, size_of_items};
use crate::ports::threads::{RunThread, Turn};
use crate::ports::{StoreError, ToolDefinition};
use crate::run::tools::calls_without_result;
use crate::services::RunServices;
use crate::spec::{HistoryPolicy, RunSpec};

/// Turns that are read at once.
const TURNS_AT_ONCE: u32 = 16;

/// What a model is told of a call whose run ended before its result came.
const NO_RESULT: &str = "the run ended before this call had a result";

/// What was said before, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EarlierTurns {
    pub(crate) items: Vec<Arc<Item>>,
    /// The event that tells of turns that were left out, if some were.
    pub(crate) trimmed: Option<EventBody>,
    /// There is too much of it, and nothing may be left out.
    pub(crate) refused: Option<RunError>,
}

/// How much of a thread a run may go on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    policy: HistoryPolicy,
    tokens: Option<u64>,
    bytes: u64,
}

/// Reads the turns before a run, whose own items and tools are these.
pub(crate) async fn read(
    services: &RunServices,
    thread: RunThread,
    spec: &RunSpec,
    own: &[Item],
    tools: &[ToolDefinition],
) -> Result<EarlierTurns, StoreError> {
    let bounds = Bounds {
        policy: spec.history.policy,
        tokens: max_tokens(services, spec, own, tools),
        bytes: services.settings.max_history_bytes as u64,
    };
    let mut kept: Vec<Vec<Item>> = Vec::new();
    let mut size = ConversationSize::default();
    let mut before = thread.position;
    loop {
        let page = services.threads.turns_before(thread.id, before, TURNS_AT_ONCE).await?;
        if page.is_empty() {
            return Ok(earlier(kept, None));
        }
        for turn in page {
            let Turn { position, items } = turn;
            let items = closed(items);
            let of_turn = size_of_items(&items);
            let with_turn = ConversationSize {
                bytes: size.bytes + of_turn.bytes,
                tokens: size.tokens + of_turn.tokens,
            };
            if bounds.allow(with_turn) {
                size = with_turn;
                before = position;
                kept.push(items);
                continue;
            }
            if bounds.policy == HistoryPolicy::None {
                return Ok(EarlierTurns {
                    refused: Some(too_long(bounds)),
                    ..EarlierTurns::default()
                });
            }
            let left_out = services.threads.extent_before(thread.id, before).await?;
            let trimmed = EventBody::HistoryTrimmed {
                turns: left_out.turns,
                tokens: likely_tokens_of_bytes(left_out.bytes),
                kept_turns: kept.len() as u64,
                kept_tokens: size.tokens,
            };
            return Ok(earlier(kept, Some(trimmed)));
        }
    }
}

impl Bounds {
    fn allow(&self, size: ConversationSize) -> bool {
        size.bytes <= self.bytes && self.tokens.is_none_or(|limit| size.tokens <= limit)
    }
}

/// `kept` is newest first.
fn earlier(kept: Vec<Vec<Item>>, trimmed: Option<EventBody>) -> EarlierTurns {
    EarlierTurns {
        items: kept.into_iter().rev().flatten().map(Arc::new).collect(),
        trimmed,
        refused: None,
    }
}

fn too_long(bounds: Bounds) -> RunError {
    RunError::new(
        RunErrorCode::HistoryLimit,
        format!(
            "the thread has more than the {} bytes that a run goes on with, and history.policy is \"none\"",
            bounds.bytes
        ),
    )
}

/// Tokens that the history may take: what the run says, and no more than the smallest window of its models leaves. `None`: nobody says.
fn max_tokens(services: &RunServices, spec: &RunSpec, own: &[Item], tools: &[ToolDefinition]) -> Option<u64> {
    if spec.history.policy == HistoryPolicy::None {
        return None;
    }
    let names = std::iter::once(&spec.model).chain(&spec.fallback_models);
    let routes = names.filter_map(|name| services.models.get(name));
    let left = routes.filter_map(|route| {
        let window = route.context_window?;
        let answer = spec
            .limits
            .max_output_tokens
            .unwrap_or(route.calls.expected_output_tokens);
        // A generous limit of output is no reason to forget everything.
        let answer = answer.min(window / 2);
        let fixed = size_of_items(own).tokens + likely_tokens_of_settings(spec.instructions.as_deref(), tools);
        Some(window.saturating_sub(answer).saturating_sub(fixed))
    });
    left.chain(spec.history.max_tokens).min()
}

/// What models accept of the items of a run that has ended: those that are whole; each call with a result, if only one that says that
/// there is none; no thought that leads to nothing.
fn closed(items: Vec<Item>) -> Vec<Item> {
    let mut whole: Vec<Item> = items
        .into_iter()
        .filter(|item| item.status == ItemStatus::Completed)
        .collect();
    while whole
        .last()
        .is_some_and(|item| matches!(item.content, ItemContent::Reasoning { .. }))
    {
        whole.pop();
    }
    let last = whole.last().map(|item| (item.id, item.created_at));
    let open = calls_without_result(whole.iter());
    let Some((id, created_at)) = last.filter(|_| !open.is_empty()) else {
        return whole;
    };
    for call in open {
        // It is shown to the model and nowhere else: the same at each reading.
        whole.push(Item {
            id,
            status: ItemStatus::Completed,
            created_at,
            content: ItemContent::ToolResult {
                call_id: call.call_id,
                output: NO_RESULT.into(),
                is_error: true,
                truncated: false,
            },
        });
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Role;

    fn call(call_id: &str) -> Item {
        Item::new(
            ItemStatus::Completed,
            ItemContent::ToolCall {
                call_id: call_id.into(),
                name: "now".into(),
                arguments: "{}".into(),
            },
        )
    }

    fn result(call_id: &str) -> Item {
        Item::new(
            ItemStatus::Completed,
            ItemContent::ToolResult {
                call_id: call_id.into(),
                output: "noon".into(),
                is_error: false,
                truncated: false,
            },
        )
    }

    fn thought() -> Item {
        Item::new(
            ItemStatus::Completed,
            ItemContent::Reasoning {
                text: "hm".into(),
                seal: None,
            },
        )
    }

    #[test]
    fn a_turn_is_closed_so_that_models_accept_it() {
        let said = Item::message(Role::User, "what time is it?");
        let cut_off = Item {
            status: ItemStatus::Incomplete,
            ..Item::message(Role::Assistant, "It is")
        };
        let (first, second, done) = (call("one"), call("two"), result("one"));
        let items = vec![
            said.clone(),
            first.clone(),
            second.clone(),
            done.clone(),
            thought(),
            cut_off,
        ];
        let closed = closed(items);
        assert_eq!(closed[..4], [said, first, second, done]);
        let ItemContent::ToolResult {
            call_id,
            output,
            is_error,
            ..
        } = &closed[4].content
        else {
            panic!("no result: {closed:?}");
        };
        assert_eq!((call_id.as_str(), output.as_str(), *is_error), ("two", NO_RESULT, true));
        assert_eq!(
            closed.len(),
            5,
            "neither the half sentence nor the thought that led to it"
        );
    }

    #[test]
    fn what_is_whole_stays_as_it_is() {
        let items = vec![
            Item::message(Role::User, "hello"),
            thought(),
            call("one"),
            result("one"),
            thought(),
            Item::message(Role::Assistant, "noon"),
        ];
        assert_eq!(closed(items.clone()), items);
        assert_eq!(closed(Vec::new()), []);
        assert_eq!(closed(vec![thought()]), []);
    }
}
