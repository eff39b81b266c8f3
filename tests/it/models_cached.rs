//! Answers that a real server gives again instead of asking its provider.

use serde_json::{Value, json};

use crate::harness::{Client, Server, Upstream, until_some};

/// The `model.completed` of a run with this temperature, and what the run says.
async fn asked(client: &Client, temperature: f64) -> (Value, Value) {
    let request = json!({"input": "Go.", "model_options": {"temperature": temperature, "simulate": {"tokens": 5}}});
    let run = client.start_run(&request).await;
    let log = client.events(&run, None).await.expect("a stream").rest().await;
    let completed = log
        .iter()
        .find(|event| event.kind == "model.completed")
        .expect("an answer");
    (completed.data.clone(), client.run_when_ended(&run).await)
}

#[tokio::test]
async fn an_exact_answer_is_given_again_to_its_account_only() {
    let upstream = Upstream::start().await;
    let cached = "[models.upstream]\ncache_for = \"1h\"\ninput_price = 1000\noutput_price = 1000\n";
    let settings = upstream.settings().replace("[models.upstream]\n", cached);
    let server = Server::start(&settings).await;
    let acme = server.client_with(&server.site.create_key("acme", "pro").await);
    let zeta = server.client_with(&server.site.create_key("zeta", "pro").await);
    until_some("the keys to count", || async {
        let replies = [acme.get("/api/v1/models").await, zeta.get("/api/v1/models").await];
        replies.iter().all(|reply| reply.status == 200).then_some(())
    })
    .await;
    let (first, first_run) = asked(&acme, 0.0).await;
    assert_eq!(first.get("cached"), None);
    assert!(first["cost_usd"].as_f64().is_some_and(|cost| cost > 0.0), "{first}");
    let (again, run) = asked(&acme, 0.0).await;
    assert_eq!(
        (&again["cached"], again.get("cost_usd")),
        (&json!(true), None),
        "{again}"
    );
    assert_eq!(run["output"], first_run["output"]);
    assert_eq!(upstream.calls().await.len(), 1);

    assert_eq!(asked(&acme, 0.5).await.0.get("cached"), None);
    assert_eq!(asked(&zeta, 0.0).await.0.get("cached"), None);
    assert_eq!(upstream.calls().await.len(), 3);
    let models = acme.get("/api/v1/models").await.expect_status(200);
    let model = models["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|model| model["name"] == "upstream")
        .unwrap();
    assert_eq!(model["cached"], true);
    server.finish_as(&acme).await;
    upstream.stop().await;
}
