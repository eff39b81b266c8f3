//! Puts a model's answer together from its pieces: items that grow, and in the end are whole or cut off.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::{EventBody, FinishReason, ItemSeed};
use crate::ids::ItemId;
use crate::item::{ContentPart, Item, ItemContent, ItemStatus, ReasoningSeal, Role, Usage};
use crate::ports::ModelDelta;
use crate::time::Timestamp;

/// What an item counts for beside its text, in bytes: about what its events and its row take. Without it, items that say nothing would be
/// free, and an answer of them without end.
const ITEM_OVERHEAD: usize = 256;

/// The answer of one model call, as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    items: Vec<GrowingItem>,
    /// Where each of the provider's tool calls is in `items`.
    tool_calls: BTreeMap<u32, usize>,
    /// Their ids: what ties a result to its call, so no two calls of an answer may share one, whatever the provider says.
    call_ids: BTreeSet<String>,
    bytes: usize,
}

/// An item that is not whole yet.
#[derive(Debug, Clone)]
pub(crate) struct GrowingItem {
    pub(crate) id: ItemId,
    pub(crate) index: u32,
    pub(crate) seed: ItemSeed,
    pub(crate) text: String,
    /// Of a thought that is whole: what is thought next is another one.
    pub(crate) seal: Option<ReasoningSeal>,
    pub(crate) created_at: Timestamp,
}

/// How an answer ended.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) reason: FinishReason,
    pub(crate) usage: Usage,
    pub(crate) model: String,
}

/// An answer that makes no sense or has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerError {
    #[error("the model's answer is longer than this server takes")]
    TooLong,
    #[error("the model sent arguments for a tool call that it had not begun")]
    UnknownToolCall,
}

impl GrowingItem {
    /// The item as it stands.
    pub(crate) fn into_item(self, status: ItemStatus) -> Item {
        let content = match self.seed {
            ItemSeed::Message { role } => ItemContent::Message {
                role,
                content: vec![ContentPart::text(self.text)],
            },
            ItemSeed::Reasoning => ItemContent::Reasoning {
                text: self.text,
                seal: self.seal,
            },
            ItemSeed::ToolCall { call_id, name } => ItemContent::ToolCall {
                call_id,
                name,
                arguments: self.text,
            },
            ItemSeed::ToolResult { call_id } => ItemContent::ToolResult {
                call_id,
                output: self.text,
                is_error: false,
                truncated: false,
                approved_arguments: None,
            },
            // It comes whole; of one that does not, nothing is known.
            ItemSeed::Summary => ItemContent::Summary {
                text: self.text,
                turns: 0,
                tokens: 0,
                before_position: 0,
            },
        };
        Item {
            id: self.id,
            status,
            created_at: self.created_at,
            content,
        }
    }
}

impl Answer {
    /// Takes a piece in, adding what subscribers should see to `events` and giving new items their places from `next_index` on.
    pub(crate) fn take_in(
        &mut self,
        piece: ModelDelta,
        max_bytes: usize,
        next_index: &mut u32,
        events: &mut Vec<EventBody>,
    ) -> Result<Option<Finish>, AnswerError> {
        match piece {
            // What says nothing begins nothing.
            ModelDelta::Working => {}
            ModelDelta::Text(delta) | ModelDelta::Reasoning(delta) if delta.is_empty() => {}
            ModelDelta::Text(delta) => {
                let seed = ItemSeed::Message { role: Role::Assistant };
                let place = self.growing(seed, max_bytes, next_index, events)?;
                self.grow(place, delta, max_bytes, events, |item_id, delta| EventBody::TextDelta {
                    item_id,
                    delta,
                })?;
            }
            ModelDelta::Reasoning(delta) => {
                let place = self.growing(ItemSeed::Reasoning, max_bytes, next_index, events)?;
                let event = |item_id, delta| EventBody::ReasoningDelta { item_id, delta };
                self.grow(place, delta, max_bytes, events, event)?;
            }
            // A provider may seal a thought that it does not show at all.
            ModelDelta::ReasoningSealed(seal) => {
                self.count(seal.data.to_string().len(), max_bytes)?;
                let place = self.growing(ItemSeed::Reasoning, max_bytes, next_index, events)?;
                self.items[place].seal = Some(seal);
            }
            ModelDelta::ToolCallStarted { index, call_id, name } => {
                self.count(call_id.len() + name.len(), max_bytes)?;
                let call_id = self.unique_call_id(&call_id);
                let place = self.add(ItemSeed::ToolCall { call_id, name }, max_bytes, next_index, events)?;
                self.tool_calls.insert(index, place);
            }
            ModelDelta::ToolCallArguments { index, delta } => {
                let place = *self.tool_calls.get(&index).ok_or(AnswerError::UnknownToolCall)?;
                let event = |item_id, delta| EventBody::ArgumentsDelta { item_id, delta };
                self.grow(place, delta, max_bytes, events, event)?;
            }
            ModelDelta::Finished { reason, usage, model } => return Ok(Some(Finish { reason, usage, model })),
        }
        Ok(None)
    }

    /// Bytes of everything the model has written so far.
    pub(crate) fn text_bytes(&self) -> usize {
        self.items.iter().map(|item| item.text.len()).sum()
    }

    /// Ends the answer: every item is whole, or was cut off.
    pub(crate) fn end(&mut self, status: ItemStatus, events: &mut Vec<EventBody>) -> Vec<Item> {
        self.tool_calls.clear();
        self.call_ids.clear();
        self.bytes = 0;
        let growing = std::mem::take(&mut self.items);
        growing.into_iter().map(|item| end_item(item, status, events)).collect()
    }

    /// The place of the last item, if it is of this kind, or of a new one.
    fn growing(
        &mut self,
        seed: ItemSeed,
        max_bytes: usize,
        next_index: &mut u32,
        events: &mut Vec<EventBody>,
    ) -> Result<usize, AnswerError> {
        match self.items.last() {
            Some(last) if last.seed == seed && last.seal.is_none() => Ok(self.items.len() - 1),
            _ => self.add(seed, max_bytes, next_index, events),
        }
    }

    fn add(
        &mut self,
        seed: ItemSeed,
        max_bytes: usize,
        next_index: &mut u32,
        events: &mut Vec<EventBody>,
    ) -> Result<usize, AnswerError> {
        self.count(ITEM_OVERHEAD, max_bytes)?;
        let item = GrowingItem {
            id: ItemId::new(),
            index: *next_index,
            seed: seed.clone(),
            text: String::new(),
            seal: None,
            created_at: Timestamp::now(),
        };
        *next_index += 1;
        events.push(EventBody::ItemAdded {
            item_id: item.id,
            index: item.index,
            item: seed,
        });
        self.items.push(item);
        Ok(self.items.len() - 1)
    }

    fn grow(
        &mut self,
        place: usize,
        delta: String,
        max_bytes: usize,
        events: &mut Vec<EventBody>,
        event: impl FnOnce(ItemId, String) -> EventBody,
    ) -> Result<(), AnswerError> {
        if delta.is_empty() {
            return Ok(());
        }
        self.count(delta.len(), max_bytes)?;
        let item = &mut self.items[place];
        item.text.push_str(&delta);
        // Pieces that came together for one item are one event.
        if let Some(
            EventBody::TextDelta { item_id, delta: last }
            | EventBody::ReasoningDelta { item_id, delta: last }
            | EventBody::ArgumentsDelta { item_id, delta: last },
        ) = events.last_mut()
            && *item_id == item.id
        {
            last.push_str(&delta);
            return Ok(());
        }
        events.push(event(item.id, delta));
        Ok(())
    }

    /// The provider's id for a call, with a number behind it if an earlier call of this answer has the same, or if it is empty.
    fn unique_call_id(&mut self, given: &str) -> String {
        let mut number = self.tool_calls.len();
        let (base, mut call_id) = match given {
            "" => ("call", format!("call_{number}")),
            base => (base, base.to_owned()),
        };
        while !self.call_ids.insert(call_id.clone()) {
            number += 1;
            call_id = format!("{base}_{number}");
        }
        call_id
    }

    fn count(&mut self, bytes: usize, max_bytes: usize) -> Result<(), AnswerError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > max_bytes {
            Err(AnswerError::TooLong)
        } else {
            Ok(())
        }
    }
}

/// Ends one item and tells of it.
pub(crate) fn end_item(item: GrowingItem, status: ItemStatus, events: &mut Vec<EventBody>) -> Item {
    let index = item.index;
    let item = item.into_item(status);
    events.push(match status {
        ItemStatus::Completed => EventBody::ItemCompleted {
            index,
            item: item.clone(),
        },
        ItemStatus::Incomplete => EventBody::ItemIncomplete {
            index,
            item: item.clone(),
        },
    });
    item
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(events: &[EventBody]) -> Vec<&'static str> {
        events.iter().map(EventBody::kind).collect()
    }

    #[test]
    fn no_two_calls_of_an_answer_share_an_id() {
        let (mut answer, mut index, mut events) = (Answer::default(), 0, Vec::new());
        for (place, given) in ["same", "same", "same_2", "same", "", ""].into_iter().enumerate() {
            let call = ModelDelta::ToolCallStarted {
                index: u32::try_from(place).expect("few calls"),
                call_id: given.into(),
                name: "now".into(),
            };
            answer
                .take_in(call, 10_000, &mut index, &mut events)
                .expect("it makes sense");
        }
        let items = answer.end(ItemStatus::Completed, &mut events);
        let ids: Vec<&str> = items
            .iter()
            .filter_map(|item| match &item.content {
                ItemContent::ToolCall { call_id, .. } => Some(call_id.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(ids[0], "same", "an id that is unique stays as it is");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6, "{ids:?}");
        assert!(ids.iter().all(|id| !id.is_empty()), "{ids:?}");
    }

    #[test]
    fn text_and_parallel_tool_calls_become_items_in_order() {
        let (mut answer, mut index, mut events) = (Answer::default(), 0, Vec::new());
        let started = |index, name: &str| ModelDelta::ToolCallStarted {
            index,
            call_id: format!("call_{index}"),
            name: name.into(),
        };
        let arguments = |index, delta: &str| ModelDelta::ToolCallArguments {
            index,
            delta: delta.into(),
        };
        let pieces = [
            ModelDelta::Text("Let me ".into()),
            ModelDelta::Text("look.".into()),
            started(0, "now"),
            started(1, "echo"),
            arguments(0, "{}"),
            arguments(1, "{\"a\""),
            arguments(1, ":1}"),
        ];
        for piece in pieces {
            answer
                .take_in(piece, 1000, &mut index, &mut events)
                .expect("it makes sense");
        }
        let items = answer.end(ItemStatus::Completed, &mut events);
        assert_eq!(items.len(), 3);
        assert_eq!(items[0].assistant_text().as_deref(), Some("Let me look."));
        assert!(matches!(&items[2].content, ItemContent::ToolCall { arguments, .. } if arguments == "{\"a\":1}"));
        let expected = [
            "item.added",
            "text.delta",
            "item.added",
            "item.added",
            "arguments.delta",
            "arguments.delta",
        ];
        assert_eq!(kinds(&events)[..6], expected);
        assert_eq!(kinds(&events)[6..], ["item.completed"; 3]);
    }

    #[test]
    fn what_broke_off_is_incomplete_and_the_next_answer_has_new_items() {
        let (mut answer, mut index, mut events) = (Answer::default(), 4, Vec::new());
        answer
            .take_in(ModelDelta::Text("Hal".into()), 1000, &mut index, &mut events)
            .expect("fine");
        let cut = answer.end(ItemStatus::Incomplete, &mut events);
        answer
            .take_in(ModelDelta::Text("Hello".into()), 1000, &mut index, &mut events)
            .expect("fine");
        let whole = answer.end(ItemStatus::Completed, &mut events);
        assert_ne!(cut[0].id, whole[0].id);
        assert_eq!(cut[0].assistant_text(), None);
        let indices: Vec<u32> = events
            .iter()
            .filter_map(|event| match event {
                EventBody::ItemAdded { index, .. } => Some(*index),
                _ => None,
            })
            .collect();
        assert_eq!(indices, [4, 5]);
    }

    #[test]
    fn answers_are_bounded_and_must_make_sense() {
        let (mut answer, mut index, mut events) = (Answer::default(), 0, Vec::new());
        let mut take = |piece| answer.take_in(piece, ITEM_OVERHEAD + 8, &mut index, &mut events);
        assert!(take(ModelDelta::Text("12345678".into())).is_ok());
        assert_eq!(
            take(ModelDelta::Text("9".into())).expect_err("too long"),
            AnswerError::TooLong
        );
        let orphan = ModelDelta::ToolCallArguments {
            index: 3,
            delta: String::new(),
        };
        assert_eq!(take(orphan).expect_err("unknown"), AnswerError::UnknownToolCall);
    }

    #[test]
    fn an_answer_of_items_that_say_nothing_has_an_end() {
        let (mut answer, mut index, mut events) = (Answer::default(), 0, Vec::new());
        let limit = 10 * ITEM_OVERHEAD;
        for _ in 0..1000 {
            for silence in [ModelDelta::Text(String::new()), ModelDelta::Reasoning(String::new())] {
                answer
                    .take_in(silence, limit, &mut index, &mut events)
                    .expect("it says nothing");
            }
        }
        assert_eq!((index, events.len()), (0, 0), "what says nothing begins nothing");
        let nameless = |index| ModelDelta::ToolCallStarted {
            index,
            call_id: String::new(),
            name: String::new(),
        };
        let taken =
            (0..1000).take_while(|call| answer.take_in(nameless(*call), limit, &mut index, &mut events).is_ok());
        assert_eq!(taken.count(), 10);
    }
}
