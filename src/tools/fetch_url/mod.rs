//! `fetch_url`: the text of a page.

use async_trait::async_trait;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use serde::Deserialize;
use serde_json::json;

use super::page_text::{PageText, charset};
use super::reach::ToolReach;
use crate::outbound::{OutboundAnswer, OutboundRequest, media_type};

/// Bytes of text beyond which no more is made of a page.
const LONGEST_TEXT: usize = 1_000_000;

pub(super) struct FetchUrl {
    pub(super) reach: ToolReach,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    url: String,
}

/// What an answer says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Text,
}

#[async_trait]
impl Tool for FetchUrl {
    fn definition(&self) -> ToolDefinition {
        ToolDefinition {
            name: "fetch_url".into(),
            description: "Fetches a web address and gives its text: of a page the readable part with its links, of JSON and plain text all."
                .into(),
            parameters: json!({
                "type": "object",
                "properties": {"url": {"type": "string", "maxLength": 8000, "description": "begins with http:// or https://"}},
                "required": ["url"],
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { url } = super::arguments(call.arguments)?;
        let url = Url::parse(url.trim()).map_err(|_| ToolError::new("this is no web address"))?;
        let mut request = OutboundRequest::new(Method::GET, url);
        let accepted = "text/html, application/xhtml+xml, application/json;q=0.9, text/*;q=0.8, */*;q=0.1";
        request.headers.insert(ACCEPT, HeaderValue::from_static(accepted));
        let answer = self.reach.outbound.fetch(request, None).await;
        let answer = answer.map_err(|error| ToolError::new(error.to_string()))?;
        if !answer.status.is_success() {
            return Err(ToolError::new(format!("the server answered {}", answer.status)));
        }
        let shown = self
            .reach
            .work_through(&call.account, answer.body.len(), move || shown(&answer));
        shown.await?
    }
}

fn shown(answer: &OutboundAnswer) -> Result<String, ToolError> {
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind_of(content_type, &answer.body)?;
    let text = charset::decoded(content_type, &answer.body);
    let mut shown = match kind {
        Kind::Text => text.into_owned(),
        Kind::Html => PageText::of(&text, Some(&answer.url), LONGEST_TEXT).with_title(),
    };
    if answer.is_cut {
        shown.push_str(&format!(
            "\n[cut: no more than the first {} bytes were read]",
            answer.body.len()
        ));
    }
    if shown.trim().is_empty() {
        shown = "there is no text at this address".to_owned();
    }
    Ok(shown)
}

/// What can be made of it. The error is a sentence for the model.
fn kind_of(content_type: Option<&str>, body: &[u8]) -> Result<Kind, ToolError> {
    let Some(content_type) = content_type else {
        let begins_as_page = body.trim_ascii_start().starts_with(b"<");
        return match std::str::from_utf8(body) {
            Ok(_) if begins_as_page => Ok(Kind::Html),
            Ok(_) => Ok(Kind::Text),
            Err(_) => Err(ToolError::new(
                "this address does not say what it has, and it is no text",
            )),
        };
    };
    let essence = media_type(content_type);
    let is_text = essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/xml"
                | "application/javascript"
                | "application/x-ndjson"
                | "application/yaml"
        );
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" => Ok(Kind::Html),
        _ if is_text => Ok(Kind::Text),
        _ => {
            let size = body.len();
            let problem =
                format!("this address has {essence:.100} ({size} bytes were read), which has no text to show");
            Err(ToolError::new(problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use callboard_actors::ids::{AccountId, ItemId, RunId};
    use tokio::runtime::Handle;

    use crate::blocking::BlockingPool;
    use crate::outbound::testing::{WebServer, outbound_to, reply};
    use crate::secrets::Secrets;

    async fn fetched(server: &WebServer, url: &str) -> Result<String, String> {
        let tool = FetchUrl {
            reach: ToolReach {
                outbound: outbound_to(&[server]),
                secrets: Arc::new(Secrets::default()),
                blocking_pool: BlockingPool::new(Handle::current(), 1),
            },
        };
        let call = ToolCall {
            account: AccountId::local(),
            run_id: RunId::new(),
            item_id: ItemId::new(),
            arguments: json!({"url": url}),
        };
        tool.call(call).await.map_err(|error| error.message)
    }

    #[tokio::test]
    async fn pages_json_and_text_are_shown_and_other_things_told() {
        let server = WebServer::start(|request| match request.line.as_str() {
            "GET /page" => reply(
                "200 OK",
                &[("content-type", "text/html; charset=iso-8859-1")],
                b"<title>Caf\xe9</title><p>Open <a href=/menu>all day</a>",
            ),
            "GET /json" => reply("200 OK", &[("content-type", "application/json")], r#"{"a": 1}"#),
            "GET /bare" => reply("200 OK", &[], "<p>bare"),
            "GET /image" => reply("200 OK", &[("content-type", "image/png")], b"\x89PNG"),
            "GET /long" => reply("200 OK", &[("content-type", "text/plain")], "x".repeat(200_000)),
            "GET /moved" => reply("301 Moved Permanently", &[("location", "/json")], ""),
            "GET /empty" => reply("200 OK", &[("content-type", "text/html")], "<script>x</script>"),
            _ => reply("404 Not Found", &[("content-type", "text/html")], "<p>no"),
        })
        .await;
        let at = async |path: &str| fetched(&server, &server.url(path)).await;
        let page = format!("# Café\n\nOpen [all day]({})", server.url("/menu"));
        assert_eq!(at("/page").await, Ok(page));
        assert_eq!(at("/json").await.as_deref(), Ok(r#"{"a": 1}"#));
        assert_eq!(at("/moved").await.as_deref(), Ok(r#"{"a": 1}"#));
        assert_eq!(at("/bare").await.as_deref(), Ok("bare"));
        assert_eq!(at("/empty").await.as_deref(), Ok("there is no text at this address"));
        let image = "this address has image/png (4 bytes were read), which has no text to show";
        assert_eq!(at("/image").await, Err(image.to_owned()));
        assert_eq!(at("/none").await, Err("the server answered 404 Not Found".to_owned()));
        let long = at("/long").await.expect("a part");
        assert!(long.ends_with("[cut: no more than the first 100000 bytes were read]"));
        let inside = fetched(&server, "http://169.254.169.254/").await;
        assert_eq!(inside, Err("this address cannot be reached from here".to_owned()));
        assert_eq!(
            fetched(&server, "no address").await,
            Err("this is no web address".to_owned())
        );
    }
}
