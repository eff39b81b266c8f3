//! The providers' dialects as somebody else understands them: npm `@copilotkit/aimock` answers, and every adapter must make the same of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callboard::llm::upstream::{ATTEMPT_HEADER, RUN_HEADER};
use callboard_actors::event::FinishReason;
use callboard_actors::ids::RunId;
use callboard_actors::item::{ContentPart, ImageSource, Item, ItemContent, ItemStatus, ReasoningSeal, Role, Usage};
use callboard_actors::ports::model::{LimitHints, WindowHint};
use callboard_actors::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest, ToolDefinition};
use futures::StreamExt;
use serde_json::{Value, json};

use crate::harness::{Aimock, Dialect, SECRET_KEY, patiently};

/// What was heard of an answer, to its end or to what ended it.
#[derive(Debug, Default)]
struct Heard {
    text: String,
    thought: String,
    seal: Option<ReasoningSeal>,
    /// Call id, tool and arguments, by index.
    calls: BTreeMap<u32, (String, String, String)>,
    end: Option<(FinishReason, Usage, String)>,
    error: Option<ModelError>,
}

impl Heard {
    fn take_in(&mut self, piece: ModelDelta) {
        assert!(self.end.is_none(), "{piece:?} after the end");
        match piece {
            ModelDelta::Working => {}
            ModelDelta::Text(text) => self.text.push_str(&text),
            ModelDelta::Reasoning(text) => self.thought.push_str(&text),
            ModelDelta::ReasoningSealed(seal) => self.seal = Some(seal),
            ModelDelta::ToolCallStarted { index, call_id, name } => {
                let before = self.calls.insert(index, (call_id, name, String::new()));
                assert_eq!(before, None, "a call begins once");
            }
            ModelDelta::ToolCallArguments { index, delta } => {
                self.calls.get_mut(&index).expect("it has begun").2.push_str(&delta);
            }
            ModelDelta::Finished { reason, usage, model } => self.end = Some((reason, usage, model)),
        }
    }

    fn reason(&self) -> Option<FinishReason> {
        self.end.as_ref().map(|end| end.0)
    }

    /// The items that the run would have of it.
    fn into_items(self) -> Vec<Item> {
        let thought = self.seal.map(|seal| ItemContent::Reasoning {
            text: self.thought,
            seal: Some(seal),
        });
        let calls = self
            .calls
            .into_values()
            .map(|(call_id, name, arguments)| ItemContent::ToolCall {
                call_id,
                name,
                arguments,
            });
        let contents = thought.into_iter().chain(calls);
        contents
            .map(|content| Item::new(ItemStatus::Completed, content))
            .collect()
    }
}

/// Makes a call and hears all of it.
async fn hear(model: &dyn Model, conversation: Vec<Item>) -> Heard {
    let mut heard = Heard::default();
    let tool = |name: &str| ToolDefinition {
        name: name.into(),
        description: "A tool.".into(),
        parameters: json!({"type": "object"}),
    };
    let request = ModelRequest {
        run_id: RunId::new(),
        step: 1,
        attempt: 3,
        instructions: Some("You help.".into()),
        conversation: conversation.into_iter().map(Arc::new).collect(),
        tools: Arc::new([tool("now"), tool("echo")]),
        max_output_tokens: Some(500),
        options: Arc::default(),
    };
    let listening = async {
        let mut pieces = model.call(request).await?.pieces;
        while let Some(piece) = pieces.next().await {
            heard.take_in(piece?);
        }
        Ok(())
    };
    heard.error = patiently("the answer", listening).await.err();
    if let Some(error) = &heard.error {
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("quoted") && !shown.contains(SECRET_KEY) && !shown.contains("127.0.0.1"),
            "{shown}"
        );
    }
    heard
}

/// Calls with one message of the user.
async fn ask(model: &dyn Model, question: &str) -> Heard {
    hear(model, vec![Item::message(Role::User, question)]).await
}

/// What went wrong, and whether it may be tried again.
fn failure(heard: &Heard) -> (ModelErrorKind, bool) {
    let error = heard.error.as_ref().unwrap_or_else(|| panic!("no error but {heard:?}"));
    (error.kind, error.is_retryable())
}

#[tokio::test]
async fn answers_are_streamed_with_their_thoughts_and_what_they_cost() {
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120});
    let text = "Hello, and more than fits into one chunk.";
    let answer = json!({"content": text, "reasoning": "I think so, therefore.", "usage": usage, "model": "mock-1"});
    let aimock = Aimock::start(json!([
        {"match": {"userMessage": "Hello"}, "response": answer},
        {"match": {"userMessage": "Long"}, "response": {"content": "cut", "finishReason": "length"}},
    ]))
    .await;
    for dialect in Dialect::ALL {
        let model = aimock.model(dialect);
        let heard = ask(&*model, "Hello").await;
        assert_eq!(
            (heard.text.as_str(), heard.thought.as_str()),
            (text, "I think so, therefore.")
        );
        let end = (FinishReason::Stop, Usage::of(100, 20), "mock-1".to_owned());
        assert_eq!(heard.end, Some(end), "{dialect:?}");
        let sealed_by = heard.seal.map(|seal| seal.dialect);
        let expected = match dialect {
            Dialect::ChatCompletions => None,
            Dialect::Responses => Some("openai-responses".to_owned()),
            Dialect::Messages => Some("anthropic".to_owned()),
        };
        assert_eq!(sealed_by, expected);
        assert_eq!(
            ask(&*model, "Long").await.reason(),
            Some(FinishReason::Length),
            "{dialect:?}"
        );
    }
    aimock.stop().await;
}

#[tokio::test]
async fn parallel_tool_calls_are_streamed_and_their_results_sent_back() {
    let calls = json!([
        {"id": "call_a", "name": "now", "arguments": {}},
        {"id": "call_b", "name": "echo", "arguments": {"text": "longer than one chunk of the stream"}},
    ]);
    let aimock = Aimock::start(json!([
        {"match": {"userMessage": "Use", "hasToolResult": false}, "response": {"toolCalls": calls, "reasoning": "Hm."}},
        {"match": {"toolCallId": "call_b", "toolResultContains": "result of call_b"}, "response": {"content": "Done."}},
    ]))
    .await;
    for dialect in Dialect::ALL {
        let model = aimock.model(dialect);
        let mut conversation = vec![Item::message(Role::User, "Use the tools")];
        let heard = hear(&*model, conversation.clone()).await;
        assert_eq!(heard.reason(), Some(FinishReason::ToolCalls), "{dialect:?}");
        let called: Vec<_> = heard.calls.values().cloned().collect();
        let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("arguments are JSON");
        assert_eq!(called.len(), 2, "{dialect:?}");
        assert_eq!((called[0].0.as_str(), called[0].1.as_str()), ("call_a", "now"));
        assert_eq!(
            (parsed(&called[0].2), parsed(&called[1].2)["text"].clone()),
            (json!({}), json!("longer than one chunk of the stream"))
        );
        conversation.extend(heard.into_items());
        for (call_id, ..) in called {
            let output = format!("result of {call_id}");
            conversation.push(Item::new(
                ItemStatus::Completed,
                ItemContent::ToolResult {
                    call_id,
                    output,
                    is_error: false,
                    truncated: false,
                    approved_arguments: None,
                },
            ));
        }
        let heard = hear(&*model, conversation).await;
        assert_eq!(
            (heard.text.as_str(), heard.reason()),
            ("Done.", Some(FinishReason::Stop)),
            "{dialect:?}: {heard:?}"
        );
        let calls = aimock.calls().await;
        let body = &calls.last().expect("there was a call")["body"];
        let roles: Vec<_> = body["messages"]
            .as_array()
            .expect("messages")
            .iter()
            .map(|one| one["role"].as_str())
            .collect();
        assert_eq!(
            (roles.first(), roles.last()),
            (Some(&Some("system")), Some(&Some("tool"))),
            "{dialect:?}"
        );
    }
    aimock.stop().await;
}

#[tokio::test]
async fn what_is_sent_reaches_the_provider_in_every_dialect() {
    let aimock = Aimock::start(json!([{"match": {}, "response": {"content": "Seen."}}])).await;
    for dialect in Dialect::ALL {
        let picture = ContentPart::Image {
            source: ImageSource::url("data:image/png;base64,iVBORw0KGgo="),
            detail: None,
            cache_control: None,
        };
        let content = vec![ContentPart::text("What is this?"), picture];
        let message = ItemContent::Message {
            role: Role::User,
            content,
        };
        let heard = hear(&*aimock.model(dialect), vec![Item::new(ItemStatus::Completed, message)]).await;
        assert_eq!(heard.text, "Seen.", "{dialect:?}");
        let calls = aimock.calls().await;
        let call = calls.last().expect("there was a call");
        let body = &call["body"];
        assert_eq!(
            (&body["max_tokens"], &body["stream"]),
            (&json!(500), &json!(true)),
            "{dialect:?}"
        );
        assert_eq!(body["tools"].as_array().map(Vec::len), Some(2), "{dialect:?}");
        assert!(body["messages"].to_string().contains("What is this?"), "{dialect:?}");
        let headers = &call["headers"];
        assert!(
            headers[RUN_HEADER].as_str().is_some_and(|run| run.starts_with("run_")),
            "{headers}"
        );
        assert_eq!(headers[ATTEMPT_HEADER], "3");
        let key_header = match dialect {
            Dialect::Messages => "x-api-key",
            Dialect::ChatCompletions | Dialect::Responses => "authorization",
        };
        assert!(headers[key_header].is_string(), "{headers}");
    }
    aimock.stop().await;
}

#[tokio::test]
async fn refusals_are_told_with_what_to_wait_for_and_never_quoted() {
    let refusal = |status: u16, kind: &str| json!({"error": {"message": "quoted", "type": kind}, "status": status});
    let aimock = Aimock::start(json!([
        {"match": {"userMessage": "Too fast"}, "response": refusal(429, "rate_limit_error")},
        {"match": {"userMessage": "Too much"}, "response": refusal(529, "overloaded_error")},
        {"match": {"userMessage": "Who"}, "response": refusal(401, "authentication_error")},
        {"match": {"userMessage": "What"}, "response": refusal(400, "invalid_request_error")},
        {"match": {"userMessage": "Unpaid"}, "response": refusal(429, "insufficient_quota")},
        {"match": {"userMessage": "Chaos"}, "response": {"content": "x"}, "chaos": {"rateLimitRate": 1}},
    ]))
    .await;
    for dialect in Dialect::ALL {
        let model = aimock.model(dialect);
        for question in ["Too fast", "Chaos"] {
            let heard = ask(&*model, question).await;
            assert_eq!(failure(&heard), (ModelErrorKind::Status(429), true), "{dialect:?}");
            let error = heard.error.expect("an error");
            assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
            let window = |limit, resets| WindowHint {
                limit: Some(limit),
                remaining: Some(0),
                resets_in: Some(Duration::from_secs(resets)),
            };
            let hints = LimitHints {
                requests: window(60, 1),
                tokens: window(150_000, 360),
            };
            assert_eq!(*error.hints, hints, "{dialect:?}");
        }
        for (question, status, is_retryable) in [
            ("Too much", 529, true),
            ("Who", 401, false),
            ("What", 400, false),
            ("Unpaid", 402, false),
        ] {
            let heard = ask(&*model, question).await;
            assert_eq!(
                failure(&heard),
                (ModelErrorKind::Status(status), is_retryable),
                "{dialect:?} {question}"
            );
        }
    }
    aimock.stop().await;
}

#[tokio::test]
async fn answers_that_break_are_never_taken_for_whole_ones() {
    let long = "This answer breaks before it is whole, and what there is of it stays.";
    let aimock = Aimock::start(json!([
        {"match": {"userMessage": "Truncate"}, "response": {"content": long}, "truncateAfterChunks": 6, "chunkSize": 4},
        {"match": {"userMessage": "Disconnect"}, "response": {"content": long}, "latency": 20, "disconnectAfterMs": 200, "chunkSize": 2},
        {"match": {"userMessage": "Hang up"}, "response": {"content": "x"}, "chaos": {"disconnectRate": 1}},
        {"match": {"userMessage": "Babble"}, "response": {"content": "x"}, "chaos": {"malformedRate": 1}},
        {"match": {"userMessage": "Drop"}, "response": {"content": "x"}, "chaos": {"dropRate": 1}},
    ]))
    .await;
    for dialect in Dialect::ALL {
        let model = aimock.model(dialect);
        for (question, expected) in [
            ("Truncate", (ModelErrorKind::Connection, true)),
            ("Disconnect", (ModelErrorKind::Connection, true)),
            ("Hang up", (ModelErrorKind::Connection, true)),
            ("Babble", (ModelErrorKind::Protocol, false)),
            ("Drop", (ModelErrorKind::Status(500), true)),
        ] {
            let heard = ask(&*model, question).await;
            assert_eq!(failure(&heard), expected, "{dialect:?} {question}");
            assert_eq!(heard.end, None);
            assert!(
                long.starts_with(&heard.text) && heard.text.len() < long.len(),
                "{dialect:?} {question}: {heard:?}"
            );
        }
        let heard = ask(&*model, "Disconnect").await;
        assert!(!heard.text.is_empty(), "{dialect:?}: what came before stays");
    }
    aimock.stop().await;
}
