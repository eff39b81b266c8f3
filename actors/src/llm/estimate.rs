//! How many tokens a request will be counted as, before the provider says.
//!
//! No tokenizer: each model has its own, and counting with it costs more than being wrong by a few per cent for the length of a call,
//! after which the provider's own count takes its place. Two estimates: [`likely_input_tokens`] is what limits are shared by, and
//! [`most_input_tokens`] what budgets are held by.

use crate::item::{ContentPart, ImageDetail, Item, ItemContent};
use crate::ports::ModelRequest;

/// English text and JSON have about four bytes a token; other languages fewer. A little under that, so as to be wrong on the safe side.
const BYTES_PER_TOKEN: u64 = 4;

/// What a message takes beside its text (role, separators).
const TOKENS_PER_ITEM: u64 = 6;

/// What a picture costs at most at the usual providers: low detail, and else.
const TOKENS_OF_LOW_DETAIL: u64 = 300;
const TOKENS_OF_IMAGE: u64 = 1_600;

/// What a request counts for before its text.
const TOKENS_PER_REQUEST: u64 = 8;

/// Bytes of text and the tokens of what is no text.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    text_bytes: u64,
    other_tokens: u64,
}

impl Size {
    fn of(request: &ModelRequest) -> Self {
        let mut size = Self {
            other_tokens: TOKENS_PER_REQUEST,
            ..Self::default()
        };
        size.add_text(request.instructions.as_deref().unwrap_or_default());
        for tool in request.tools.iter() {
            size.add_text(&tool.name);
            size.add_text(&tool.description);
            size.add_text(&tool.parameters.to_string());
            size.other_tokens += TOKENS_PER_ITEM;
        }
        if let Some(schema) = request.options.get("response_format") {
            size.add_text(&schema.to_string());
        }
        for item in request.conversation.iter() {
            size.add_item(item);
        }
        size
    }

    const fn likely_tokens(&self) -> u64 {
        likely_tokens_of_text(self.text_bytes) + self.other_tokens
    }

    fn add_text(&mut self, text: &str) {
        self.text_bytes += text.len() as u64;
    }

    fn add_item(&mut self, item: &Item) {
        self.other_tokens += TOKENS_PER_ITEM;
        match &item.content {
            ItemContent::Message { content, .. } => content.iter().for_each(|part| self.add_part(part)),
            // A thought without a seal is not sent back.
            ItemContent::Reasoning { text, seal } => {
                if let Some(seal) = seal {
                    self.add_text(text);
                    self.add_text(&seal.data.to_string());
                }
            }
            ItemContent::ToolCall {
                call_id,
                name,
                arguments,
            } => [call_id, name, arguments].iter().for_each(|text| self.add_text(text)),
            ItemContent::ToolResult { call_id, output, .. } => {
                [call_id, output].iter().for_each(|text| self.add_text(text));
            }
        }
    }

    fn add_part(&mut self, part: &ContentPart) {
        match part {
            ContentPart::Text { text, .. } => self.add_text(text),
            ContentPart::Image { detail, .. } => {
                self.other_tokens += match detail {
                    Some(ImageDetail::Low) => TOKENS_OF_LOW_DETAIL,
                    Some(ImageDetail::High | ImageDetail::Auto) | None => TOKENS_OF_IMAGE,
                };
            }
        }
    }
}

/// How large a part of a conversation is: bytes of its text, and about how many tokens it takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ConversationSize {
    /// Of text.
    pub bytes: u64,
    /// As [`likely_input_tokens`] counts them.
    pub tokens: u64,
}

/// The size of these items.
pub fn size_of_items<'a>(items: impl IntoIterator<Item = &'a Item>) -> ConversationSize {
    let mut size = Size::default();
    for item in items {
        size.add_item(item);
    }
    ConversationSize {
        bytes: size.text_bytes,
        tokens: size.likely_tokens(),
    }
}

/// About how many tokens this many bytes of text take.
pub const fn likely_tokens_of_text(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}

/// About how many tokens the provider will count.
pub fn likely_input_tokens(request: &ModelRequest) -> u64 {
    Size::of(request).likely_tokens()
}

/// How many tokens the provider can count at most: every byte one token, as no tokenizer makes more of it. (But for pictures, whose price is
/// the provider's to say.)
pub fn most_input_tokens(request: &ModelRequest) -> u64 {
    let size = Size::of(request);
    size.text_bytes + size.other_tokens
}
