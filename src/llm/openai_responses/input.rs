//! The conversation as `/responses` wants it: a list of items much like ours. None has an id: the provider keeps nothing that they could name.

use std::borrow::Cow;
use std::sync::Arc;

use callboard_actors::item::{
    ContentPart, ImageDetail, ImageSource, Item, ItemContent, ReasoningSeal, Role, shown_result, shown_summary,
};
use serde::Serialize;
use serde_json::Value;

use super::SEAL_DIALECT;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum InputItem<'a> {
    Message {
        role: Role,
        content: Vec<Content<'a>>,
    },
    Reasoning {
        summary: &'a Value,
        encrypted_content: &'a Value,
    },
    FunctionCall {
        call_id: &'a str,
        name: &'a str,
        arguments: &'a str,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: Cow<'a, str>,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Content<'a> {
    InputText {
        text: Cow<'a, str>,
    },
    OutputText {
        text: &'a str,
    },
    InputImage {
        image_url: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        detail: Option<ImageDetail>,
    },
}

pub(super) fn input_of(conversation: &[Arc<Item>], carries_reasoning: bool) -> Vec<InputItem<'_>> {
    let sent = |item: &InputItem<'_>| carries_reasoning || !matches!(item, InputItem::Reasoning { .. });
    conversation
        .iter()
        .filter_map(|item| input_item(item))
        .filter(sent)
        .collect()
}

fn input_item(item: &Item) -> Option<InputItem<'_>> {
    Some(match &item.content {
        ItemContent::Message { role, content } => InputItem::Message {
            role: *role,
            content: content.iter().map(|part| content_of(*role, part)).collect(),
        },
        ItemContent::Reasoning { seal, .. } => sealed(seal.as_ref()?)?,
        ItemContent::ToolCall {
            call_id,
            name,
            arguments,
        } => InputItem::FunctionCall {
            call_id,
            name,
            arguments,
        },
        ItemContent::ToolResult {
            call_id,
            output,
            approved_arguments,
            ..
        } => InputItem::FunctionCallOutput {
            call_id,
            output: shown_result(output, approved_arguments.as_deref()),
        },
        ItemContent::Summary { text, .. } => InputItem::Message {
            role: Role::User,
            content: vec![Content::InputText {
                text: shown_summary(text).into(),
            }],
        },
    })
}

fn content_of(role: Role, part: &ContentPart) -> Content<'_> {
    match part {
        ContentPart::Text { text, .. } if role == Role::Assistant => Content::OutputText { text },
        ContentPart::Text { text, .. } => Content::InputText { text: text.into() },
        ContentPart::Image { source, detail, .. } => match source {
            ImageSource::Url { url } => Content::InputImage {
                image_url: url,
                detail: *detail,
            },
            ImageSource::File { .. } => Content::InputText {
                text: ImageSource::NOT_SHOWN.into(),
            },
        },
    }
}

/// A thought of this dialect; those of others cannot be read by it.
fn sealed(seal: &ReasoningSeal) -> Option<InputItem<'_>> {
    if seal.dialect != SEAL_DIALECT {
        return None;
    }
    Some(InputItem::Reasoning {
        summary: seal.data.get("summary")?,
        encrypted_content: seal.data.get("encrypted_content")?,
    })
}
