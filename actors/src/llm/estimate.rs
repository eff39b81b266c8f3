//! How many tokens a request will be counted as, before the provider says.
//!
//! No tokenizer: each model has its own, and counting with it costs more than being wrong by a few per cent for the length of a call,
//! after which the provider's own count takes its place. Two estimates: [`likely_input_tokens`] is what limits are shared by, and
//! [`most_input_tokens`] what budgets are held by.

use crate::item::{ContentPart, ImageDetail, Item, ItemContent, shown_result, shown_summary};
use crate::ports::{ModelRequest, ToolDefinition};

/// Parts that a token is counted in.
const PARTS: u64 = 12;

/// What each byte of a text counts, in parts of a token. The bytes of a character that follow its first count nothing.
///
/// The figures are a little above what the tokenizers of the usual providers make of such text, so as to be wrong on the safe side: English
/// is four to four and a half bytes a token (three and a half at some), source code and JSON about three, because two of their signs or digits
/// are a token or more; a Chinese or Japanese character is 0.7 tokens in new tokenizers and 1.1 to 1.3 in older ones, a Cyrillic, Greek or
/// Arabic letter a third to two thirds. Letters without meaning (base64, hashes) are more than this, up to a token for two bytes.
const PARTS_OF_BYTE: [u8; 256] = parts_of_bytes();

const fn parts_of_bytes() -> [u8; 256] {
    let mut parts = [0; 256];
    let mut byte: u8 = 0;
    loop {
        parts[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b' ' | b'\t' | b'\n' | b'\r' => 3,
            // Digits, signs, and what is not to be seen.
            0..=0x7f => 7,
            // Within a character.
            0x80..=0xbf => 0,
            // Letters of two bytes: Latin with accents, Greek, Cyrillic, Hebrew, Arabic.
            0xc0..=0xdf => 8,
            // Characters of three: Chinese, Japanese, Korean, those of India, and typographic signs.
            0xe0..=0xef => 15,
            // Of four: pictograms and rare characters.
            0xf0..=0xff => 30,
        };
        if byte == u8::MAX {
            return parts;
        }
        byte += 1;
    }
}

/// What a message takes beside its text (role, separators).
const TOKENS_PER_ITEM: u64 = 6;

/// A picture that is looked at closely: the most that Anthropic's API makes of one, and more than OpenAI makes of a square of 1024 (765).
pub const TOKENS_OF_IMAGE: u64 = 1_600;

/// One that is not, at providers that take such advice (OpenAI).
pub const TOKENS_OF_LOW_DETAIL_IMAGE: u64 = 85;

/// What a request counts for before its text.
const TOKENS_PER_REQUEST: u64 = 8;

/// Texts, pictures, and the tokens of what is neither.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    text_bytes: u64,
    text_parts: u64,
    images: u64,
    low_detail_images: u64,
    other_tokens: u64,
}

impl Size {
    fn of(request: &ModelRequest) -> Self {
        let mut size = Self {
            other_tokens: TOKENS_PER_REQUEST,
            ..Self::default()
        };
        size.add_settings(request.instructions.as_deref(), &request.tools);
        if let Some(schema) = request.options.get("response_format") {
            size.add_text(&schema.to_string());
        }
        for item in request.conversation.iter() {
            size.add_item(item);
        }
        size
    }

    const fn likely_tokens(&self) -> u64 {
        let images = self.images * TOKENS_OF_IMAGE + self.low_detail_images * TOKENS_OF_LOW_DETAIL_IMAGE;
        self.text_parts.div_ceil(PARTS) + images + self.other_tokens
    }

    fn add_settings(&mut self, instructions: Option<&str>, tools: &[ToolDefinition]) {
        self.add_text(instructions.unwrap_or_default());
        for tool in tools {
            self.add_text(&tool.name);
            self.add_text(&tool.description);
            self.add_text(&tool.parameters.to_string());
            self.other_tokens += TOKENS_PER_ITEM;
        }
    }

    fn add_text(&mut self, text: &str) {
        self.text_bytes += text.len() as u64;
        self.text_parts += parts_of(text);
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
            ItemContent::ToolResult {
                call_id,
                output,
                approved_arguments,
                ..
            } => {
                self.add_text(call_id);
                self.add_text(&shown_result(output, approved_arguments.as_deref()));
            }
            ItemContent::Summary { text, .. } => self.add_text(&shown_summary(text)),
        }
    }

    fn add_part(&mut self, part: &ContentPart) {
        match part {
            ContentPart::Text { text, .. } => self.add_text(text),
            ContentPart::Image {
                detail: Some(ImageDetail::Low),
                ..
            } => self.low_detail_images += 1,
            ContentPart::Image { .. } => self.images += 1,
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

impl std::ops::Add for ConversationSize {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            tokens: self.tokens + other.tokens,
        }
    }
}

/// The size of a text that is a part of a message.
pub fn size_of_text(text: &str) -> ConversationSize {
    let mut size = Size::default();
    size.add_text(text);
    ConversationSize {
        bytes: size.text_bytes,
        tokens: size.likely_tokens(),
    }
}

/// The beginning of a text that takes no more than so many tokens and bytes: all of it, if that is so.
pub fn prefix_of_tokens(text: &str, tokens: u64, bytes: u64) -> &str {
    let most = tokens.saturating_mul(PARTS);
    let mut parts = 0;
    for (index, letter) in text.char_indices() {
        let end = index + letter.len_utf8();
        parts += parts_of(&text[index..end]);
        if parts > most || end as u64 > bytes {
            return &text[..index];
        }
    }
    text
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

/// About how many tokens instructions and definitions of tools take.
pub fn likely_tokens_of_settings(instructions: Option<&str>, tools: &[ToolDefinition]) -> u64 {
    let mut size = Size::default();
    size.add_settings(instructions, tools);
    size.likely_tokens()
}

/// About how many tokens so many bytes of English text take, for text that is not looked at.
pub const fn likely_tokens_of_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(4)
}

fn parts_of(text: &str) -> u64 {
    text.bytes()
        .map(|byte| u64::from(PARTS_OF_BYTE[usize::from(byte)]))
        .sum()
}

/// About how many tokens the provider will count, rather more than fewer. A picture of low detail is counted as providers do that take such
/// advice.
pub fn likely_input_tokens(request: &ModelRequest) -> u64 {
    Size::of(request).likely_tokens()
}

/// How many tokens the provider can count at most: every byte one token, as no tokenizer makes more of it. (But for pictures, whose price is
/// the provider's to say.)
pub fn most_input_tokens(request: &ModelRequest) -> u64 {
    let size = Size::of(request);
    let images = (size.images + size.low_detail_images) * TOKENS_OF_IMAGE;
    size.text_bytes + images + size.other_tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens_of(text: &str) -> u64 {
        parts_of(text).div_ceil(PARTS)
    }

    #[test]
    fn texts_of_all_kinds_count_for_a_little_more_than_they_are() {
        let english = "The quick brown fox jumps over the lazy dog, and nobody in the village was surprised by it.";
        assert_eq!((english.len(), tokens_of(english)), (91, 24));
        let json = r#"{"id":1234,"name":"Ada","tags":["a","b"],"ok":true,"at":"2026-11-23T09:00:00Z"}"#;
        let of_json = tokens_of(json);
        assert!((37..=42).contains(&of_json), "{of_json}");
        let chinese = "今天天气很好";
        assert_eq!((chinese.chars().count(), tokens_of(chinese)), (6, 8));
        let russian = "Сегодня хорошая погода";
        let of_russian = tokens_of(russian);
        assert!((7..=15).contains(&of_russian), "{of_russian}");
        assert_eq!(tokens_of("🦀🦀"), 5);
        assert_eq!(tokens_of(""), 0);
    }

    #[test]
    fn no_text_is_likely_to_be_more_than_it_can_be() {
        for text in ["{}[]\"", "1234567", "äöü", "日本語", "🦀", "\u{0}\u{7f}", "a"] {
            assert!(tokens_of(text) <= text.len() as u64, "{text}");
        }
    }
}
