//! What a server answers to a call, as text for the model.

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

use crate::secrets::HiddenSecrets;

/// Bytes of a name or an address that a line quotes.
const LONGEST_QUOTE: usize = 200;

/// The result as text without what is hidden: `Err` if the server says that the call failed. What is no text is described in a line.
pub(super) fn rendered(result: CallToolResult, hidden: &HiddenSecrets) -> Result<String, String> {
    let mut parts: Vec<String> = Vec::new();
    let unseen = |what: &str, kind: String, length: usize| {
        // The length is that of the content in base64.
        let (kind, bytes) = (quoted(kind, hidden), length / 4 * 3);
        format!("[{what} ({kind}), about {bytes} bytes, which is not shown]")
    };
    for block in result.content {
        match block {
            ContentBlock::Text(text) => parts.push(text.text),
            ContentBlock::Image(image) => parts.push(unseen("an image", image.mime_type, image.data.len())),
            ContentBlock::Audio(audio) => parts.push(unseen("audio", audio.mime_type, audio.data.len())),
            ContentBlock::ResourceLink(link) => {
                let (name, uri) = (quoted(link.name, hidden), quoted(link.uri, hidden));
                parts.push(format!("[a link to the resource {name:?} at {uri}]"));
            }
            ContentBlock::Resource(embedded) => match embedded.resource {
                ResourceContents::TextResourceContents { text, .. } => parts.push(text),
                ResourceContents::BlobResourceContents { mime_type, blob, .. } => {
                    let kind = mime_type.unwrap_or_else(|| "application/octet-stream".to_owned());
                    parts.push(unseen("a file", kind, blob.len()));
                }
                _ => parts.push("[a resource of a kind that is not known here]".to_owned()),
            },
            _ => parts.push("[content of a kind that is not known here]".to_owned()),
        }
    }
    // Servers are to say structured content as text too, for those who do not know it.
    if let Some(structured) = result.structured_content
        && !is_said(&structured, &parts)
    {
        parts.push(structured.to_string());
    }
    let said = hidden.replaced_in(parts.join("\n"));
    match result.is_error {
        Some(true) if said.is_empty() => Err("the tool failed and does not say why".to_owned()),
        Some(true) => Err(said),
        _ => Ok(said),
    }
}

/// Whether one of the texts says what the structured content says: all of it, or what it has as its one `result`. (The Python SDK wraps what is no
/// object so, and says a list as one text for each entry.)
fn is_said(structured: &Value, parts: &[String]) -> bool {
    let says = |part: &String, what: &Value| {
        what.as_str() == Some(part) || serde_json::from_str::<Value>(part).is_ok_and(|value| value == *what)
    };
    if parts.iter().any(|part| says(part, structured)) {
        return true;
    }
    let Some(result) = only_result(structured) else {
        return false;
    };
    if parts.iter().any(|part| says(part, result)) {
        return true;
    }
    let entries = result.as_array().filter(|entries| !entries.is_empty());
    entries.is_some_and(|entries| {
        parts.len() == entries.len() && parts.iter().zip(entries).all(|(part, entry)| says(part, entry))
    })
}

fn only_result(structured: &Value) -> Option<&Value> {
    let map = structured.as_object().filter(|map| map.len() == 1)?;
    map.get("result")
}

fn quoted(text: String, hidden: &HiddenSecrets) -> String {
    let mut text = hidden.replaced_in(text);
    text.truncate(text.floor_char_boundary(LONGEST_QUOTE));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(result: Value) -> Result<String, String> {
        let hidden = HiddenSecrets::new(&["hidden-token".into()]);
        rendered(serde_json::from_value(result).expect("a result"), &hidden)
    }

    #[test]
    fn what_is_hidden_is_not_shown_wherever_it_stands() {
        let uri = format!("file:///{}hidden-token", "x".repeat(190));
        let result = json!({"content": [
            {"type": "text", "text": "it is hidden-token"},
            {"type": "image", "data": "AAAA", "mimeType": "image/hidden-token"},
            {"type": "resource_link", "uri": uri, "name": "hidden-token"},
        ], "structuredContent": {"said": "hidden-token"}, "isError": true});
        let said = of(result).expect_err("it failed");
        // Of the address 200 bytes are shown: the secret begins two before.
        assert!(!said.contains("hid"), "{said}");
        assert_eq!(said.matches("[secret]").count(), 4, "{said}");
    }

    #[test]
    fn texts_are_joined_and_the_rest_is_described() {
        let result = json!({"content": [
            {"type": "text", "text": "one"},
            {"type": "image", "data": "AAAAAAAA", "mimeType": "image/png"},
            {"type": "resource_link", "uri": "file:///a", "name": "a"},
            {"type": "resource", "resource": {"uri": "file:///b", "text": "inside"}},
            {"type": "resource", "resource": {"uri": "file:///c", "blob": "AAAA"}},
        ]});
        let expected = "one\n[an image (image/png), about 6 bytes, which is not shown]\n[a link to the resource \"a\" at file:///a]\ninside\n\
                        [a file (application/octet-stream), about 3 bytes, which is not shown]";
        assert_eq!(of(result).as_deref(), Ok(expected));
    }

    #[test]
    fn structured_content_is_json_and_said_once() {
        let alone = json!({"content": [], "structuredContent": {"a": 1}});
        assert_eq!(of(alone).as_deref(), Ok("{\"a\":1}"));
        let twice = json!({"content": [{"type": "text", "text": "{ \"a\": 1 }"}], "structuredContent": {"a": 1}});
        assert_eq!(of(twice).as_deref(), Ok("{ \"a\": 1 }"));
        let beside = json!({"content": [{"type": "text", "text": "found"}], "structuredContent": [2]});
        assert_eq!(of(beside).as_deref(), Ok("found\n[2]"));
    }

    #[test]
    fn what_the_python_sdk_wraps_is_said_once() {
        let answers = [
            ("hi x", json!("hi x"), true),
            ("42", json!(42), true),
            ("42", json!("42"), true),
            ("[1, 2]", json!([1, 2]), true),
            ("{\n  \"a\": 1\n}", json!({"a": 1}), true),
            ("null", json!(null), true),
            ("hi", json!("hi x"), false),
            ("42", json!(43), false),
        ];
        for (text, result, said_once) in answers {
            let structured = json!({"result": result});
            let answer = json!({"content": [{"type": "text", "text": text}], "structuredContent": structured});
            let expected = if said_once {
                text.to_owned()
            } else {
                format!("{text}\n{structured}")
            };
            assert_eq!(of(answer), Ok(expected));
        }
        let list = json!({
            "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "2"}],
            "structuredContent": {"result": ["one", 2]}
        });
        assert_eq!(of(list).as_deref(), Ok("one\n2"));
        let more = json!({
            "content": [{"type": "text", "text": "hi"}],
            "structuredContent": {"result": "hi", "more": true}
        });
        assert_eq!(of(more).as_deref(), Ok("hi\n{\"more\":true,\"result\":\"hi\"}"));
    }

    #[test]
    fn a_failed_call_is_an_error_with_what_was_said() {
        let failed = json!({"content": [{"type": "text", "text": "no such file"}], "isError": true});
        assert_eq!(of(failed), Err("no such file".to_owned()));
        let silent = json!({"content": [], "isError": true});
        assert_eq!(of(silent), Err("the tool failed and does not say why".to_owned()));
    }
}
