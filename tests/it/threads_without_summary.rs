//! Threads whose summary cannot be made, is not waited for, or is cut off by a crash.

use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

use crate::harness::{Client, Server, Site, check_whole_log, until_some};
use crate::threads::{new_thread, saying, started, with};
use crate::threads_summary::{
    ROOM, asked, completion, log_of, long_thread, models_of, of_kind, summaries_of, summarizing,
};
use crate::web_server::{Reply, WebServer, reply};

/// A run that has the model `summarizer` sum up.
fn summed_up_elsewhere() -> Value {
    summarizing(saying("And?", "end"), json!({"summary_model": "summarizer"}))
}

async fn until_asked(provider: &WebServer) {
    until_some("the model to be asked", || async {
        (!asked(provider, "summarizer").is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_a_summary_the_run_goes_on_with_what_fits_and_says_so() {
    let provider = WebServer::start(|_| reply("400 Bad Request", &[], "no")).await;
    let server = Server::start(&models_of(&provider)).await;
    let client = server.client();
    let thread = long_thread(&client, 4).await;
    let body = summed_up_elsewhere();
    let run = started(&client, &thread, &body).await;
    let ended = client.run_when_ended(&run).await;
    assert_eq!(
        (&ended["state"], &ended["output"]),
        (&json!("completed"), &json!("[simulated] end"))
    );
    assert!(summaries_of(&client, &run).await.is_empty());
    let log = log_of(&client, &run).await;
    check_whole_log(&log, &ended);
    let failed = of_kind(&log, "history.summary_failed");
    assert_eq!(
        (failed.len(), &failed[0]["error"]["code"]),
        (1, &json!("model_rejected"))
    );
    let trimmed = of_kind(&log, "history.trimmed");
    assert_eq!(
        (&trimmed[0]["turns"], &trimmed[0]["kept_turns"]),
        (&json!(2), &json!(2)),
        "{trimmed:?}"
    );
    assert!(of_kind(&log, "history.summarized").is_empty());
    let same = with(saying("And?", "end"), "history", json!({"max_tokens": ROOM}));
    let trimmed = started(&client, &long_thread(&client, 4).await, &same).await;
    let trimmed = client.run_when_ended(&trimmed).await;
    assert_eq!(
        ended["usage"]["input_tokens"], trimmed["usage"]["input_tokens"],
        "it sees the same"
    );

    // Nobody is asked for a summary of a few words.
    let asked_before = asked(&provider, "summarizer").len();
    let body = with(body, "limits", json!({"max_output_tokens": 100}));
    let run = started(&client, &long_thread(&client, 4).await, &body).await;
    assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    let log = log_of(&client, &run).await;
    assert_eq!(
        of_kind(&log, "history.summary_failed")[0]["error"]["code"],
        "output_limit"
    );
    assert_eq!(asked(&provider, "summarizer").len(), asked_before);
    server.finish().await;
}

#[tokio::test]
async fn a_run_ends_as_it_should_while_its_thread_is_summed_up() {
    let provider = WebServer::start(|_| Reply::Silence).await;
    let server = Server::start(&models_of(&provider)).await;
    let client = server.client();
    let cancelled = started(&client, &long_thread(&client, 4).await, &summed_up_elsewhere()).await;
    until_asked(&provider).await;
    client.cancel(&cancelled).await;
    let hurried = with(summed_up_elsewhere(), "limits", json!({"deadline_seconds": 1}));
    let late = started(&client, &long_thread(&client, 4).await, &hurried).await;
    for (run, state, code) in [
        (&cancelled, "cancelled", Value::Null),
        (&late, "failed", json!("deadline_exceeded")),
    ] {
        let ended = client.run_when_ended(run).await;
        assert_eq!(
            (&ended["state"], &ended["error"]["code"]),
            (&json!(state), &code),
            "{ended}"
        );
        let log = log_of(&client, run).await;
        check_whole_log(&log, &ended);
        assert!(log.iter().all(|event| !event.kind.starts_with("history.")), "{log:?}");
        assert_eq!(client.items(run).await.len(), 1, "the input");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_summary_that_was_not_written_down_is_made_again() {
    let calls = AtomicU32::new(0);
    let provider = WebServer::start(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Silence,
        _ => completion("SUMMARY"),
    })
    .await;
    let site = Site::new(&models_of(&provider));
    let server = site.start().await;
    let client = server.client();
    let run = started(&client, &long_thread(&client, 4).await, &summed_up_elsewhere()).await;
    until_asked(&provider).await;
    server.kill().await;
    let server = site.start().await;
    let client = server.client();
    let ended = client.run_when_ended(&run).await;
    assert_eq!(
        (&ended["state"], &ended["output"]),
        (&json!("completed"), &json!("[simulated] end"))
    );
    let summaries = summaries_of(&client, &run).await;
    assert_eq!((summaries.len(), &summaries[0]["text"]), (1, &json!("SUMMARY")));
    assert_eq!(asked(&provider, "summarizer").len(), 2);
    check_whole_log(&log_of(&client, &run).await, &ended);
    server.finish().await;
}

/// A conversation whose client answers a call is read anew when it goes on.
#[tokio::test]
async fn a_run_that_waited_goes_on_with_the_summary_that_it_made() {
    let server = Server::start("").await;
    let client = server.client();
    let thread = long_thread(&client, 4).await;
    let ask = json!({"type": "client", "name": "ask_user", "description": "Asks the user.", "parameters": {"type": "object"}});
    let simulate = json!({"tool_calls": [{"name": "ask_user"}], "text": "answered"});
    let body = json!({"input": "And?", "tools": [ask], "model_options": {"simulate": simulate}});
    let run = started(&client, &thread, &summarizing(body, json!({}))).await;
    let call = waiting_call(&client, &run).await;
    let said = json!({"outputs": [{"call_id": call, "output": "yes"}]});
    client
        .post(&format!("/api/v1/runs/{run}/tool_outputs"), &said)
        .await
        .expect_status(200);
    let ended = client.run_when_ended(&run).await;
    assert_eq!(ended["output"], "[simulated] answered", "{ended}");
    let log = log_of(&client, &run).await;
    check_whole_log(&log, &ended);
    let steps: Vec<u64> = of_kind(&log, "model.completed")
        .iter()
        .map(|call| call["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [0, 1, 2]);
    assert_eq!(of_kind(&log, "history.summarized").len(), 1);
    assert!(of_kind(&log, "history.trimmed").is_empty());

    // What comes after a short thread needs none.
    let short = new_thread(&client, json!({})).await;
    let run = started(&client, &short, &summarizing(saying("Hello", "end"), json!({}))).await;
    client.run_when_ended(&run).await;
    assert_eq!(client.items(&run).await.len(), 2);
    server.finish().await;
}

async fn waiting_call(client: &Client, run: &str) -> String {
    let view = until_some("the run to wait", || async {
        let view = client.run(run).await;
        (view["state"] == "waiting").then_some(view)
    })
    .await;
    view["waiting_calls"][0]["call_id"].as_str().unwrap().to_owned()
}
