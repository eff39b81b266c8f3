//! Threads that are longer than the model may see, with `summarize_oldest_turns`: who writes the summary, when, and who sees it.

use serde_json::{Value, json};

use crate::harness::{Client, SeenEvent, Server, Site, check_whole_log};
use crate::openapi::{Checker, document_of};
use crate::threads::{endless, new_thread, saying, started, with};
use crate::web_server::{Reply, WebServer, reply};

/// What `max_tokens` has to be so that two turns of [`long`] fit and three do not.
pub(crate) const ROOM: u64 = 1300;

/// About 500 tokens.
fn long(number: usize) -> String {
    format!("turn{number} {}", "word ".repeat(395))
}

pub(crate) fn summarizing(body: Value, more: Value) -> Value {
    let mut history = json!({"policy": "summarize_oldest_turns", "max_tokens": ROOM});
    history
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    with(body, "history", history)
}

pub(crate) async fn log_of(client: &Client, run: &str) -> Vec<SeenEvent> {
    client.events(run, None).await.unwrap().rest().await
}

pub(crate) fn of_kind<'a>(log: &'a [SeenEvent], kind: &str) -> Vec<&'a Value> {
    log.iter()
        .filter(|event| event.kind == kind)
        .map(|event| &event.data)
        .collect()
}

pub(crate) async fn summaries_of(client: &Client, run: &str) -> Vec<Value> {
    let items = client.items(run).await;
    items.into_iter().filter(|item| item["type"] == "summary").collect()
}

/// A thread of so many long turns.
pub(crate) async fn long_thread(client: &Client, turns: usize) -> String {
    let thread = new_thread(client, json!({})).await;
    for number in 1..=turns {
        let run = started(client, &thread, &saying(&long(number), "yes")).await;
        client.run_when_ended(&run).await;
    }
    thread
}

/// What a provider of chat completions says.
pub(crate) fn completion(text: &str) -> Reply {
    let chunk = json!({
        "model": "upstream", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10}
    });
    let body = format!("data: {chunk}\n\ndata: [DONE]\n\n");
    reply("200 OK", &[("content-type", "text/event-stream")], body)
}

/// A provider that gives numbered summaries as the model `summarizer`, and is brief as any other.
async fn provider() -> WebServer {
    let summaries = std::sync::atomic::AtomicU32::new(0);
    WebServer::start(move |request| {
        let body: Value = serde_json::from_str(&request.text()).unwrap();
        if body["model"] != "summarizer" {
            return completion("yes");
        }
        let number = 1 + summaries.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        completion(&format!("SUMMARY-{number}"))
    })
    .await
}

/// The models `main` and `summarizer` of a provider.
pub(crate) fn models_of(provider: &WebServer) -> String {
    let url = provider.url("/v1");
    let model = |name: &str| {
        format!("[models.{name}]\nprovider = \"openai\"\nbase_url = \"{url}\"\nupstream_model = \"{name}\"\n")
    };
    format!("{}{}", model("main"), model("summarizer"))
}

/// The bodies that the provider got for this model.
pub(crate) fn asked(provider: &WebServer, model: &str) -> Vec<Value> {
    let received = provider.received();
    let bodies = received
        .iter()
        .map(|request| serde_json::from_str::<Value>(&request.text()).unwrap());
    bodies.filter(|body| body["model"] == model).collect()
}

#[tokio::test]
async fn a_long_thread_is_summed_up_now_and_then_and_the_model_sees_the_summary() {
    let provider = provider().await;
    let server = Server::start(&models_of(&provider)).await;
    let client = server.client();
    let thread = new_thread(&client, json!({})).await;
    let mut runs = Vec::new();
    for number in 1..=5 {
        let body = json!({
            "input": long(number), "model": "main", "instructions": "Be brief.", "limits": {"max_steps": 1},
            "model_options": {"temperature": 0.5}
        });
        let body = summarizing(body, json!({"summary_model": "summarizer"}));
        let run = started(&client, &thread, &body).await;
        let ended = client.run_when_ended(&run).await;
        assert_eq!(
            (&ended["state"], &ended["output"], &ended["steps"]),
            (&json!("completed"), &json!("yes"), &json!(1)),
            "a summary is neither a step nor an answer: {ended}"
        );
        runs.push(run);
    }
    // The third run saw two turns and the fourth would have seen three. The fifth has room for one turn more.
    let summed_up = asked(&provider, "summarizer");
    assert_eq!(summed_up.len(), 1, "{summed_up:?}");
    let [system, user] = summed_up[0]["messages"].as_array().unwrap().as_slice() else {
        panic!("{summed_up:?}");
    };
    assert_eq!((&system["role"], &user["role"]), (&json!("system"), &json!("user")));
    let transcript = user["content"].as_str().unwrap();
    assert!(transcript.contains("turn1") && transcript.contains("turn2"));
    assert!(!transcript.contains("turn3"), "the newest turn stays whole");
    assert_eq!(summed_up[0]["max_tokens"], json!(ROOM / 4));
    assert_eq!(summed_up[0].get("temperature"), None, "options are for the answer");

    let answered = asked(&provider, "main");
    for (number, turns) in [(4, vec!["turn3", "turn4"]), (5, vec!["turn3", "turn4", "turn5"])] {
        let messages = answered[number - 1]["messages"].as_array().unwrap();
        assert_eq!(messages[0]["content"], "Be brief.");
        assert_eq!(
            messages[1]["role"], "user",
            "never the operator's words: {}",
            messages[1]
        );
        assert!(messages[1]["content"].as_str().unwrap().contains("SUMMARY-1"));
        let said = messages[2..].iter().filter(|message| message["role"] == "user");
        let said: Vec<&str> = said
            .map(|message| message["content"].as_str().unwrap().split(' ').next().unwrap())
            .collect();
        assert_eq!(said, turns, "run {number}");
    }

    let log = log_of(&client, &runs[3]).await;
    check_whole_log(&log, &client.run(&runs[3]).await);
    let summaries = summaries_of(&client, &runs[3]).await;
    assert_eq!(summaries.len(), 1);
    assert_eq!(
        (
            &summaries[0]["text"],
            &summaries[0]["turns"],
            &summaries[0]["before_position"]
        ),
        (&json!("SUMMARY-1"), &json!(2), &json!(3))
    );
    let told = of_kind(&log, "history.summarized");
    assert_eq!((told.len(), &told[0]["item_id"]), (1, &summaries[0]["id"]));
    assert_eq!(
        (&told[0]["turns"], &told[0]["kept_turns"]),
        (&json!(2), &json!(1)),
        "{told:?}"
    );
    assert!(told[0]["tokens"].as_u64() > told[0]["kept_tokens"].as_u64(), "{told:?}");
    assert!(of_kind(&log, "history.trimmed").is_empty());
    let calls = of_kind(&log, "model.completed");
    let steps: Vec<u64> = calls.iter().map(|call| call["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [0, 1]);
    assert_eq!(
        client.run(&runs[3]).await["usage"]["input_tokens"],
        200,
        "both are paid"
    );
    assert!(summaries_of(&client, &runs[4]).await.is_empty());
    let told_later = log_of(&client, &runs[4]).await;
    let told_later = of_kind(&told_later, "history.summarized");
    assert_eq!((told_later.len(), &told_later[0]["item_id"]), (1, &summaries[0]["id"]));
    assert_eq!(told_later[0]["kept_turns"], 2);

    // The next one takes the first in.
    let body = json!({"input": long(6), "model": "main"});
    let run = started(
        &client,
        &thread,
        &summarizing(body, json!({"summary_model": "summarizer"})),
    )
    .await;
    client.run_when_ended(&run).await;
    let summed_up = asked(&provider, "summarizer");
    let transcript = summed_up[1]["messages"][1]["content"].as_str().unwrap();
    assert!(
        transcript.contains("{\"type\":\"summary\",\"text\":\"SUMMARY-1\"}"),
        "{transcript}"
    );
    assert!(!transcript.contains("turn2 ") && transcript.contains("turn3 ") && transcript.contains("turn4 "));
    let second = summaries_of(&client, &run).await;
    assert_eq!(
        (&second[0]["text"], &second[0]["turns"]),
        (&json!("SUMMARY-2"), &json!(4))
    );
    let seen = asked(&provider, "main").pop().unwrap().to_string();
    assert!(seen.contains("SUMMARY-2") && !seen.contains("SUMMARY-1"), "{seen}");

    // Who asks for something else gets the turns as they were.
    let all = with(
        json!({"input": "And?", "model": "main"}),
        "history",
        json!({"policy": "none"}),
    );
    let run = started(&client, &thread, &all).await;
    client.run_when_ended(&run).await;
    let seen = asked(&provider, "main").pop().unwrap().to_string();
    assert!(
        seen.contains("turn1 ") && seen.contains("turn6 ") && !seen.contains("SUMMARY"),
        "{seen}"
    );
    server.finish().await;
}

#[tokio::test]
async fn the_simulated_model_sums_up_and_does_what_the_run_says_only_in_its_answers() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = long_thread(&client, 4).await;
    let document = document_of(&client).await;
    let checker = Checker(&document);
    let simulate = json!({"text": "end", "tool_calls": [{"name": "now"}]});
    let body = json!({"input": "And?", "tools": ["now"], "model_options": {"simulate": simulate}});
    let body = summarizing(body, json!({"summary_model": "simulated"}));
    checker.check("ThreadRunRequest", &body);
    let run = started(&client, &thread, &body).await;
    let ended = client.run_when_ended(&run).await;
    assert_eq!(
        (&ended["state"], &ended["steps"]),
        (&json!("completed"), &json!(2)),
        "{ended}"
    );
    assert_eq!(ended["output"], "[simulated] end");
    let items = client.items(&run).await;
    let kinds: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["message", "summary", "tool_call", "tool_result", "message"]);
    assert!(
        items[1]["text"].as_str().unwrap().starts_with("[simulated] "),
        "{}",
        items[1]
    );
    check_whole_log(&log_of(&client, &run).await, &ended);
    for (path, schema) in [
        (format!("/api/v1/runs/{run}/items"), "ItemPage"),
        (format!("/api/v1/threads/{thread}/items"), "ThreadItemPage"),
    ] {
        checker.check(schema, &client.get(&path).await.expect_status(200));
    }
    let events = client
        .request(reqwest::Method::GET, &format!("/api/v1/runs/{run}/events?limit=500"))
        .header("accept", "application/json");
    checker.check("EventPage", &Client::send(events).await.unwrap().expect_status(200));
    server.finish().await;
}

#[tokio::test]
async fn killed_after_its_summary_a_run_does_not_make_it_again() {
    let site = Site::new("");
    let server = site.start().await;
    let client = server.client();
    let thread = long_thread(&client, 4).await;
    let run = started(&client, &thread, &summarizing(endless("And?"), json!({}))).await;
    let shown = client.events(&run, None).await.unwrap().until("text.delta").await;
    let summary = summaries_of(&client, &run).await;
    assert_eq!(summary.len(), 1);
    let paid = client.run(&run).await["usage"].clone();
    server.kill().await;
    let server = site.start().await;
    let client = server.client();
    let last = shown.last().unwrap().seq;
    let after = client.events(&run, Some(last)).await.unwrap().until("text.delta").await;
    assert!(after.iter().any(|event| event.kind == "run.recovered"), "{after:?}");
    assert_eq!(summaries_of(&client, &run).await, summary);
    assert_eq!(client.run(&run).await["usage"], paid, "what was paid is known");
    client.cancel(&run).await;
    let log = log_of(&client, &run).await;
    check_whole_log(&log, &client.run(&run).await);
    for kind in ["history.summarized", "model.completed"] {
        assert_eq!(of_kind(&log, kind).len(), 1, "{kind}");
    }
    // A run that was cancelled has said what it has said: its summary still counts.
    let next = started(&client, &thread, &summarizing(saying("So?", "end"), json!({}))).await;
    client.run_when_ended(&next).await;
    assert!(summaries_of(&client, &next).await.is_empty());
    let log = log_of(&client, &next).await;
    assert_eq!(of_kind(&log, "history.summarized")[0]["item_id"], summary[0]["id"]);
    server.finish().await;
}

#[tokio::test]
async fn the_summary_of_a_hidden_run_does_not_count() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = long_thread(&client, 4).await;
    let hidden = started(&client, &thread, &summarizing(endless("And?"), json!({}))).await;
    client.events(&hidden, None).await.unwrap().until("text.delta").await;
    let body = with(summarizing(saying("So?", "end"), json!({})), "on_busy", "replace");
    let run = started(&client, &thread, &body).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let (first, second) = (summaries_of(&client, &hidden).await, summaries_of(&client, &run).await);
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first[0]["id"], second[0]["id"]);
    assert_eq!(second[0]["turns"], first[0]["turns"]);
    server.finish().await;
}

#[tokio::test]
async fn what_the_summing_model_cannot_read_is_left_out_and_told() {
    let server = Server::start("[models.small]\nprovider = \"simulated\"\ncontext_window = 1700\n").await;
    let client = server.client();
    let thread = long_thread(&client, 5).await;
    let body = summarizing(saying("And?", "end"), json!({"summary_model": "small"}));
    let run = started(&client, &thread, &body).await;
    client.run_when_ended(&run).await;
    let log = log_of(&client, &run).await;
    let (told, trimmed) = (of_kind(&log, "history.summarized"), of_kind(&log, "history.trimmed"));
    assert_eq!((told.len(), trimmed.len()), (1, 1));
    let count = |event: &Value, field: &str| event[field].as_u64().unwrap();
    assert_eq!(count(told[0], "kept_turns"), 1);
    assert!(
        count(told[0], "turns") >= 1 && count(trimmed[0], "turns") >= 1,
        "{told:?} {trimmed:?}"
    );
    assert_eq!(count(told[0], "turns") + count(trimmed[0], "turns") + 1, 5);
    server.finish().await;
}
