//! What the adapter asks for, and what it makes of providers that behave oddly.

use callboard_actors::event::FinishReason;
use callboard_actors::item::{
    ContentPart, ImageDetail, ImageSource, Item, ItemContent, ItemStatus, Role, Usage, shown_result, shown_summary,
};
use callboard_actors::ports::{ModelDelta, ModelErrorKind};
use serde_json::json;

use super::*;
use crate::llm::upstream::testing::{cut_anywhere, folded, request, whole};

fn finished(reason: FinishReason, usage: Usage, model: &str) -> ModelDelta {
    let model = model.into();
    ModelDelta::Finished { reason, usage, model }
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

/// The chunk of a delta.
fn chunk(delta: Value) -> String {
    json!({"choices": [{"delta": delta}]}).to_string()
}

fn last_chunk(reason: &str) -> String {
    json!({"choices": [{"delta": {}, "finish_reason": reason}]}).to_string()
}

#[test]
fn a_stream_may_lack_done_and_usage_but_not_a_finish_reason() {
    let said = whole(
        ChunkFold::default(),
        &[r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}],"model":"m"}"#],
    );
    let end = finished(FinishReason::Stop, Usage::default(), "m");
    assert_eq!(said, [ModelDelta::Text("Hi".into()), end]);
    let cut = folded(ChunkFold::default(), &[chunk(json!({"content": "Hi"}))]);
    assert_eq!(cut[1].as_ref().expect_err("cut").kind, ModelErrorKind::Connection);
}

#[test]
fn every_finish_reason_has_its_meaning() {
    for (name, reason) in [
        ("stop", FinishReason::Stop),
        ("eos", FinishReason::Stop),
        ("end_turn", FinishReason::Stop),
        ("brand_new", FinishReason::Stop),
        ("tool_calls", FinishReason::ToolCalls),
        ("function_call", FinishReason::ToolCalls),
        ("length", FinishReason::Length),
        ("model_length", FinishReason::Length),
        ("content_filter", FinishReason::ContentFilter),
    ] {
        let said = whole(ChunkFold::default(), &[last_chunk(name)]);
        assert_eq!(said, [finished(reason, Usage::default(), "")], "{name}");
    }
}

#[test]
fn a_provider_that_could_not_go_on_has_not_answered() {
    for name in ["error", "abort", "insufficient_system_resource"] {
        let events = [chunk(json!({"content": "Hi"})), last_chunk(name), "[DONE]".into()];
        let pieces = folded(ChunkFold::default(), &events);
        let error = pieces[1].as_ref().expect_err("no answer");
        assert_eq!((pieces.len(), error.kind), (2, ModelErrorKind::Status(503)), "{name}");
        assert!(error.is_retryable() && error.is_upstream_trouble());
    }
}

#[test]
fn done_without_a_reason_ends_an_answer_that_has_begun() {
    let done = || "[DONE]".to_owned();
    let empty = chunk(json!({"role": "assistant", "content": ""}));
    let call = json!({"index": 0, "id": "a", "function": {"name": "now", "arguments": "{}"}});
    for (delta, reason) in [
        (json!({"content": "Hi"}), FinishReason::Stop),
        (json!({"tool_calls": [call]}), FinishReason::ToolCalls),
    ] {
        let said = whole(ChunkFold::default(), &[empty.clone(), chunk(delta), done()]);
        assert_eq!(said.last(), Some(&finished(reason, Usage::default(), "")));
    }
    let nothing = folded(ChunkFold::default(), &[empty, done()]);
    assert_eq!(
        nothing[0].as_ref().expect_err("no answer").kind,
        ModelErrorKind::Connection
    );
}

#[test]
fn unknown_fields_and_what_is_empty_or_null_are_ignored() {
    let events = [
        r#"{"choices":[],"prompt_filter_results":[1]}"#,
        r#"{"choices":null,"usage":null}"#,
        r#"{"choices":[{"delta":null}]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","content":null,"tool_calls":null,"x":1},"finish_reason":"weird"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"details":{}}}"#,
        "[DONE]",
        r#"{"choices":[{"delta":{"content":"after the end"}}]}"#,
    ];
    assert_eq!(
        whole(ChunkFold::default(), &events),
        [finished(FinishReason::Stop, Usage::of(3, 4), "")]
    );
}

#[test]
fn an_answer_may_be_cut_anywhere() {
    let call = json!({"index": 0, "id": "a", "function": {"name": "now", "arguments": "{}"}});
    let events = [
        chunk(json!({"reasoning_content": "Hm", "content": "Hi"})),
        chunk(json!({"tool_calls": [call]})),
        last_chunk("tool_calls"),
        json!({"choices": [], "usage": {"prompt_tokens": 3}}).to_string(),
    ];
    cut_anywhere::<ChunkFold>(&events, 3);
}

#[test]
fn usage_has_its_details() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 10, "audio_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 5}}});
    let said = whole(ChunkFold::default(), &[last_chunk("length"), usage.to_string()]);
    let usage = Usage {
        cached_input_tokens: 10,
        reasoning_tokens: 5,
        ..Usage::of(30, 20)
    };
    assert_eq!(said, [finished(FinishReason::Length, usage, "")]);
}

#[test]
fn reasoning_is_heard_once_under_either_name_and_in_parts() {
    let events = [
        chunk(json!({"reasoning": "a", "reasoning_content": "a"})),
        chunk(json!({"reasoning": "b"})),
        chunk(
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "c"}]}, {"type": "text", "text": "d"}]}),
        ),
        last_chunk("stop"),
    ];
    let said = whole(ChunkFold::default(), &events);
    let reasoning = |text: &str| ModelDelta::Reasoning(text.into());
    assert_eq!(said[..3], [reasoning("a"), reasoning("b"), reasoning("c")]);
    assert_eq!(said[3], ModelDelta::Text("d".into()));
}

#[test]
fn parallel_tool_calls_are_told_apart() {
    let call = |call: Value| chunk(json!({"tool_calls": [call]}));
    let interleaved = [
        call(json!({"index": 0, "id": "a", "function": {"name": "now", "arguments": ""}})),
        call(json!({"index": 1, "id": "b", "function": {"name": "echo"}})),
        call(json!({"index": 0, "function": {"arguments": "{}"}})),
        call(json!({"index": 1, "id": "b", "function": {"arguments": "{\"x\":"}})),
        call(json!({"index": 1, "function": {"name": null, "arguments": "1}"}})),
        last_chunk("tool_calls"),
    ];
    let expected = [
        started(0, "a", "now"),
        started(1, "b", "echo"),
        arguments(0, "{}"),
        arguments(1, "{\"x\":"),
        arguments(1, "1}"),
        finished(FinishReason::ToolCalls, Usage::default(), ""),
    ];
    assert_eq!(whole(ChunkFold::default(), &interleaved), expected);
}

#[test]
fn parallel_tool_calls_under_one_index_or_none_are_told_apart_by_their_ids() {
    for index in [json!(0), Value::Null] {
        let call = |id: &str, name: Value, more: &str| {
            chunk(json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": more}}]}))
        };
        let events = [
            call("a", json!("now"), "{"),
            call("", Value::Null, "}"),
            call("b", json!("echo"), "{}"),
            last_chunk("stop"),
        ];
        let expected = [
            started(0, "a", "now"),
            arguments(0, "{"),
            arguments(0, "}"),
            started(1, "b", "echo"),
            arguments(1, "{}"),
        ];
        assert_eq!(whole(ChunkFold::default(), &events)[..5], expected, "{index}");
    }
}

#[test]
fn errors_in_the_stream_and_garbage_end_it_without_being_quoted() {
    for (event, kind) in [
        (r#"{"error":{"message":"secret sk-123"}}"#, ModelErrorKind::Status(500)),
        (
            r#"{"error":{"code":429,"message":"sk-123"},"choices":[]}"#,
            ModelErrorKind::Status(429),
        ),
        ("<html>sk-123</html>", ModelErrorKind::Protocol),
        (r#"{"choices":"sk-123"}"#, ModelErrorKind::Protocol),
        (
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"sk-123"}}]}}]}"#,
            ModelErrorKind::Protocol,
        ),
    ] {
        let pieces = folded(ChunkFold::default(), &[event]);
        let error = pieces[0].as_ref().expect_err("an error");
        assert_eq!((pieces.len(), error.kind), (1, kind), "{event}");
        assert!(!error.message.contains("sk-123"));
    }
}

fn sent(conversation: Vec<Item>, options: Value) -> Value {
    let request = request(conversation, options, true);
    let body = wire::ChatRequest::new("m", OutputLimitField::MaxTokens, &request);
    serde_json::to_value(body).expect("it can be written")
}

#[test]
fn pictures_are_parts_and_text_alone_is_a_string() {
    let picture = ContentPart::Image {
        source: ImageSource::url("data:image/png;base64,aGk="),
        detail: Some(ImageDetail::Low),
        cache_control: None,
    };
    let message = |content| {
        Item::new(
            ItemStatus::Completed,
            ItemContent::Message {
                role: Role::User,
                content,
            },
        )
    };
    let body = sent(
        vec![
            message(vec![ContentPart::text("What "), ContentPart::text("now?")]),
            message(vec![ContentPart::text("See"), picture]),
        ],
        json!({"response_format": {"type": "json_object"}}),
    );
    assert_eq!(body["messages"][0]["content"], "What now?");
    let parts = json!([
        {"type": "text", "text": "See"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk=", "detail": "low"}},
    ]);
    assert_eq!(body["messages"][1]["content"], parts);
    assert_eq!(body["response_format"], json!({"type": "json_object"}));
}

#[test]
fn a_summary_is_never_among_the_words_of_the_system() {
    let summary = Item::new(
        ItemStatus::Completed,
        ItemContent::Summary {
            text: "Ada asked for tea.".into(),
            turns: 2,
            tokens: 90,
            before_position: 3,
        },
    );
    let body = sent(vec![summary, Item::message(Role::User, "More.")], json!({}));
    let messages = json!([
        {"role": "user", "content": shown_summary("Ada asked for tea.")},
        {"role": "user", "content": "More."},
    ]);
    assert_eq!(body["messages"], messages);
}

#[test]
fn an_answer_is_one_message_whatever_came_first_in_it() {
    let item = |content| Item::new(ItemStatus::Completed, content);
    let body = sent(
        vec![
            Item::message(Role::User, "Hi"),
            item(ItemContent::Reasoning {
                text: "hm".into(),
                seal: None,
            }),
            item(ItemContent::ToolCall {
                call_id: "c".into(),
                name: "now".into(),
                arguments: "{}".into(),
            }),
            Item::message(Role::Assistant, "Wait."),
            item(ItemContent::ToolResult {
                call_id: "c".into(),
                output: "7".into(),
                is_error: false,
                truncated: false,
                approved_arguments: Some("{\"zone\":1}".into()),
            }),
        ],
        json!({}),
    );
    let call = json!({"id": "c", "type": "function", "function": {"name": "now", "arguments": "{}"}});
    let messages = json!([
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Wait.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": shown_result("7", Some("{\"zone\":1}"))},
    ]);
    assert_eq!(body["messages"], messages);
}

#[test]
fn the_output_limit_has_the_name_that_the_provider_knows() {
    let field_at = OutputLimitField::usual_at;
    assert_eq!(
        field_at("https://api.openai.com/v1"),
        OutputLimitField::MaxCompletionTokens
    );
    assert_eq!(
        field_at("https://x.openai.azure.com/openai/v1"),
        OutputLimitField::MaxCompletionTokens
    );
    assert_eq!(field_at("http://127.0.0.1:8000/v1"), OutputLimitField::MaxTokens);
    let mut request = request(Vec::new(), json!({}), false);
    request.max_output_tokens = Some(9);
    for (field, name) in [
        (OutputLimitField::MaxTokens, "max_tokens"),
        (OutputLimitField::MaxCompletionTokens, "max_completion_tokens"),
    ] {
        let body = serde_json::to_value(wire::ChatRequest::new("m", field, &request)).expect("it can be written");
        let limits = ["max_tokens", "max_completion_tokens"].map(|name| (name, body.get(name).cloned()));
        for (given, value) in limits {
            assert_eq!(value, (given == name).then(|| json!(9)), "{given}");
        }
    }
}
