//! `GET /runs/{id}?wait=` answers when the run has ended, and when it gets no further before somebody says something.

use futures::join;
use serde_json::{Value, json};

use crate::harness::{Client, Server, TestFleet, patiently};

/// A poll that waits for nothing but the run lasts longer than any test.
const ENDLESS: &str = "[server]\nmax_long_poll = \"1h\"\n";

/// A run that calls this tool, some time after it has begun.
fn calling(tool: &Value) -> Value {
    json!({
        "input": "Go.", "tools": [tool],
        "model_options": {"simulate": {"tool_calls": [{"name": tool["name"]}], "first_token_ms": 200, "text": "Done."}}
    })
}

fn asking() -> Value {
    calling(&json!({"type": "client", "name": "ask_user", "parameters": {"type": "object"}}))
}

async fn polled(client: &Client, run: &str) -> Value {
    let path = format!("/api/v1/runs/{run}?wait=3600");
    patiently("the poll to be answered", client.get(&path))
        .await
        .expect_status(200)
}

async fn say(client: &Client, run: &Value, what: &str, mut said: Value) {
    let list = if what == "tool_outputs" { "outputs" } else { what };
    said["call_id"] = run["waiting_calls"][0]["call_id"].clone();
    let path = format!("/api/v1/runs/{}/{what}", run["id"].as_str().unwrap());
    client.post(&path, &json!({list: [said]})).await.expect_status(200);
}

#[tokio::test]
async fn a_poll_is_answered_when_the_run_waits_for_somebody() {
    let server = Server::start(ENDLESS).await;
    let client = server.client();
    let careful = json!({"type": "server", "name": "now", "requires_approval": true});
    for (request, reason, what, said) in [
        (asking(), "tool_outputs", "tool_outputs", json!({"output": "yes"})),
        (calling(&careful), "approval", "approvals", json!({"approve": true})),
    ] {
        let run = client.start_run(&request).await;
        // Once while it runs, and once while it waits already.
        for _ in 0..2 {
            let waiting = polled(&client, &run).await;
            assert_eq!(
                (&waiting["state"], &waiting["waiting"]),
                (&json!("waiting"), &json!(reason))
            );
        }
        let waiting = polled(&client, &run).await;
        say(&client, &waiting, what, said).await;
        assert_eq!(polled(&client, &run).await["state"], "completed");
    }
    server.finish().await;
}

#[tokio::test]
async fn a_poll_goes_on_while_the_run_waits_for_its_budget() {
    let budget = "[tiers.local.budget]\nperiod = \"forever\"\ncalls = 1\nwhen_exhausted = \"wait\"\n";
    let server = Server::start(&format!("{ENDLESS}{budget}")).await;
    let client = server.client();
    let first = client.start_simulated(json!({"tokens": 2})).await;
    assert_eq!(polled(&client, &first).await["state"], "completed");
    // One that sees it come to a stop, and one that finds it there.
    let run = client.start_simulated(json!({"tokens": 2})).await;
    let filling = async {
        let mut events = client.events(&run, None).await.expect("a stream");
        events.until("run.waiting").await;
        let more = ["budgets", "top-up", "--account", "local", "--calls", "1"];
        let filled = async { server.site.run_to_end(&more).await };
        let (late, filled) = join!(polled(&client, &run), filled);
        assert!(filled.status.success());
        late
    };
    let (early, late) = join!(polled(&client, &run), filling);
    assert_eq!(
        (&early["state"], &late["state"]),
        (&json!("completed"), &json!("completed"))
    );
    server.finish().await;
}

#[tokio::test]
async fn a_poll_at_another_instance_is_answered_as_well() {
    let fleet = TestFleet::new(ENDLESS).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let (owner, other) = (a.client().unwrap(), b.client().unwrap());
    let run = owner.start_run(&asking()).await;
    let waiting = polled(&other, &run).await;
    assert_eq!(waiting["waiting"], "tool_outputs", "{waiting}");
    say(&other, &waiting, "tool_outputs", json!({"output": "yes"})).await;
    assert_eq!(polled(&owner, &run).await["state"], "completed");
    fleet.finish([a, b]).await;
}
