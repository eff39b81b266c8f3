//! What the adapter makes of the events that come.

use callboard_actors::event::FinishReason;
use callboard_actors::item::{ReasoningSeal, Usage};
use callboard_actors::ports::{ModelDelta, ModelErrorKind};
use serde_json::{Value, json};

use super::SEAL_DIALECT;
use super::answer::MessageFold;
use crate::llm::upstream::testing::{cut_anywhere, folded, whole};

fn events(all: Value) -> Vec<String> {
    all.as_array().expect("a list").iter().map(Value::to_string).collect()
}

fn begun(index: u32, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn grown(index: u32, kind: &str, field: &str, value: &str) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, field: value}})
}

fn ended(index: u32) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn stopped(reason: &str) -> Value {
    json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9}})
}

fn seal(data: Value) -> ModelDelta {
    ModelDelta::ReasoningSealed(ReasoningSeal {
        dialect: SEAL_DIALECT.into(),
        data,
    })
}

fn started(index: u32, call_id: &str, name: &str) -> ModelDelta {
    ModelDelta::ToolCallStarted {
        index,
        call_id: call_id.into(),
        name: name.into(),
    }
}

fn arguments(index: u32, delta: &str) -> ModelDelta {
    let delta = delta.into();
    ModelDelta::ToolCallArguments { index, delta }
}

fn end_of(pieces: &[ModelDelta]) -> (FinishReason, Usage) {
    match pieces.last() {
        Some(ModelDelta::Finished { reason, usage, .. }) => (*reason, *usage),
        other => panic!("no end but {other:?}"),
    }
}

#[test]
fn text_comes_in_pieces_and_unknown_events_are_ignored() {
    let usage = json!({"input_tokens": 3, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 20}, "output_tokens": 1, "service_tier": "standard"});
    let said = whole(
        MessageFold::default(),
        &events(json!([
            {"type": "message_start", "message": {"id": "msg_1", "model": "claude", "usage": usage}},
            {"type": "ping"},
            {"type": "brand_new", "delta": 7},
            begun(0, json!({"type": "text", "text": ""})),
            grown(0, "text_delta", "text", "Hi"),
            {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {}}},
            ended(0),
            begun(1, json!({"type": "web_search_tool_result", "content": []})),
            ended(1),
            stopped("end_turn"),
            {"type": "message_stop"},
            grown(0, "text_delta", "text", "after the end"),
        ])),
    );
    let usage = Usage {
        cached_input_tokens: 100,
        cache_write_input_tokens: 20,
        ..Usage::of(123, 9)
    };
    let finished = ModelDelta::Finished {
        reason: FinishReason::Stop,
        usage,
        model: "claude".into(),
    };
    assert_eq!(said, [ModelDelta::Text("Hi".into()), finished]);
}

#[test]
fn tool_calls_come_in_pieces_or_whole_or_without_arguments() {
    let tool = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "now", "input": input});
    let said = whole(
        MessageFold::default(),
        &events(json!([
            begun(0, tool("a", json!({}))),
            begun(1, tool("b", json!({}))),
            grown(1, "input_json_delta", "partial_json", ""),
            grown(1, "input_json_delta", "partial_json", "{\"x\":"),
            grown(0, "input_json_delta", "partial_json", "{}"),
            grown(1, "input_json_delta", "partial_json", "1}"),
            ended(0),
            ended(1),
            begun(2, tool("c", json!({"y": 2}))),
            ended(2),
            begun(3, tool("d", json!({}))),
            stopped("tool_use"),
            {"type": "message_stop"},
        ])),
    );
    let expected = [
        started(0, "a", "now"),
        started(1, "b", "now"),
        arguments(1, "{\"x\":"),
        arguments(0, "{}"),
        arguments(1, "1}"),
        started(2, "c", "now"),
        arguments(2, "{\"y\":2}"),
        started(3, "d", "now"),
        arguments(3, "{}"),
    ];
    assert_eq!(said[..9], expected);
    assert_eq!(end_of(&said).0, FinishReason::ToolCalls);
}

#[test]
fn an_answer_may_be_cut_anywhere() {
    let events = events(json!([
        {"type": "message_start", "message": {"model": "claude", "usage": {"input_tokens": 3}}},
        begun(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        grown(0, "thinking_delta", "thinking", "Hm"),
        grown(0, "signature_delta", "signature", "ab"),
        ended(0),
        begun(1, json!({"type": "tool_use", "id": "a", "name": "now", "input": {}})),
        grown(1, "input_json_delta", "partial_json", "{}"),
        ended(1),
        stopped("tool_use"),
        {"type": "message_stop"},
    ]));
    cut_anywhere::<MessageFold>(&events, 9);
}

#[test]
fn thoughts_are_sealed_when_they_are_whole() {
    let said = whole(
        MessageFold::default(),
        &events(json!([
            begun(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            grown(0, "thinking_delta", "thinking", "Hm"),
            grown(0, "signature_delta", "signature", "ab"),
            grown(0, "signature_delta", "signature", "cd"),
            ended(0),
            begun(1, json!({"type": "redacted_thinking", "data": "xyz"})),
            ended(1),
            begun(2, json!({"type": "thinking", "thinking": "unsigned"})),
            ended(2),
            stopped("end_turn"),
            {"type": "message_stop"},
        ])),
    );
    let expected = [
        ModelDelta::Reasoning("Hm".into()),
        seal(json!({"signature": "abcd"})),
        seal(json!({"data": "xyz"})),
        ModelDelta::Reasoning("unsigned".into()),
    ];
    assert_eq!(said[..4], expected);
}

#[test]
fn every_stop_reason_has_its_meaning() {
    for (name, reason) in [
        ("end_turn", FinishReason::Stop),
        ("stop_sequence", FinishReason::Stop),
        ("pause_turn", FinishReason::Stop),
        ("brand_new", FinishReason::Stop),
        ("tool_use", FinishReason::ToolCalls),
        ("max_tokens", FinishReason::Length),
        ("model_context_window_exceeded", FinishReason::Length),
        ("refusal", FinishReason::ContentFilter),
    ] {
        let said = whole(MessageFold::default(), &events(json!([stopped(name)])));
        assert_eq!(
            end_of(&said).0,
            reason,
            "{name}, and the stream may lack its message_stop"
        );
    }
}

#[test]
fn errors_in_the_stream_garbage_and_a_cut_are_no_answer_and_not_quoted() {
    for (event, kind) in [
        (
            r#"{"type":"error","error":{"type":"overloaded_error","message":"sk-123"}}"#,
            ModelErrorKind::Status(529),
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error","message":"sk-123"}}"#,
            ModelErrorKind::Status(429),
        ),
        (r#"{"type":"error"}"#, ModelErrorKind::Status(500)),
        (r#"{"error":{"type":"api_error"}}"#, ModelErrorKind::Status(500)),
        ("<html>sk-123</html>", ModelErrorKind::Protocol),
        (
            r#"{"type":"message_start","message":"sk-123"}"#,
            ModelErrorKind::Protocol,
        ),
        (
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"sk-123"}}"#,
            ModelErrorKind::Protocol,
        ),
        (r#"{"type":"ping"}"#, ModelErrorKind::Connection),
        (r#"{"type":"message_stop"}"#, ModelErrorKind::Connection),
    ] {
        let pieces = folded(MessageFold::default(), &[event]);
        let error = pieces[0].as_ref().expect_err("an error");
        assert_eq!((pieces.len(), error.kind), (1, kind), "{event}");
        assert!(!error.message.contains("sk-123"));
    }
}
