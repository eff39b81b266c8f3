//! Two real providers behind one model: who answers while one is in trouble, and how that is shown.

use serde_json::{Value, json};

use crate::harness::{Client, SeenEvent, Server, Upstream, check_whole_log, until_some};

/// One model on both, quick to give a provider up and to try it again.
fn settings(east: &Upstream, west: &Upstream, choice: &str) -> String {
    let circuit = "circuit_failures = 1\ncircuit_rest = \"200ms\"\ncircuit_longest_rest = \"200ms\"";
    let providers = [
        east.as_provider("east", "openai", circuit),
        west.as_provider("west", "anthropic", circuit),
    ];
    let models = format!(
        r#"
[models.smart]
choice = "{choice}"
targets = [{{ provider = "east", model = "simulated" }}, {{ provider = "west", model = "simulated" }}]
[models.east_only]
provider = "east"
upstream_model = "simulated"
max_attempts = 1
[models.west_only]
provider = "west"
upstream_model = "simulated"
[runs]
default_model = "smart"
"#
    );
    providers.concat() + &models
}

async fn ended_log(client: &Client, request: &Value) -> (Value, Vec<SeenEvent>) {
    let run = client.start_run(request).await;
    let log = client.events(&run, None).await.expect("a stream").rest().await;
    let run = client.run_when_ended(&run).await;
    check_whole_log(&log, &run);
    (run, log)
}

fn answered_by(log: &[SeenEvent]) -> &str {
    let completed = log.iter().find(|event| event.kind == "model.completed");
    completed.expect("a model answered").data["provider"].as_str().unwrap()
}

fn kinds(log: &[SeenEvent]) -> Vec<&str> {
    log.iter().map(|event| event.kind.as_str()).collect()
}

async fn circuit_of(client: &Client, provider: &str) -> Value {
    let keys = client.get("/api/v1/models/keys").await.expect_status(200);
    let providers = keys["data"].as_array().unwrap();
    let found = providers.iter().find(|listed| listed["provider"] == provider);
    found.expect("it is listed")["circuit"]["state"].clone()
}

#[tokio::test]
async fn while_one_provider_is_down_the_other_answers_and_then_the_first_again() {
    let (east, west) = (Upstream::start().await, Upstream::start().await);
    let server = Server::start(&settings(&east, &west, "ordered")).await;
    let client = server.client();
    let go = json!({"input": "Go."});
    assert_eq!(answered_by(&ended_log(&client, &go).await.1), "east");

    east.set_troubles(json!({"outages": [{"status": 503}]})).await;
    let (run, log) = ended_log(&client, &go).await;
    assert_eq!(run["state"], "completed");
    assert_eq!(answered_by(&log), "west");
    let rerouted = log
        .iter()
        .find(|event| event.kind == "model.rerouted")
        .expect("it says so");
    assert_eq!(rerouted.data["provider"], "west");
    assert_eq!(rerouted.data["error"]["code"], "model_unavailable");
    assert_ne!(circuit_of(&client, "east").await, "closed");
    assert_eq!(circuit_of(&client, "west").await, "closed");
    let failures =
        client.get("/api/v1/models/keys").await.expect_status(200)["data"][0]["pools"][0]["keys"][0]["recent"].clone();
    assert_eq!((&failures["calls"], &failures["failed"]), (&json!(2), &json!(1)));
    assert!(
        failures["last_failure"]["message"].as_str().unwrap().contains("503"),
        "{failures}"
    );

    east.set_troubles(json!({})).await;
    until_some("the first provider to be asked again", || async {
        (answered_by(&ended_log(&client, &go).await.1) == "east").then_some(())
    })
    .await;
    assert_eq!(circuit_of(&client, "east").await, "closed");
    server.finish().await;
    east.stop().await;
    west.stop().await;
}

#[tokio::test]
async fn a_provider_that_dies_in_the_middle_of_a_sentence_is_replaced_and_the_log_is_whole() {
    let (east, west) = (Upstream::start().await, Upstream::start().await);
    let server = Server::start(&settings(&east, &west, "ordered")).await;
    let client = server.client();
    let long = json!({"input": "Go.", "model_options": {"simulate": {"tokens": 40, "tokens_per_second": 40}}});
    let run = client.start_run(&long).await;
    let mut events = client.events(&run, None).await.expect("a stream");
    events.until("text.delta").await;
    east.stop().await;
    let rest = events.rest().await;
    assert!(kinds(&rest).contains(&"model.rerouted"), "{:?}", kinds(&rest));
    assert_eq!(answered_by(&rest), "west");
    let run = client.run_when_ended(&run).await;
    assert_eq!(run["state"], "completed");
    let log = client
        .events(run["id"].as_str().unwrap(), None)
        .await
        .expect("a stream");
    check_whole_log(&log.rest().await, &run);
    server.finish().await;
    west.stop().await;
}

#[tokio::test]
async fn weights_share_the_calls_and_a_wrong_request_goes_to_nobody_else() {
    let (east, west) = (Upstream::start().await, Upstream::start().await);
    let server = Server::start(&settings(&east, &west, "weighted")).await;
    let client = server.client();
    for _ in 0..40 {
        let run = client.start_simulated(json!({"tokens": 1})).await;
        assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    }
    let (of_east, of_west) = (east.calls().await.len(), west.calls().await.len());
    assert_eq!(of_east + of_west, 40);
    assert!(of_east > 0 && of_west > 0, "{of_east} and {of_west} calls");

    let refused = client
        .start_simulated(json!({"fail": {"kind": "status", "status": 400}}))
        .await;
    let run = client.run_when_ended(&refused).await;
    assert_eq!(run["error"]["code"], "model_rejected");
    assert_eq!(east.calls().await.len() + west.calls().await.len(), 41);
    server.finish().await;
    east.stop().await;
    west.stop().await;
}

#[tokio::test]
async fn a_run_may_name_models_to_fall_back_on() {
    let (east, west) = (Upstream::start().await, Upstream::start().await);
    let server = Server::start(&settings(&east, &west, "ordered")).await;
    let client = server.client();
    east.set_troubles(json!({"outages": [{}]})).await;
    let alone = json!({"input": "Go.", "model": "east_only"});
    let run = client.run_when_ended(&client.start_run(&alone).await).await;
    assert_eq!(run["error"]["code"], "model_unavailable");
    let with_another = json!({"input": "Go.", "model": "east_only", "fallback_models": ["west_only"]});
    let (run, log) = ended_log(&client, &with_another).await;
    assert_eq!(run["state"], "completed");
    assert_eq!(answered_by(&log), "west");
    server.finish().await;
    east.stop().await;
    west.stop().await;
}
