//! The answer to a tool call, and the step of the run that it becomes.

use crate::event::{EventBody, ItemSeed};
use crate::item::{Item, ItemContent, ItemStatus};

/// An answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallOutput {
    /// What the model gets to see.
    pub output: String,
    /// It tells of a failure.
    pub is_error: bool,
    /// It was longer than the limit, and is cut.
    pub truncated: bool,
}

impl CallOutput {
    /// At most `limit` bytes of an answer, and a line that says what is missing.
    pub fn bounded(output: String, is_error: bool, limit: usize) -> Self {
        let (output, truncated) = cut(output, limit);
        Self {
            output,
            is_error,
            truncated,
        }
    }

    /// The model hears why there is no answer.
    pub(crate) const fn error(output: String) -> Self {
        Self {
            output,
            is_error: true,
            truncated: false,
        }
    }

    /// The item that answers this call, at this place among the run's, and what subscribers hear of it. `approved_arguments` are those that a
    /// person put in the place of the model's.
    pub(crate) fn into_item(
        self,
        call_id: String,
        approved_arguments: Option<String>,
        index: u32,
    ) -> (Item, [EventBody; 2]) {
        let content = ItemContent::ToolResult {
            call_id: call_id.clone(),
            output: self.output,
            is_error: self.is_error,
            truncated: self.truncated,
            approved_arguments,
        };
        let item = Item::new(ItemStatus::Completed, content);
        let added = EventBody::ItemAdded {
            item_id: item.id,
            index,
            item: ItemSeed::ToolResult { call_id },
        };
        let completed = EventBody::ItemCompleted {
            index,
            item: item.clone(),
        };
        (item, [added, completed])
    }
}

/// At most `limit` bytes of `output`, and a line that says what is missing.
fn cut(mut output: String, limit: usize) -> (String, bool) {
    let whole = output.len();
    if whole <= limit {
        return (output, false);
    }
    output.truncate(output.floor_char_boundary(limit));
    let kept = output.len();
    output.push_str(&format!("\n[cut: {kept} of {whole} bytes are shown]"));
    (output, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversized_output_is_cut_between_characters_and_says_so() {
        let (text, truncated) = cut("äöü".into(), 3);
        assert_eq!((text.as_str(), truncated), ("ä\n[cut: 2 of 6 bytes are shown]", true));
        assert_eq!(cut("äöü".into(), 6), ("äöü".into(), false));
    }
}
