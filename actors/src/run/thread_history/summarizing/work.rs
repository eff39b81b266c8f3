//! A summary to be made, and what it comes to.

use crate::event::EventBody;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::llm::estimate::{ConversationSize, likely_tokens_of_bytes, prefix_of_tokens, size_of_items};
use crate::run::thread_history::{Bounds, EarlierTurns};

/// No summary is longer, however much room there is.
const MAX_SUMMARY_TOKENS: u64 = 4_096;

/// A summary to be made.
#[derive(Debug)]
pub(crate) struct SummaryWork {
    /// What is summed up, as the model is shown it.
    pub(crate) lines: String,
    /// Tokens that the model may write.
    pub(crate) max_output_tokens: u64,
    /// Items at the beginning of the conversation that are of turns that stay whole.
    pub(crate) kept_items: usize,
    /// What to go on with if no summary can be made.
    pub(crate) otherwise: EarlierTurns,
    /// The event that tells of turns that are not in it either, if there are some.
    pub(crate) trimmed: Option<EventBody>,
    pub(super) turns: u64,
    pub(super) tokens: u64,
    pub(super) before: u64,
    pub(super) kept_turns: usize,
    pub(super) kept: ConversationSize,
    pub(super) room: Bounds,
}

/// Tokens that a model may write when it sums up for a run with these bounds.
pub(in crate::run::thread_history) fn max_output_tokens(bounds: Bounds) -> u64 {
    (room(bounds) / 4).min(MAX_SUMMARY_TOKENS)
}

pub(super) fn room(bounds: Bounds) -> u64 {
    let tokens = likely_tokens_of_bytes(bounds.bytes);
    bounds.tokens.unwrap_or(u64::MAX).min(tokens)
}

impl SummaryWork {
    /// The summary with this text, cut to the room that there is, and the event that tells of it.
    pub(crate) fn done(&self, text: &str) -> (Item, EventBody) {
        let text = prefix_of_tokens(text, self.room.tokens.unwrap_or(u64::MAX), self.room.bytes);
        let content = ItemContent::Summary {
            text: text.to_owned(),
            turns: self.turns,
            tokens: self.tokens,
            before_position: self.before,
        };
        let item = Item::new(ItemStatus::Completed, content);
        let told = EventBody::HistorySummarized {
            item_id: item.id,
            turns: self.turns,
            tokens: self.tokens,
            kept_turns: self.kept_turns as u64,
            kept_tokens: self.kept.tokens,
            summary_tokens: size_of_items([&item]).tokens,
        };
        (item, told)
    }

    /// Words that the model is asked for: less than it may write, so that it comes to an end.
    pub(crate) const fn words(&self, max_output_tokens: u64) -> u64 {
        max_output_tokens / 3
    }
}
