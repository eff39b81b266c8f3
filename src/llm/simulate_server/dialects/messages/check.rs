//! What Anthropic refuses in a conversation.

use serde_json::Value;

use crate::llm::simulate_server::dialects::conversation::OpenToolCalls;
use crate::llm::simulate_server::seal::signature_of;

/// The fewest tokens of a budget for thoughts.
const SMALLEST_BUDGET: u64 = 1_024;

/// Messages of one side that follow each other.
pub(super) struct Turn<'a> {
    is_answer: bool,
    messages: Vec<(usize, &'a Value)>,
}

/// The blocks of a message; a text alone is none.
pub(super) fn blocks(message: &Value) -> impl Iterator<Item = &Value> {
    message["content"].as_array().into_iter().flatten()
}

pub(super) fn check_thinking(thinking: &Value, max_tokens: u64) -> Result<(), String> {
    if thinking["type"] != "enabled" {
        return Ok(());
    }
    match thinking["budget_tokens"].as_u64() {
        Some(budget) if budget < SMALLEST_BUDGET => {
            Err("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".into())
        }
        Some(budget) if budget >= max_tokens => {
            Err("`max_tokens` must be greater than `thinking.budget_tokens`.".into())
        }
        Some(_) => Ok(()),
        None => Err("thinking.enabled.budget_tokens: Field required".into()),
    }
}

pub(super) fn turns_of(messages: &[Value]) -> Result<Vec<Turn<'_>>, String> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let is_answer = match message["role"].as_str() {
            Some("user") => false,
            Some("assistant") => true,
            _ => return Err(format!("messages.{index}.role: Input should be 'user' or 'assistant'")),
        };
        if !message["content"].is_string() && !message["content"].is_array() {
            return Err(format!(
                "messages.{index}.content: Input should be a valid string or list"
            ));
        }
        match turns.last_mut().filter(|turn| turn.is_answer == is_answer) {
            Some(turn) => turn.messages.push((index, message)),
            None => turns.push(Turn {
                is_answer,
                messages: vec![(index, message)],
            }),
        }
    }
    Ok(turns)
}

pub(super) fn check_messages(turns: &[Turn<'_>]) -> Result<(), String> {
    if turns.is_empty() {
        return Err("messages: at least one message is required".into());
    }
    let mut open = OpenToolCalls::default();
    for turn in turns {
        for (index, message) in &turn.messages {
            if message["content"] == "" && !turn.is_answer {
                return Err(format!("messages.{index}: user messages must have non-empty content"));
            }
            for (place, block) in blocks(message).enumerate() {
                check_block(block, &mut open)
                    .map_err(|problem| format!("messages.{index}.content.{place}: {problem}"))?;
            }
        }
        if !turn.is_answer {
            check_answered(turn, &mut open)?;
        }
    }
    match turns.last() {
        Some(turn) if turn.is_answer => check_answered(turn, &mut open),
        _ => Ok(()),
    }
}

fn check_answered(turn: &Turn<'_>, open: &mut OpenToolCalls) -> Result<(), String> {
    let Some(ids) = open.close() else { return Ok(()) };
    let index = turn.messages.first().map_or(0, |(index, _)| *index);
    Err(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. \
         Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    ))
}

fn check_block(block: &Value, open: &mut OpenToolCalls) -> Result<(), String> {
    let text = |field: &str| block[field].as_str().unwrap_or_default();
    match text("type") {
        "text" if text("text").is_empty() => Err("text content blocks must be non-empty".into()),
        "tool_use" => {
            open.call(text("id"));
            if block["input"].is_object() {
                return Ok(());
            }
            Err("tool_use.input: Input should be a valid dictionary".into())
        }
        "tool_result" if !open.answer(text("tool_use_id")) => Err(format!(
            "unexpected `tool_use_id` found in `tool_result` blocks: {}. \
             Each `tool_result` block must have a corresponding `tool_use` block in the previous message.",
            text("tool_use_id")
        )),
        "thinking" if text("signature") != signature_of(text("thinking")) => {
            Err("Invalid `signature` in `thinking` block".into())
        }
        "" => Err("type: Field required".into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(messages: &Value) -> Result<(), String> {
        let messages = messages.as_array().expect("a list");
        check_messages(&turns_of(messages)?)
    }

    #[test]
    fn a_right_conversation_is_taken() {
        let thought = json!({"type": "thinking", "thinking": "hm", "signature": signature_of("hm")});
        let call = |id| json!({"type": "tool_use", "id": id, "name": "now", "input": {}});
        let result = |id| json!({"type": "tool_result", "tool_use_id": id, "content": "9"});
        let right = json!([
            {"role": "user", "content": "Hello"}, {"role": "user", "content": [{"type": "text", "text": "?"}]},
            {"role": "assistant", "content": [thought, call("a"), call("b")]},
            {"role": "user", "content": [result("b"), result("a")]},
            {"role": "assistant", "content": "nine"}
        ]);
        assert_eq!(checked(&right), Ok(()));
    }

    #[test]
    fn wrong_ones_are_refused_where_they_are_wrong() {
        let call =
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "now", "input": {}}]});
        let result = json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": ""}]});
        for (messages, said) in [
            (json!([]), "at least one"),
            (json!([{"role": "system", "content": "x"}]), "messages.0.role"),
            (
                json!([{"role": "user", "content": [{"type": "text", "text": ""}]}]),
                "messages.0.content.0",
            ),
            (json!([call, {"role": "user", "content": "?"}]), "immediately after: a"),
            (json!([call]), "immediately after: a"),
            (
                json!([call, {"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}, result]),
                "immediately after: a",
            ),
            (json!([result]), "unexpected `tool_use_id`"),
            (json!([call, result, result]), "unexpected `tool_use_id`"),
            (
                json!([{"role": "assistant", "content": [{"type": "thinking", "thinking": "x", "signature": "y"}]}]),
                "Invalid `signature`",
            ),
        ] {
            let problem = checked(&messages).expect_err("it is wrong");
            assert!(problem.contains(said), "{problem}");
        }
    }

    #[test]
    fn a_budget_for_thoughts_leaves_room_for_an_answer() {
        let budget = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens});
        assert!(check_thinking(&budget(1_024), 2_000).is_ok());
        assert!(check_thinking(&budget(1_023), 2_000).is_err());
        assert!(check_thinking(&budget(2_000), 2_000).is_err());
        assert!(check_thinking(&Value::Null, 1).is_ok());
    }
}
