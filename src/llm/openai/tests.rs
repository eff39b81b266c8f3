//! What the adapter makes of providers that behave oddly.

use std::collections::VecDeque;

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;

use super::*;

fn fold(events: &[&str]) -> Vec<Result<ModelDelta, ModelError>> {
    let (mut fold, mut pieces) = (ChunkFold::default(), VecDeque::new());
    for event in events {
        fold.event(event, &mut pieces);
    }
    fold.end(&mut pieces);
    pieces.into()
}

#[test]
fn a_stream_may_lack_done_and_usage_but_not_a_finish_reason() {
    let whole = fold(&[r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}],"model":"m"}"#]);
    let end = ModelDelta::Finished {
        reason: FinishReason::Stop,
        usage: Usage::default(),
        model: "m".into(),
    };
    assert_eq!(whole, [Ok(ModelDelta::Text("Hi".into())), Ok(end)]);
    let cut = fold(&[r#"{"choices":[{"delta":{"content":"Hi"}}]}"#]);
    assert_eq!(cut[1].as_ref().expect_err("cut").kind, ModelErrorKind::Connection);
}

#[test]
fn unknown_fields_and_empty_choices_are_ignored() {
    let events = [
        r#"{"choices":[],"prompt_filter_results":[1]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","content":null,"x":1},"finish_reason":"weird"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"details":{}}}"#,
        "[DONE]",
        r#"{"choices":[{"delta":{"content":"after the end"}}]}"#,
    ];
    let usage = Usage::of(3, 4);
    let end = ModelDelta::Finished {
        reason: FinishReason::Stop,
        usage,
        model: String::new(),
    };
    assert_eq!(fold(&events), [Ok(end)]);
}

#[test]
fn errors_in_the_stream_and_garbage_end_it_without_being_quoted() {
    for (event, kind) in [
        (r#"{"error":{"message":"secret sk-123"}}"#, ModelErrorKind::Status(500)),
        ("<html>sk-123</html>", ModelErrorKind::Protocol),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"sk-123"}}]}}]}"#,
            ModelErrorKind::Protocol,
        ),
    ] {
        let pieces = fold(&[event]);
        let error = pieces[0].as_ref().expect_err("an error");
        assert_eq!((pieces.len(), error.kind), (1, kind));
        assert!(!error.message.contains("sk-123"));
    }
}

#[tokio::test]
async fn an_answer_that_is_no_event_stream_is_not_taken_for_one_that_broke_off() {
    let first_piece = async |kind: &'static str, body: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let reading = Reading {
            is_event_stream: is_event_stream(&headers),
            bytes: stream::iter([Ok(bytes::Bytes::from_static(body.as_bytes()))]).boxed(),
            reader: SseReader::new(1000),
            fold: ChunkFold::default(),
            pieces: VecDeque::new(),
        };
        reading.next().await.expect("a piece").0
    };
    for (kind, body) in [
        ("text/html; charset=utf-8", "<html>Sign in</html>"),
        ("application/json", r#"{"choices":[{"message":{"content":"Hi"}}]}"#),
    ] {
        let error = first_piece(kind, body).await.expect_err("no answer");
        assert_eq!(error.kind, ModelErrorKind::Protocol, "{kind}");
    }
    let cut = first_piece("text/event-stream", ": still there\n\n").await;
    assert_eq!(cut.expect_err("cut").kind, ModelErrorKind::Connection);
    let misnamed = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n";
    assert_eq!(
        first_piece("text/plain", misnamed).await,
        Ok(ModelDelta::Text("Hi".into()))
    );
}

#[test]
fn retry_after_is_read_in_all_its_forms() {
    let headers = |name: &'static str, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().expect("a header"));
        headers
    };
    assert_eq!(retry_after(&headers("retry-after", "7")), Some(Duration::from_secs(7)));
    assert_eq!(
        retry_after(&headers("retry-after-ms", "250")),
        Some(Duration::from_millis(250))
    );
    assert_eq!(
        retry_after(&headers("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")),
        Some(Duration::ZERO)
    );
    let far = retry_after(&headers("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")).expect("a date");
    assert!(far > Duration::from_secs(3600));
    assert_eq!(retry_after(&headers("retry-after", "soon")), None);
}

#[test]
fn the_key_is_in_no_debug_output() {
    let options = OpenAiOptions {
        base_url: "http://127.0.0.1:1".into(),
        api_key: Some("sk-secret".to_owned().into()),
        upstream_model: "m".into(),
        connect_timeout: Duration::from_secs(1),
        max_idle_connections: 1,
        max_event_size: 1,
    };
    assert!(!format!("{options:?}").contains("sk-secret"));
    let model = OpenAiModel::new(options).expect("good options");
    assert!(!format!("{model:?}").contains("sk-secret"));
}
