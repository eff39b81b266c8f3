//! Items: the durable steps of a run. Each is committed before the next step begins, and once committed never produced again.

use serde::{Deserialize, Serialize};

use crate::ids::ItemId;
use crate::time::Timestamp;

/// One durable step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Its name; sorts by the time it was begun.
    pub id: ItemId,
    /// Whether it is whole. Incomplete items are kept and shown, but no model sees them and they are no part of the run's output.
    pub status: ItemStatus,
    /// When it was begun.
    pub created_at: Timestamp,
    /// What it says.
    #[serde(flatten)]
    pub content: ItemContent,
}

/// Whether an item is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// All of it is here.
    Completed,
    /// It was cut off: the stream broke, the run was cancelled, a limit was reached.
    Incomplete,
}

/// What an item says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemContent {
    /// Somebody said something.
    Message {
        /// Who.
        role: Role,
        /// What, in order.
        content: Vec<ContentPart>,
    },
    /// The model thought aloud; shown, never sent back.
    Reasoning {
        /// The thought.
        text: String,
    },
    /// The model asks for a tool.
    ToolCall {
        /// The model's name for this call; its result carries the same.
        call_id: String,
        /// Which tool.
        name: String,
        /// The arguments as the model wrote them: JSON text, not checked.
        arguments: String,
    },
    /// What the tool answered.
    ToolResult {
        /// The call it answers.
        call_id: String,
        /// The answer the model gets to see.
        output: String,
        /// The tool failed, timed out, or does not exist; `output` says so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        /// `output` was longer than the limit and is cut; its end says so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        truncated: bool,
    },
}

/// Who speaks in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operator of the agent.
    System,
    /// The person or program that asks.
    User,
    /// The model.
    Assistant,
}

/// A piece of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentPart {
    /// Text.
    Text {
        /// UTF-8, any length the limits allow.
        text: String,
    },
}

impl Item {
    /// A new item, begun now.
    pub fn new(status: ItemStatus, content: ItemContent) -> Self {
        Self {
            id: ItemId::new(),
            status,
            created_at: Timestamp::now(),
            content,
        }
    }

    /// A whole message of one text.
    pub fn message(role: Role, text: impl Into<String>) -> Self {
        let content = vec![ContentPart::Text { text: text.into() }];
        Self::new(ItemStatus::Completed, ItemContent::Message { role, content })
    }

    /// The text of a whole message of the assistant.
    pub fn assistant_text(&self) -> Option<String> {
        match &self.content {
            ItemContent::Message {
                role: Role::Assistant,
                content,
            } if self.status == ItemStatus::Completed => Some(text_of(content)),
            _ => None,
        }
    }
}

/// The text of a message's parts, joined.
pub fn text_of(content: &[ContentPart]) -> String {
    content.iter().map(|ContentPart::Text { text }| text.as_str()).collect()
}

/// Tokens that model calls have cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read by the model, cached ones included.
    pub input_tokens: u64,
    /// Tokens written by the model, reasoning included.
    pub output_tokens: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens = self.input_tokens.saturating_add(other.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(other.output_tokens);
    }
}
