//! The adapters of real providers against the simulated one, over real HTTP: in every dialect the same comes out.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::event::FinishReason;
use callboard_actors::ids::RunId;
use callboard_actors::item::{Item, ItemContent, ItemStatus, Role, Usage};
use callboard_actors::ports::model::WindowHint;
use callboard_actors::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{SimulateServerOptions, SimulateServerSettings, start};
use crate::llm::anthropic::AnthropicModel;
use crate::llm::openai::OpenAiModel;
use crate::llm::openai_responses::OpenAiResponsesModel;
use crate::llm::simulated::SimulatedModel;
use crate::llm::upstream::{ProviderClient, UpstreamOptions};

/// One model of the simulated provider in each dialect, by its name in the journal.
struct Dialects([(&'static str, Box<dyn Model>); 3]);

impl Dialects {
    fn at(address: std::net::SocketAddr) -> Self {
        let base_url = format!("http://{address}/v1");
        let options = UpstreamOptions {
            client: ProviderClient::new(&base_url, Duration::from_secs(5), 8).expect("a URL"),
            base_url,
            api_key: Some("sk-simulated-0001".to_owned().into()),
            upstream_model: "simulated".into(),
            max_event_size: 65_536,
        };
        let chat = OpenAiModel::new(options.clone()).expect("good options");
        let responses = OpenAiResponsesModel::new(options.clone()).expect("good options");
        let messages = AnthropicModel::new(options, 1000).expect("good options");
        Self([
            ("chat", Box::new(chat)),
            ("responses", Box::new(responses)),
            ("messages", Box::new(messages)),
        ])
    }

    /// All of a provider of their own.
    fn of(settings: Value) -> Self {
        let settings: SimulateServerSettings = serde_json::from_value(settings).expect("the right form");
        settings.check().expect("good settings");
        let bind = "127.0.0.1:0".parse().expect("an address");
        let options = SimulateServerOptions {
            bind,
            workers: 1,
            settings,
        };
        let (server, address) = start(options).expect("a free port");
        actix_rt::spawn(server);
        Self::at(address)
    }
}

fn request(simulate: &Value, attempt: u32) -> ModelRequest {
    let Value::Object(options) = json!({"simulate": simulate}) else {
        unreachable!("an object")
    };
    ModelRequest {
        run_id: RunId::new(),
        step: 1,
        attempt,
        instructions: Some("Be brief.".into()),
        conversation: Arc::new([Arc::new(Item::message(Role::User, "Hello?"))]),
        tools: Arc::new([]),
        max_output_tokens: None,
        options: Arc::new(options),
    }
}

async fn answer_to(model: &dyn Model, request: ModelRequest) -> Result<Vec<ModelDelta>, ModelError> {
    let stream = model.call(request).await?;
    stream.pieces.collect::<Vec<_>>().await.into_iter().collect()
}

async fn answer(model: &dyn Model, simulate: &Value, attempt: u32) -> Result<Vec<ModelDelta>, ModelError> {
    answer_to(model, request(simulate, attempt)).await
}

/// The text, the thought, and the end.
fn said(pieces: &[ModelDelta]) -> (String, String, FinishReason, Usage) {
    let (mut text, mut thought) = (String::new(), String::new());
    for piece in pieces {
        match piece {
            ModelDelta::Text(delta) => text.push_str(delta),
            ModelDelta::Reasoning(delta) => thought.push_str(delta),
            _ => {}
        }
    }
    let Some(ModelDelta::Finished { reason, usage, model }) = pieces.last() else {
        panic!("no end: {pieces:?}")
    };
    assert_eq!(model, "simulated");
    (text, thought, *reason, *usage)
}

#[actix_rt::test]
async fn in_every_dialect_the_model_says_what_it_says_in_process() {
    let simulate = json!({"seed": 5, "tokens": 9, "reasoning_tokens": 2, "cached_input_tokens": 3});
    let pieces = answer(&SimulatedModel::default(), &simulate, 1)
        .await
        .expect("an answer");
    let in_process = said(&pieces);
    for (name, model) in Dialects::of(json!({})).0 {
        let mut asked = request(&simulate, 1);
        if name == "responses" {
            // Without this it tells nobody what it thinks.
            Arc::make_mut(&mut asked.options).insert("reasoning_summary".into(), "auto".into());
        }
        let pieces = answer_to(&*model, asked).await.expect("an answer");
        let (text, thought, reason, usage) = said(&pieces);
        assert_eq!(
            (text, thought, reason),
            (in_process.0.clone(), in_process.1.clone(), in_process.2),
            "{name}"
        );
        let counts = (usage.output_tokens, usage.reasoning_tokens, usage.cached_input_tokens);
        // Anthropic does not say how many tokens were thoughts.
        assert_eq!(counts, (11, if name == "messages" { 0 } else { 2 }, 3), "{name}");
    }
}

#[actix_rt::test]
async fn parallel_tool_calls_come_through_and_the_thought_before_them_is_taken_back() {
    let simulate = json!({
        "text": "done", "reasoning_tokens": 3, "tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "a"}}]
    });
    for (name, model) in Dialects::of(json!({})).0 {
        let first = request(&simulate, 1);
        let pieces = answer_to(&*model, first.clone()).await.expect("an answer");
        let (_, thought, reason, _) = said(&pieces);
        assert_eq!(reason, FinishReason::ToolCalls, "{name}");
        let seal = pieces.iter().find_map(|piece| match piece {
            ModelDelta::ReasoningSealed(seal) => Some(seal.clone()),
            _ => None,
        });
        assert_eq!(seal.is_some(), name != "chat", "{name}");
        let started: Vec<_> = pieces.iter().filter_map(call_started).collect();
        let arguments = |wanted: u32| {
            let grown = pieces.iter().filter_map(move |piece| match piece {
                ModelDelta::ToolCallArguments { index, delta } if *index == wanted => Some(delta.as_str()),
                _ => None,
            });
            grown.collect::<String>()
        };
        assert_eq!(
            started.iter().map(|call| call.2.as_str()).collect::<Vec<_>>(),
            ["now", "echo"]
        );
        assert_eq!(
            (arguments(started[0].0), arguments(started[1].0)),
            ("{}".into(), "{\"text\":\"a\"}".into())
        );

        let mut conversation = first.conversation.to_vec();
        let mut add = |content| conversation.push(Arc::new(Item::new(ItemStatus::Completed, content)));
        add(ItemContent::Reasoning { text: thought, seal });
        for (index, call_id, name) in &started {
            add(ItemContent::ToolCall {
                call_id: call_id.clone(),
                name: name.clone(),
                arguments: arguments(*index),
            });
        }
        for (_, call_id, _) in &started {
            add(ItemContent::ToolResult {
                call_id: call_id.clone(),
                output: "x".into(),
                is_error: false,
                truncated: false,
                approved_arguments: None,
            });
        }
        let second = ModelRequest {
            conversation: conversation.into(),
            ..first
        };
        let pieces = answer_to(&*model, second).await.expect("an answer");
        assert_eq!(said(&pieces).0, "[simulated] done", "{name}");
    }
}

fn call_started(piece: &ModelDelta) -> Option<(u32, String, String)> {
    match piece {
        ModelDelta::ToolCallStarted { index, call_id, name } => Some((*index, call_id.clone(), name.clone())),
        _ => None,
    }
}

#[actix_rt::test]
async fn failures_are_told_apart() {
    for (name, model) in Dialects::of(json!({})).0 {
        let status = json!({"fail": {"kind": "status", "status": 429, "retry_after_ms": 1500, "attempts": 1}});
        let error = answer(&*model, &status, 1).await.expect_err("told to fail");
        assert_eq!(
            (error.kind, error.retry_after),
            (ModelErrorKind::Status(429), Some(Duration::from_millis(1500))),
            "{name}"
        );
        assert!(answer(&*model, &status, 2).await.is_ok(), "only the first try fails");
        for (kind, expected) in [
            ("connect", ModelErrorKind::Connection),
            ("break", ModelErrorKind::Connection),
            ("garbage", ModelErrorKind::Protocol),
        ] {
            let simulate = json!({"fail": {"kind": kind, "after_tokens": 3}});
            let error = answer(&*model, &simulate, 1).await.expect_err("told to fail");
            assert_eq!(error.kind, expected, "{name} {kind}");
        }
        let simulate = json!({"fail": {"kind": "error_event", "after_tokens": 3, "status": 529}});
        let error = answer(&*model, &simulate, 1).await.expect_err("told to fail");
        assert!(error.is_retryable() && error.is_upstream_trouble(), "{name}: {error:?}");
    }
}

#[actix_rt::test]
async fn what_is_said_of_limits_is_understood() {
    let settings = json!({"limits": {"requests_per_minute": 3, "tokens_per_minute": 100_000}});
    let models = Dialects::of(settings).0;
    let simulate = json!({"tokens": 5});
    for (place, (name, model)) in (1..).zip(&models) {
        let mut answer = model.call(request(&simulate, 1)).await.expect("an answer");
        let WindowHint {
            limit,
            remaining,
            resets_in,
        } = answer.hints.requests;
        assert_eq!((limit, remaining), (Some(3), Some(3 - place)), "{name}");
        let resets_in = resets_in.expect("it says so");
        assert!((50..62).contains(&resets_in.as_secs()), "{name}: {resets_in:?}");
        assert_eq!(answer.hints.tokens.limit, Some(100_000), "{name}");
        while answer.pieces.next().await.is_some() {}
    }
    for (name, model) in &models {
        let error = answer(&**model, &simulate, 1).await.expect_err("over the limit");
        assert!(error.is_rate_limited(), "{name}: {error:?}");
        assert!(
            error.retry_after.is_some_and(|wait| wait.as_secs() > 30),
            "{name}: {error:?}"
        );
        assert_eq!(error.hints.requests.remaining, Some(0), "{name}");
    }
}

#[actix_rt::test]
async fn a_key_that_is_not_listed_is_refused() {
    for (name, model) in Dialects::of(json!({"keys": [{"key": "sk-simulated-0002"}]})).0 {
        let error = answer(&*model, &json!({}), 1).await.expect_err("another key");
        assert!(error.is_key_refused(), "{name}: {error:?}");
    }
}

#[actix_rt::test]
async fn outages_and_breaks_look_like_real_ones() {
    for (settings, kind) in [
        (json!({"outages": [{}]}), ModelErrorKind::Connection),
        (json!({"outages": [{"status": 529}]}), ModelErrorKind::Status(529)),
        (json!({"break_share": 1.0}), ModelErrorKind::Connection),
    ] {
        for (name, model) in Dialects::of(json!({"troubles": settings})).0 {
            let error = answer(&*model, &json!({}), 1).await.expect_err("trouble");
            assert_eq!(error.kind, kind, "{name} {settings}");
        }
    }
}

#[actix_rt::test]
async fn nobody_there_is_a_connection_error_that_names_no_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    for (_, model) in Dialects::at(address).0 {
        let error = answer(&*model, &json!({}), 1).await.expect_err("nobody there");
        assert_eq!(error.kind, ModelErrorKind::Connection);
        assert!(!format!("{error:?}").contains("127.0.0.1"));
    }
}

#[actix_rt::test]
async fn thinking_is_fitted_into_however_little_may_be_written() {
    let dialects = Dialects::of(json!({}));
    let (_, model) = dialects
        .0
        .iter()
        .find(|(name, _)| *name == "messages")
        .expect("it is there");
    for max_output_tokens in [1, 1_024, 1_025, 4_000, 8_000, 8_001] {
        let mut asked = request(&json!({"tokens": 3}), 1);
        let thinking = json!({"type": "enabled", "budget_tokens": 8_000});
        Arc::make_mut(&mut asked.options).insert("thinking".into(), thinking);
        asked.max_output_tokens = Some(max_output_tokens);
        let answered = answer_to(&**model, asked).await;
        assert!(answered.is_ok(), "{max_output_tokens}: {answered:?}");
    }
}

#[actix_rt::test]
async fn what_was_put_into_the_cache_is_told_where_the_dialect_has_a_word_for_it() {
    let simulate = json!({"tokens": 3, "cached_input_tokens": 1, "cache_write_input_tokens": 2});
    for (name, model) in Dialects::of(json!({})).0 {
        let pieces = answer(&*model, &simulate, 1).await.expect("an answer");
        let (.., usage) = said(&pieces);
        let written = if name == "messages" { 2 } else { 0 };
        assert_eq!(
            (usage.cached_input_tokens, usage.cache_write_input_tokens),
            (1, written),
            "{name}"
        );
        assert!(usage.input_tokens >= 3, "{name}: {usage:?}");
    }
}
