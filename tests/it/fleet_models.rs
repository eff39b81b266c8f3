//! Keys of a provider in a fleet: every instance shows what all of them use, and the budget of an account is one for all.

use serde_json::json;

use crate::harness::{TestFleet, Upstream, until_some};

#[tokio::test]
async fn what_one_instance_uses_of_a_key_and_of_a_budget_is_seen_at_the_other() {
    let upstream = Upstream::start().await;
    let provider = upstream.as_provider("east", "openai", "requests_per_minute = 100\nlimits_per = \"model\"");
    let model =
        "[models.shared]\nprovider = \"east\"\nupstream_model = \"simulated\"\n[runs]\ndefault_model = \"shared\"\n";
    let budget = "[tiers.local.budget]\nperiod = \"month\"\ncalls = 5\n";
    let fleet = TestFleet::new(&(provider + model + budget)).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let (at_a, at_b) = (a.client().unwrap(), b.client().unwrap());
    for _ in 0..3 {
        let run = at_a.start_simulated(json!({"tokens": 1})).await;
        assert_eq!(at_a.run_when_ended(&run).await["state"], "completed");
    }
    until_some("the other instance to see what was used", || async {
        let keys = at_b.get("/api/v1/models/keys").await.expect_status(200);
        let providers = keys["data"].as_array().unwrap();
        let pool = &providers.iter().find(|listed| listed["provider"] == "east").unwrap()["pools"][0];
        assert_eq!((&pool["reach"], &pool["model"]), (&json!("fleet"), &json!("simulated")));
        (pool["keys"][0]["used"]["requests"] == 3).then_some(())
    })
    .await;
    let metrics = at_b.get("/metrics").await.text;
    let shared = "callboard_model_limits_shared{provider=\"east\",model=\"simulated\"} 1\n";
    assert!(metrics.contains(shared), "{metrics}");
    let budget = at_b.get("/api/v1/budget").await.expect_status(200);
    assert_eq!(budget["budget"]["left"]["calls"], 2, "{budget}");
    fleet.finish([a, b]).await;
    upstream.stop().await;
}
