//! How many tokens a request is counted as: what can be read of it, four bytes a token, and a little for each message.

use serde_json::Value;

use crate::llm::simulated::script::estimate_tokens;

/// What separates messages, tokens each.
const TOKENS_PER_MESSAGE: u64 = 3;

/// A picture as OpenAI counts a square of 1024, looked at closely and not.
const TOKENS_OF_OPENAI_IMAGE: u64 = 765;
const TOKENS_OF_LOW_DETAIL_IMAGE: u64 = 85;

/// The most that Anthropic counts for one; it takes no advice on how closely to look.
const TOKENS_OF_ANTHROPIC_IMAGE: u64 = 1_600;

/// Fields whose texts the model does not read.
const NOT_READ: [&str; 6] = ["type", "role", "id", "status", "cache_control", "detail"];

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct InputSize {
    bytes: usize,
    other_tokens: u64,
}

impl InputSize {
    pub(super) fn add_text(&mut self, text: &str) {
        self.bytes += text.len();
    }

    /// Messages, or other things that are said one after the other.
    pub(super) fn add_messages(&mut self, messages: &[Value]) {
        self.other_tokens += TOKENS_PER_MESSAGE * messages.len() as u64;
        messages.iter().for_each(|message| self.add(message));
    }

    /// Every text in it.
    pub(super) fn add(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add_text(text),
            Value::Array(values) => values.iter().for_each(|value| self.add(value)),
            Value::Object(fields) => {
                if let Some(tokens) = tokens_of_image(value) {
                    self.other_tokens += tokens;
                    return;
                }
                let read = fields.iter().filter(|(name, _)| !NOT_READ.contains(&name.as_str()));
                read.for_each(|(_, value)| self.add(value));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Definitions of tools, whatever the dialect calls their parts.
    pub(super) fn add_tools(&mut self, tools: &[Value]) {
        for tool in tools {
            let tool = tool.get("function").unwrap_or(tool);
            for field in ["name", "description"] {
                self.add_text(tool[field].as_str().unwrap_or_default());
            }
            for field in ["parameters", "input_schema"] {
                if let Some(schema) = tool.get(field) {
                    self.bytes += schema.to_string().len();
                }
            }
        }
    }

    pub(super) fn tokens(self) -> u64 {
        estimate_tokens(self.bytes) + self.other_tokens
    }
}

/// In the words of each dialect; `None` if it is no picture.
fn tokens_of_image(part: &Value) -> Option<u64> {
    let detail = match part["type"].as_str()? {
        "image" => return Some(TOKENS_OF_ANTHROPIC_IMAGE),
        "image_url" => &part["image_url"]["detail"],
        "input_image" => &part["detail"],
        _ => return None,
    };
    Some(if detail == "low" {
        TOKENS_OF_LOW_DETAIL_IMAGE
    } else {
        TOKENS_OF_OPENAI_IMAGE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_read_counts() {
        let mut size = InputSize::default();
        size.add_messages(&[
            json!({"role": "user", "content": "12345678"}),
            json!({"role": "user", "content": [{"type": "text", "text": "1234"}, {"type": "image_url", "image_url": {"url": "data:…"}}]}),
        ]);
        size.add_tools(&[json!({"type": "function", "function": {"name": "abcd", "parameters": {}}})]);
        // 12 bytes of text, 4 and 2 of the tool.
        assert_eq!(size.tokens(), 5 + 2 * TOKENS_PER_MESSAGE + TOKENS_OF_OPENAI_IMAGE);
    }

    #[test]
    fn pictures_count_as_their_provider_says() {
        for (part, tokens) in [
            (
                json!({"type": "image_url", "image_url": {"url": "data:…", "detail": "low"}}),
                85,
            ),
            (
                json!({"type": "image_url", "image_url": {"url": "data:…", "detail": "high"}}),
                765,
            ),
            (
                json!({"type": "input_image", "image_url": "data:…", "detail": "low"}),
                85,
            ),
            (json!({"type": "input_image", "image_url": "data:…"}), 765),
            (
                json!({"type": "image", "source": {"type": "url", "url": "https://…"}}),
                1_600,
            ),
        ] {
            let mut size = InputSize::default();
            size.add(&part);
            assert_eq!(size.tokens(), tokens, "{part}");
        }
    }
}
