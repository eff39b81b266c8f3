//! What the adapter asks for.

use callboard_actors::item::{
    CacheControl, ContentPart, ImageSource, Item, ItemContent, ItemStatus, ReasoningSeal, Role, shown_result,
    shown_summary,
};
use serde_json::{Value, json};

use super::options::OptionsInUse;
use super::request::MessagesRequest;
use super::*;
use crate::llm::upstream::testing::request;

fn sent_as(request: &ModelRequest) -> Value {
    let options = OptionsInUse::of(&request.options).expect("good options");
    let body = MessagesRequest::new("m", 1000, request, options);
    let bytes = serde_json::to_vec(&body).expect("it can be written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

fn sent(conversation: Vec<Item>, options: Value) -> Value {
    sent_as(&request(conversation, options, true))
}

fn item(content: ItemContent) -> Item {
    Item::new(ItemStatus::Completed, content)
}

fn thought(text: &str, dialect: &str, data: Value) -> Item {
    let dialect = dialect.into();
    item(ItemContent::Reasoning {
        text: text.into(),
        seal: Some(ReasoningSeal { dialect, data }),
    })
}

fn tool_call(call_id: &str, arguments: &str) -> Item {
    item(ItemContent::ToolCall {
        call_id: call_id.into(),
        name: "now".into(),
        arguments: arguments.into(),
    })
}

fn tool_result(call_id: &str, output: &str, is_error: bool) -> Item {
    item(ItemContent::ToolResult {
        call_id: call_id.into(),
        output: output.into(),
        is_error,
        truncated: false,
        approved_arguments: None,
    })
}

#[test]
fn turns_alternate_and_the_operators_words_stand_before_them() {
    let conversation = vec![
        Item::message(Role::System, "Be kind."),
        Item::message(Role::User, "Hi"),
        Item::message(Role::User, "  "),
        Item::message(Role::User, "there"),
        thought("Hm", "anthropic", json!({"signature": "abc"})),
        thought("", "anthropic", json!({"data": "xyz"})),
        thought("not its own", "openai-responses", json!({"signature": "no"})),
        item(ItemContent::Reasoning {
            text: "unsealed".into(),
            seal: None,
        }),
        Item::message(Role::Assistant, "Wait."),
        tool_call("a", " {\"b\": 1, \"a\": 2} "),
        tool_call("functions.now:1", ""),
        item(ItemContent::ToolResult {
            call_id: "a".into(),
            output: "7".into(),
            is_error: false,
            truncated: false,
            approved_arguments: Some("{\"b\":2}".into()),
        }),
        tool_result("functions.now:1", "broken", true),
        Item::message(Role::System, "Be brief."),
        Item::message(Role::User, "Well?"),
    ];
    let mut request = request(conversation, json!({}), false);
    request.instructions = Some("You help.".into());
    let body = sent_as(&request);
    let text = |text: &str| json!({"type": "text", "text": text});
    assert_eq!(
        body["system"],
        json!([text("You help."), text("Be kind."), text("Be brief.")])
    );
    let messages = json!([
        {"role": "user", "content": [text("Hi"), text("there")]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm", "signature": "abc"},
            {"type": "redacted_thinking", "data": "xyz"},
            text("Wait."),
            {"type": "tool_use", "id": "a", "name": "now", "input": {"b": 1, "a": 2}},
            {"type": "tool_use", "id": "functions_now_1", "name": "now", "input": {}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a", "content": shown_result("7", Some("{\"b\":2}"))},
            {"type": "tool_result", "tool_use_id": "functions_now_1", "content": "broken", "is_error": true},
            text("Well?"),
        ]},
    ]);
    assert_eq!(body["messages"], messages);
}

#[test]
fn arguments_that_are_no_object_are_wrapped_as_the_api_advises() {
    for arguments in ["{\"a\":", "7", "[1]", "{} {}"] {
        let body = sent(vec![tool_call("a", arguments)], json!({}));
        let input = &body["messages"][0]["content"][0]["input"];
        assert_eq!(*input, json!({"INVALID_JSON": arguments}));
    }
}

#[test]
fn pictures_come_by_url_or_as_data_and_keep_their_marks() {
    let mark = CacheControl {
        kind: "ephemeral".into(),
        ttl: Some("1h".into()),
    };
    let picture = |url: &str, cache_control| ContentPart::Image {
        source: ImageSource::url(url),
        detail: None,
        cache_control,
    };
    let content = vec![
        picture("https://example.com/a.png", None),
        picture("data:image/png;base64,aGk=", Some(mark)),
    ];
    let body = sent(
        vec![item(ItemContent::Message {
            role: Role::User,
            content,
        })],
        json!({}),
    );
    let expected = json!([
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
            "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]);
    assert_eq!(body["messages"][0]["content"], expected);
}

#[test]
fn a_summary_is_never_among_the_words_of_the_system() {
    let summary = item(ItemContent::Summary {
        text: "Ada asked for tea.".into(),
        turns: 2,
        tokens: 90,
        before_position: 3,
    });
    let body = sent(vec![summary, Item::message(Role::User, "More.")], json!({}));
    let content = json!([
        {"type": "text", "text": shown_summary("Ada asked for tea.")},
        {"type": "text", "text": "More."},
    ]);
    assert_eq!(body["messages"], json!([{"role": "user", "content": content}]));
    assert_eq!(body.get("system"), None);
}

#[test]
fn a_wish_to_cache_marks_the_ends_and_never_too_many() {
    let wish = json!({"cache_control": {"type": "ephemeral"}});
    let mark = json!({"type": "ephemeral"});
    let own_marks = |count: usize| {
        let part = ContentPart::Text {
            text: "Hi".into(),
            cache_control: Some(CacheControl {
                kind: "ephemeral".into(),
                ttl: None,
            }),
        };
        item(ItemContent::Message {
            role: Role::User,
            content: vec![part; count],
        })
    };
    for (own, expected) in [
        (0, [true, true, true]),
        (2, [true, true, false]),
        (4, [false, false, false]),
    ] {
        let last = Item::message(Role::User, "End");
        let mut request = request(vec![own_marks(own), last], wish.clone(), true);
        request.instructions = Some("You help.".into());
        let body = sent_as(&request);
        let blocks = body["messages"][0]["content"].as_array().expect("blocks");
        let marked = [
            &blocks[blocks.len() - 1]["cache_control"],
            &body["system"][0]["cache_control"],
            &body["tools"][0]["cache_control"],
        ];
        assert_eq!(marked.map(|found| *found == mark), expected, "{own} of its own");
    }
    let answered = vec![
        Item::message(Role::User, "Hi"),
        thought("Hm", "anthropic", json!({"signature": "a"})),
    ];
    let body = sent(answered, wish);
    assert_eq!(
        body["messages"][1]["content"][0].get("cache_control"),
        None,
        "a thought"
    );
}

#[test]
fn options_are_put_into_the_words_of_this_api() {
    let schema = json!({"type": "object", "properties": {}});
    let body = sent(
        Vec::new(),
        json!({
            "temperature": 0.5, "top_k": 3, "stop": "END", "reasoning_effort": "low", "simulate": {"tokens": 3},
            "tool_choice": "required", "parallel_tool_calls": false,
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}},
        }),
    );
    let format = json!({"type": "json_schema", "schema": schema});
    assert_eq!(body["output_config"], json!({"format": format, "effort": "low"}));
    assert_eq!(
        body["tool_choice"],
        json!({"type": "any", "disable_parallel_tool_use": true})
    );
    assert_eq!((&body["stop_sequences"], &body["top_k"]), (&json!(["END"]), &json!(3)));
    assert_eq!(
        (&body["simulate"]["tokens"], &body["temperature"]),
        (&json!(3), &json!(0.5))
    );
    let input_schema = json!({"type": "object"});
    assert_eq!(
        body["tools"],
        json!([{"name": "now", "description": "The time.", "input_schema": input_schema}])
    );
}

#[test]
fn the_choice_of_a_tool_is_said_only_where_it_may_be() {
    let one_at_a_time = json!({"type": "auto", "disable_parallel_tool_use": true});
    for (options, expected) in [
        (json!({"parallel_tool_calls": false}), one_at_a_time),
        (json!({"parallel_tool_calls": true}), Value::Null),
        (
            json!({"tool_choice": "none", "parallel_tool_calls": false}),
            json!({"type": "none"}),
        ),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "now"}}}),
            json!({"type": "tool", "name": "now"}),
        ),
    ] {
        assert_eq!(sent(Vec::new(), options.clone())["tool_choice"], expected);
        let without_tools = sent_as(&request(Vec::new(), options, false));
        assert_eq!(without_tools.get("tool_choice"), None);
    }
}

#[test]
fn there_is_always_a_limit_of_tokens_and_it_leaves_room_for_thoughts() {
    let thinking = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    assert_eq!(sent(Vec::new(), json!({}))["max_tokens"], 1000);
    let body = sent(Vec::new(), thinking.clone());
    assert_eq!(
        (&body["max_tokens"], &body["thinking"]),
        (&json!(6000), &thinking["thinking"])
    );
    let mut request = request(Vec::new(), thinking, false);
    request.max_output_tokens = Some(7000);
    assert_eq!(sent_as(&request)["max_tokens"], 7000);
}

#[test]
fn what_it_may_think_stays_below_what_it_may_write() {
    let thinking = |max_output_tokens, asked: Value| {
        let mut request = request(Vec::new(), json!({"thinking": asked}), false);
        request.max_output_tokens = Some(max_output_tokens);
        sent_as(&request)["thinking"].clone()
    };
    let enabled = |tokens: u64| json!({"type": "enabled", "budget_tokens": tokens, "display": "omitted"});
    for (max_output_tokens, expected) in [
        (5_001, enabled(5_000)),
        (5_000, enabled(3_750)),
        (2_000, enabled(1_500)),
        (1_025, enabled(1_024)),
        (1_024, Value::Null),
        (1, Value::Null),
    ] {
        assert_eq!(
            thinking(max_output_tokens, enabled(5_000)),
            expected,
            "{max_output_tokens}"
        );
    }
    let adaptive = json!({"type": "adaptive"});
    assert_eq!(thinking(10, adaptive.clone()), adaptive);
}

#[test]
fn a_model_that_takes_over_between_call_and_result_does_not_think_with_a_budget() {
    let enabled = json!({"thinking": {"type": "enabled", "budget_tokens": 5000}});
    let adaptive = json!({"thinking": {"type": "adaptive"}});
    let of_another = || vec![tool_call("a", "{}"), tool_result("a", "7", false)];
    let mut of_its_own = of_another();
    of_its_own.insert(0, thought("Hm", "anthropic", json!({"signature": "a"})));
    let thinks = |conversation, options: &Value| sent(conversation, options.clone()).get("thinking").is_some();
    assert!(thinks(of_its_own, &enabled));
    assert!(!thinks(of_another(), &enabled));
    assert!(thinks(of_another(), &adaptive));
}

#[test]
fn what_cannot_be_said_in_this_api_is_refused_by_name() {
    let client = crate::llm::upstream::ProviderClient::new("http://127.0.0.1:1", std::time::Duration::from_secs(1), 1);
    let upstream = UpstreamOptions {
        client: client.expect("a URL"),
        base_url: "http://127.0.0.1:1/v1/".into(),
        api_key: None,
        upstream_model: "m".into(),
        max_event_size: 1,
    };
    let model = AnthropicModel::new(upstream, 1).expect("good options");
    for (options, key) in [
        (json!({"seed": 1}), "seed"),
        (
            json!({"response_format": {"type": "json_object"}}),
            "response_format.type",
        ),
        (json!({"reasoning_effort": "none"}), "reasoning_effort"),
        (json!({"stop": [1]}), "stop"),
        (json!({"parallel_tool_calls": "no"}), "parallel_tool_calls"),
        (json!({"thinking": true}), "thinking"),
        (json!({"cache_control": {"typ": "ephemeral"}}), "cache_control"),
        (json!({"tool_choice": "now"}), "tool_choice"),
    ] {
        let options = options.as_object().expect("an object");
        assert_eq!(model.check_options(options).expect_err("refused").key, key);
    }
    let fine =
        json!({"response_format": {"type": "text"}, "stop": null, "cache_control": {"type": "ephemeral", "ttl": "1h"}});
    assert_eq!(model.check_options(fine.as_object().expect("an object")), Ok(()));
}
