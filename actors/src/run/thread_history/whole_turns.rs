//! What models accept of a turn, whatever became of its run.

use crate::item::{Item, ItemContent, ItemStatus};
use crate::run::tools::calls_without_result;

/// What a model is told of a call whose run ended before its result came.
const NO_RESULT: &str = "the run ended before this call had a result";

/// What models accept of the items of a run that has ended: those that are whole; each call with a result, if only one that says that
/// there is none; no thought that leads to nothing. A summary is no part of what was said: it stands for turns before this one.
pub(super) fn closed(items: Vec<Item>) -> Vec<Item> {
    let mut whole: Vec<Item> = items
        .into_iter()
        .filter(|item| item.status == ItemStatus::Completed && !matches!(item.content, ItemContent::Summary { .. }))
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
                approved_arguments: None,
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
                approved_arguments: None,
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
