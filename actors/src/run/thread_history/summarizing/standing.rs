//! A summary that was made, and what it stands for.

use std::sync::Arc;

use crate::event::EventBody;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::llm::estimate::{ConversationSize, size_of_items};

/// A summary and what it stands for.
#[derive(Debug, Clone)]
pub(in crate::run::thread_history) struct Standing {
    pub(super) item: Arc<Item>,
    pub(super) turns: u64,
    pub(super) tokens: u64,
    /// The place in the thread before which it stands for everything.
    pub(in crate::run::thread_history) before: u64,
    pub(super) size: ConversationSize,
}

impl Standing {
    /// If the item is a summary that is whole.
    pub(in crate::run::thread_history) fn of(item: &Item) -> Option<Self> {
        let ItemContent::Summary {
            turns,
            tokens,
            before_position,
            ..
        } = &item.content
        else {
            return None;
        };
        (item.status == ItemStatus::Completed).then(|| Self {
            item: Arc::new(item.clone()),
            turns: *turns,
            tokens: *tokens,
            before: *before_position,
            size: size_of_items([item]),
        })
    }

    pub(super) fn told(&self, kept_turns: usize, kept: ConversationSize) -> EventBody {
        EventBody::HistorySummarized {
            item_id: self.item.id,
            turns: self.turns,
            tokens: self.tokens,
            kept_turns: kept_turns as u64,
            kept_tokens: kept.tokens,
            summary_tokens: self.size.tokens,
        }
    }
}
