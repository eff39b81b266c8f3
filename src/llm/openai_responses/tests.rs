//! What the adapter asks for, and what it makes of the events that come.

use callboard_actors::event::FinishReason;
use callboard_actors::item::{
    ContentPart, ImageSource, Item, ItemContent, ItemStatus, ReasoningSeal, Role, Usage, shown_result, shown_summary,
};
use callboard_actors::ports::{ModelDelta, ModelErrorKind};
use serde_json::json;

use super::*;
use crate::llm::upstream::testing::{cut_anywhere, folded, request, whole};

fn events(all: Value) -> Vec<String> {
    all.as_array().expect("a list").iter().map(Value::to_string).collect()
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"status": "completed", "model": "m"}})
}

fn last(pieces: &[ModelDelta]) -> (FinishReason, Usage) {
    match pieces.last() {
        Some(ModelDelta::Finished { reason, usage, .. }) => (*reason, *usage),
        other => panic!("no end but {other:?}"),
    }
}

fn text(text: &str) -> ModelDelta {
    ModelDelta::Text(text.into())
}

#[test]
fn text_comes_in_pieces_and_unknown_events_are_ignored() {
    let usage = json!({"input_tokens": 30, "output_tokens": 20, "total_tokens": 50,
        "input_tokens_details": {"cached_tokens": 10}, "output_tokens_details": {"reasoning_tokens": 5}});
    let said = whole(
        ResponseFold::default(),
        &events(json!([
            {"type": "response.created", "response": {"status": "in_progress"}},
            {"type": "response.brand_new", "delta": 7},
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "hologram"}},
            {"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}},
            {"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hi"},
            {"type": "response.refusal.delta", "output_index": 1, "delta": "!"},
            {"type": "response.output_text.done", "output_index": 1, "text": "Hi!"},
            {"type": "response.output_item.done", "output_index": 1, "item": {"type": "message",
                "content": [{"type": "output_text", "text": "Hi!"}]}},
            {"type": "response.completed", "response": {"status": "completed", "model": "m", "usage": usage}},
            {"type": "response.output_text.delta", "output_index": 1, "delta": "after the end"},
        ])),
    );
    assert_eq!(said[..2], [text("Hi"), text("!")]);
    let usage = Usage {
        cached_input_tokens: 10,
        reasoning_tokens: 5,
        ..Usage::of(30, 20)
    };
    assert_eq!((said.len(), last(&said)), (3, (FinishReason::Stop, usage)));
}

#[test]
fn an_answer_may_be_cut_anywhere() {
    let call = json!({"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"});
    let thought = json!({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"});
    let events = events(json!([
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning"}},
        {"type": "response.output_item.done", "output_index": 0, "item": thought},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "Hi"},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
        completed(),
    ]));
    cut_anywhere::<ResponseFold>(&events, events.len());
}

#[test]
fn items_that_are_said_at_their_end_only_are_heard_once() {
    let call = json!({"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"});
    let said = whole(
        ResponseFold::default(),
        &events(json!([
            {"type": "response.output_item.done", "output_index": 0, "item": {"type": "message",
                "content": [{"type": "output_text", "text": "Hi"}]}},
            {"type": "response.output_item.done", "output_index": 1, "item": call},
            completed(),
        ])),
    );
    let started = ModelDelta::ToolCallStarted {
        index: 1,
        call_id: "c".into(),
        name: "now".into(),
    };
    let arguments = ModelDelta::ToolCallArguments {
        index: 1,
        delta: "{}".into(),
    };
    assert_eq!(said[..3], [text("Hi"), started, arguments]);
    assert_eq!(last(&said).0, FinishReason::ToolCalls);
}

#[test]
fn parallel_tool_calls_are_told_apart() {
    let added = |index: u32, id: &str| {
        json!({"type": "response.output_item.added", "output_index": index,
            "item": {"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "now", "arguments": ""}})
    };
    let more = |index: u32, delta: &str| json!({"type": "response.function_call_arguments.delta", "output_index": index, "delta": delta});
    let done = json!({"type": "response.output_item.done", "output_index": 0,
        "item": {"type": "function_call", "call_id": "a", "name": "now", "arguments": "{}"}});
    let said = whole(
        ResponseFold::default(),
        &events(json!([
            added(0, "a"),
            added(1, "b"),
            more(1, "{"),
            more(0, "{}"),
            more(1, "}"),
            done,
            more(7, "x"),
            completed()
        ])),
    );
    let argument = |piece: &ModelDelta| match piece {
        ModelDelta::ToolCallArguments { index, delta } => Some((*index, delta.clone())),
        _ => None,
    };
    let arguments: Vec<_> = said.iter().filter_map(argument).collect();
    assert_eq!(arguments, [(1, "{".into()), (0, "{}".into()), (1, "}".into())]);
}

#[test]
fn thoughts_are_sealed_and_sent_back_as_they_came() {
    let thought = json!({"type": "reasoning", "id": "rs_1", "encrypted_content": "gAAA",
        "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]});
    let delta = |delta: &str| json!({"type": "response.reasoning_summary_text.delta", "delta": delta});
    let part = |index: u32| json!({"type": "response.reasoning_summary_part.added", "summary_index": index});
    let said = whole(
        ResponseFold::default(),
        &events(json!([
            {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "summary": []}},
            part(0), delta("a"), part(1), delta("b"),
            {"type": "response.output_item.done", "output_index": 0, "item": thought},
            completed(),
        ])),
    );
    let reasoning = |text: &str| ModelDelta::Reasoning(text.into());
    let ModelDelta::ReasoningSealed(seal) = said[3].clone() else {
        panic!("{said:?}");
    };
    assert_eq!(said[..3], [reasoning("a"), reasoning("\n\n"), reasoning("b")]);
    let reasoning = |seal| {
        Item::new(
            ItemStatus::Completed,
            ItemContent::Reasoning {
                text: "ab".into(),
                seal,
            },
        )
    };
    let foreign = ReasoningSeal {
        dialect: "anthropic".into(),
        data: seal.data.clone(),
    };
    let conversation = vec![reasoning(Some(seal)), reasoning(None), reasoning(Some(foreign))];
    let body = sent(conversation.clone(), json!({}), true);
    let sent_back = json!([{"type": "reasoning", "summary": thought["summary"], "encrypted_content": "gAAA"}]);
    assert_eq!(
        (&body["input"], &body["include"]),
        (&sent_back, &json!(["reasoning.encrypted_content"]))
    );
    let body = sent(conversation, json!({}), false);
    assert_eq!((&body["input"], &body["include"]), (&json!([]), &Value::Null));
}

#[test]
fn how_an_answer_ends_decides_what_becomes_of_it() {
    let ended = |kind: &str, response: Value| {
        folded(
            ResponseFold::default(),
            &events(json!([{"type": kind, "response": response}])),
        )
        .pop()
        .expect("an end")
    };
    for (details, expected) in [
        (json!({"reason": "max_output_tokens"}), FinishReason::Length),
        (json!({"reason": "content_filter"}), FinishReason::ContentFilter),
        (json!({"reason": "brand_new"}), FinishReason::Length),
        (Value::Null, FinishReason::Length),
    ] {
        for (kind, status) in [
            ("response.incomplete", json!("incomplete")),
            ("response.incomplete", Value::Null),
            ("response.completed", json!("incomplete")),
        ] {
            let end = ended(kind, json!({"status": status, "incomplete_details": details}));
            assert_eq!(last(&[end.expect("no error")]).0, expected, "{kind}");
        }
    }
    let error = json!({"code": "rate_limit_exceeded", "message": "sk-123"});
    for (kind, status) in [
        ("response.failed", json!("failed")),
        ("response.failed", Value::Null),
        ("response.completed", json!("failed")),
    ] {
        let error = ended(kind, json!({"status": status, "error": error})).expect_err("it failed");
        assert_eq!(error.kind, ModelErrorKind::Status(429), "{kind}");
        assert!(!error.message.contains("sk-123"));
    }
    for kind in ["response.failed", "response.cancelled"] {
        let error = ended(kind, Value::Null).expect_err("there is no answer");
        assert_eq!(error.kind, ModelErrorKind::Status(500), "{kind}");
    }
}

#[test]
fn errors_in_the_stream_garbage_and_a_cut_are_no_answer_and_not_quoted() {
    for (event, kind) in [
        (
            r#"{"type":"error","code":"server_error","message":"sk-123"}"#,
            ModelErrorKind::Status(500),
        ),
        (
            r#"{"type":"error","error":{"type":"rate_limit_error"}}"#,
            ModelErrorKind::Status(429),
        ),
        ("<html>sk-123</html>", ModelErrorKind::Protocol),
        (
            r#"{"type":"response.output_text.delta","delta":{"sk-123":1}}"#,
            ModelErrorKind::Protocol,
        ),
        (r#"{"type":"response.in_progress"}"#, ModelErrorKind::Connection),
        (r#"{"error":{"type":"overloaded_error"}}"#, ModelErrorKind::Status(529)),
        ("[DONE]", ModelErrorKind::Connection),
    ] {
        let pieces = folded(ResponseFold::default(), &[event]);
        let error = pieces[0].as_ref().expect_err("an error");
        assert_eq!((pieces.len(), error.kind), (1, kind), "{event}");
        assert!(!error.message.contains("sk-123"));
    }
}

fn sent(conversation: Vec<Item>, options: Value, carries_reasoning: bool) -> Value {
    let request = request(conversation, options, true);
    let options = OptionsInUse::of(&request.options).expect("good options");
    let body = ResponsesRequest::new("m", carries_reasoning, &request, options);
    serde_json::to_value(body).expect("it can be written")
}

#[test]
fn the_conversation_is_a_list_of_items() {
    let item = |content| Item::new(ItemStatus::Completed, content);
    let picture = ContentPart::Image {
        source: ImageSource::url("https://example.com/a.png"),
        detail: None,
        cache_control: None,
    };
    let conversation = vec![
        Item::message(Role::System, "Be kind."),
        item(ItemContent::Summary {
            text: "Ada asked for tea.".into(),
            turns: 2,
            tokens: 90,
            before_position: 3,
        }),
        item(ItemContent::Message {
            role: Role::User,
            content: vec![ContentPart::text("See"), picture],
        }),
        Item::message(Role::Assistant, "Wait."),
        item(ItemContent::ToolCall {
            call_id: "c".into(),
            name: "now".into(),
            arguments: "{}".into(),
        }),
        item(ItemContent::ToolResult {
            call_id: "c".into(),
            output: "7".into(),
            is_error: false,
            truncated: false,
            approved_arguments: Some("{\"zone\":1}".into()),
        }),
    ];
    let expected = json!([
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be kind."}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": shown_summary("Ada asked for tea.")}]},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "See"}, {"type": "input_image", "image_url": "https://example.com/a.png"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
        {"type": "function_call", "call_id": "c", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": shown_result("7", Some("{\"zone\":1}"))},
    ]);
    assert_eq!(sent(conversation, json!({}), false)["input"], expected);
}

#[test]
fn options_are_put_into_the_words_of_this_api() {
    let schema = json!({"name": "n", "strict": true, "schema": {"type": "object"}});
    let body = sent(
        Vec::new(),
        json!({
            "temperature": 0, "reasoning_effort": "low", "reasoning_summary": "auto", "verbosity": "low",
            "tool_choice": {"type": "function", "function": {"name": "now"}},
            "response_format": {"type": "json_schema", "json_schema": schema},
            "simulate": {"tokens": 3},
        }),
        true,
    );
    assert_eq!(body["reasoning"], json!({"effort": "low", "summary": "auto"}));
    assert_eq!(body["tool_choice"], json!({"type": "function", "name": "now"}));
    let format = json!({"type": "json_schema", "name": "n", "strict": true, "schema": {"type": "object"}});
    assert_eq!(body["text"], json!({"format": format, "verbosity": "low"}));
    assert_eq!(
        (&body["store"], &body["simulate"]["tokens"]),
        (&json!(false), &json!(3))
    );
    assert_eq!(body["tools"][0]["strict"], json!(false));
}

#[test]
fn only_models_that_think_are_asked_for_encrypted_thoughts() {
    for (model, expected) in [
        ("gpt-5.1", true),
        ("o4-mini", true),
        ("gpt-oss-120b", true),
        ("gpt-4o", false),
        ("ft:gpt-4.1-mini:org", false),
        ("gpt-5-chat-latest", false),
    ] {
        assert_eq!(thinks(model), expected, "{model}");
    }
}
