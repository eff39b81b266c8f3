//! The conversation as the Messages API wants it: turns of the user and of the assistant that alternate, each a list of blocks, and the
//! operator's words apart.

use std::borrow::Cow;
use std::sync::Arc;

use callboard_actors::item::{
    self, CacheControl, ContentPart, Item, ItemContent, ReasoningSeal, Role, shown_result, shown_summary,
};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::SEAL_DIALECT;

/// What was said by one side, until the other spoke.
#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    pub(super) role: Side,
    pub(super) content: Vec<Block<'a>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Side {
    User,
    Assistant,
}

/// A block, and whether what comes before its end is to be cached.
#[derive(Debug, Serialize)]
pub(super) struct Block<'a> {
    #[serde(flatten)]
    pub(super) content: BlockContent<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheControl>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum BlockContent<'a> {
    Text {
        text: Cow<'a, str>,
    },
    Image {
        source: ImageSource<'a>,
    },
    Thinking {
        thinking: &'a str,
        signature: &'a str,
    },
    RedactedThinking {
        data: &'a str,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: &'a str,
        input: Cow<'a, RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Cow<'a, str>,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ImageSource<'a> {
    Url { url: &'a str },
    Base64 { media_type: &'a str, data: &'a str },
}

impl<'a> Block<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>, cache_control: Option<CacheControl>) -> Self {
        Self {
            content: BlockContent::Text { text: text.into() },
            cache_control,
        }
    }

    fn unmarked(content: BlockContent<'a>) -> Self {
        Self {
            content,
            cache_control: None,
        }
    }

    pub(super) fn is_thought(&self) -> bool {
        matches!(
            self.content,
            BlockContent::Thinking { .. } | BlockContent::RedactedThinking { .. }
        )
    }

    pub(super) fn is_tool_use(&self) -> bool {
        matches!(self.content, BlockContent::ToolUse { .. })
    }
}

/// The operator's words, wherever in the conversation they are: this API has them before it. Text only.
pub(super) fn system_of<'a>(instructions: Option<&'a str>, conversation: &'a [Arc<Item>]) -> Vec<Block<'a>> {
    let mut blocks = Vec::new();
    if let Some(text) = instructions.filter(|text| !is_blank(text)) {
        blocks.push(Block::text(text, None));
    }
    for item in conversation {
        if let ItemContent::Message {
            role: Role::System,
            content,
        } = &item.content
        {
            let texts = content.iter().filter(|part| matches!(part, ContentPart::Text { .. }));
            blocks.extend(texts.filter_map(part_block));
        }
    }
    blocks
}

/// The turns of a conversation.
pub(super) fn turns_of(conversation: &[Arc<Item>]) -> Vec<Turn<'_>> {
    let mut turns = Vec::new();
    for item in conversation {
        match &item.content {
            ItemContent::Message { role, content } => {
                let side = match role {
                    Role::System => continue,
                    Role::User => Side::User,
                    Role::Assistant => Side::Assistant,
                };
                for block in content.iter().filter_map(part_block) {
                    add(&mut turns, side, block);
                }
            }
            ItemContent::Reasoning { text, seal } => {
                if let Some(block) = seal.as_ref().and_then(|seal| thought_block(text, seal)) {
                    add(&mut turns, Side::Assistant, Block::unmarked(block));
                }
            }
            ItemContent::ToolCall {
                call_id,
                name,
                arguments,
            } => {
                let id = id_of(call_id);
                let input = input_of(arguments);
                let block = BlockContent::ToolUse { id, name, input };
                add(&mut turns, Side::Assistant, Block::unmarked(block));
            }
            ItemContent::ToolResult {
                call_id,
                output,
                is_error,
                approved_arguments,
                ..
            } => {
                let block = BlockContent::ToolResult {
                    tool_use_id: id_of(call_id),
                    content: shown_result(output, approved_arguments.as_deref()),
                    is_error: *is_error,
                };
                add(&mut turns, Side::User, Block::unmarked(block));
            }
            ItemContent::Summary { text, .. } => {
                add(&mut turns, Side::User, Block::text(shown_summary(text), None));
            }
        }
    }
    turns
}

fn add<'a>(turns: &mut Vec<Turn<'a>>, role: Side, block: Block<'a>) {
    match turns.last_mut() {
        Some(turn) if turn.role == role => turn.content.push(block),
        _ => turns.push(Turn {
            role,
            content: vec![block],
        }),
    }
}

/// `None` for text that says nothing, which this API refuses.
fn part_block(part: &ContentPart) -> Option<Block<'_>> {
    match part {
        ContentPart::Text { text, cache_control } => {
            (!is_blank(text)).then(|| Block::text(text.as_str(), cache_control.clone()))
        }
        ContentPart::Image {
            source, cache_control, ..
        } => match source {
            item::ImageSource::Url { url } => Some(Block {
                content: BlockContent::Image {
                    source: image_source(url),
                },
                cache_control: cache_control.clone(),
            }),
            item::ImageSource::File { .. } => Some(Block::text(item::ImageSource::NOT_SHOWN, cache_control.clone())),
        },
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn image_source(url: &str) -> ImageSource<'_> {
    let encoded = url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,"));
    match encoded {
        Some((media_type, data)) => ImageSource::Base64 { media_type, data },
        None => ImageSource::Url { url },
    }
}

/// A thought of this dialect; those of others cannot be read by it.
fn thought_block<'a>(text: &'a str, seal: &'a ReasoningSeal) -> Option<BlockContent<'a>> {
    if seal.dialect != SEAL_DIALECT {
        return None;
    }
    let field = |name: &str| seal.data.get(name).and_then(Value::as_str);
    if let Some(data) = field("data") {
        return Some(BlockContent::RedactedThinking { data });
    }
    Some(BlockContent::Thinking {
        thinking: text,
        signature: field("signature")?,
    })
}

/// Other providers' ids may have characters that this API refuses.
fn id_of(call_id: &str) -> Cow<'_, str> {
    let is_taken = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    if call_id.chars().all(is_taken) {
        return call_id.into();
    }
    let taken = |letter| if is_taken(letter) { letter } else { '_' };
    call_id.chars().map(taken).collect::<String>().into()
}

/// The arguments word for word if they are an object; else what the API's documentation has for arguments that are none.
fn input_of(arguments: &str) -> Cow<'_, RawValue> {
    let written = if is_blank(arguments) { "{}" } else { arguments.trim() };
    if written.starts_with('{')
        && let Ok(input) = serde_json::from_str::<&RawValue>(written)
    {
        return Cow::Borrowed(input);
    }
    let wrapped = serde_json::json!({"INVALID_JSON": arguments});
    match serde_json::value::to_raw_value(&wrapped) {
        Ok(input) => Cow::Owned(input),
        // A map of one string can always be written.
        Err(_) => Cow::Borrowed(RawValue::NULL),
    }
}
