//! The `openai` adapter against the simulated provider, over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use callboard_actors::event::FinishReason;
use callboard_actors::ids::RunId;
use callboard_actors::item::{Item, Role};
use callboard_actors::ports::{Model, ModelDelta, ModelError, ModelErrorKind, ModelRequest};
use futures::StreamExt;
use serde_json::{Value, json};

use super::{SimulateServerOptions, SimulateServerSettings, start};
use crate::llm::openai::OpenAiModel;
use crate::llm::simulated::SimulatedModel;
use crate::llm::upstream::{ProviderClient, UpstreamOptions};

fn model_at(address: std::net::SocketAddr) -> OpenAiModel {
    let base_url = format!("http://{address}/v1");
    let options = UpstreamOptions {
        client: ProviderClient::new(&base_url, Duration::from_secs(5), 8).expect("a URL"),
        base_url,
        api_key: Some("sk-test".to_owned().into()),
        upstream_model: "simulated".into(),
        max_event_size: 65_536,
    };
    OpenAiModel::new(options).expect("good options")
}

async fn provider() -> OpenAiModel {
    let bind = "127.0.0.1:0".parse().expect("an address");
    let options = SimulateServerOptions {
        bind,
        workers: 1,
        settings: SimulateServerSettings::default(),
    };
    let (server, address) = start(options).expect("a free port");
    actix_rt::spawn(server);
    model_at(address)
}

fn request(simulate: Value, attempt: u32) -> ModelRequest {
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

async fn answer(model: &impl Model, simulate: Value, attempt: u32) -> Result<Vec<ModelDelta>, ModelError> {
    let stream = model.call(request(simulate, attempt)).await?;
    stream.pieces.collect::<Vec<_>>().await.into_iter().collect()
}

fn text(pieces: &[ModelDelta]) -> String {
    let texts = pieces.iter().filter_map(|piece| match piece {
        ModelDelta::Text(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

#[actix_rt::test]
async fn over_http_the_model_says_what_it_says_in_process() {
    let provider = provider().await;
    let simulate = json!({"seed": 5, "tokens": 9, "reasoning_tokens": 2});
    let over_http = answer(&provider, simulate.clone(), 1).await.expect("an answer");
    let in_process = answer(&SimulatedModel::default(), simulate, 1)
        .await
        .expect("an answer");
    assert_eq!(text(&over_http), text(&in_process));
    let Some(ModelDelta::Finished { reason, usage, model }) = over_http.last() else {
        panic!("no end: {over_http:?}")
    };
    assert_eq!(
        (*reason, usage.output_tokens, model.as_str()),
        (FinishReason::Stop, 11, "simulated")
    );
}

#[actix_rt::test]
async fn parallel_tool_calls_come_through() {
    let simulate = json!({"tool_calls": [{"name": "now"}, {"name": "echo", "arguments": {"text": "a"}}]});
    let pieces = answer(&provider().await, simulate, 1).await.expect("an answer");
    let started = |index, call_id: &str, name: &str| ModelDelta::ToolCallStarted {
        index,
        call_id: call_id.into(),
        name: name.into(),
    };
    assert_eq!(pieces[0], started(0, "call_1_0", "now"));
    assert_eq!(pieces[2], started(1, "call_1_1", "echo"));
    assert_eq!(
        pieces[3],
        ModelDelta::ToolCallArguments {
            index: 1,
            delta: "{\"text\":\"a\"}".into()
        }
    );
    assert!(matches!(
        pieces[4],
        ModelDelta::Finished {
            reason: FinishReason::ToolCalls,
            ..
        }
    ));
}

#[actix_rt::test]
async fn failures_are_told_apart() {
    let provider = provider().await;
    let status = json!({"fail": {"kind": "status", "status": 429, "retry_after_ms": 1500, "attempts": 1}});
    let error = answer(&provider, status.clone(), 1).await.expect_err("told to fail");
    assert_eq!(
        (error.kind, error.retry_after),
        (ModelErrorKind::Status(429), Some(Duration::from_millis(1500)))
    );
    assert!(answer(&provider, status, 2).await.is_ok(), "only the first try fails");
    for (kind, expected) in [
        ("connect", ModelErrorKind::Connection),
        ("break", ModelErrorKind::Connection),
        ("garbage", ModelErrorKind::Protocol),
    ] {
        let simulate = json!({"fail": {"kind": kind, "after_tokens": 3}});
        let error = answer(&provider, simulate, 1).await.expect_err("told to fail");
        assert_eq!(error.kind, expected, "{kind}");
    }
}

#[actix_rt::test]
async fn nobody_there_is_a_connection_error_that_names_no_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let error = answer(&model_at(address), json!({}), 1)
        .await
        .expect_err("nobody there");
    assert_eq!(error.kind, ModelErrorKind::Connection);
    assert!(!format!("{error:?}").contains("127.0.0.1"));
}
