//! Keys of a provider in a fleet: every instance shows what all of them use, and the budget of an account is one for all.

use futures::future::join_all;
use serde_json::{Value, json};

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

/// Two of three calls are under way at an instance that is killed: whoever takes its runs over has one left.
#[tokio::test]
async fn calls_of_an_instance_that_is_killed_are_paid_for() {
    let upstream = Upstream::start().await;
    let budget = "[tiers.local.budget]\nperiod = \"forever\"\ncalls = 3\n";
    let fleet = TestFleet::new(&(upstream.settings() + budget)).await;
    let [mut a, b] = fleet.start(["a", "b"]).await;
    let (at_a, at_b) = (a.client().unwrap(), b.client().unwrap());
    let slow = json!({"text": "one two three four", "tokens_per_second": 2});
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = at_a.start_simulated(slow.clone()).await;
        at_a.events(&run, None)
            .await
            .expect("a stream")
            .until("text.delta")
            .await;
        runs.push(run);
    }
    a.kill().await.unwrap();
    let mut ends = Vec::new();
    for run in &runs {
        let run = at_b.run_when_ended(run).await;
        let code = run["error"]["code"].as_str().unwrap_or("none");
        ends.push(code.to_owned());
    }
    ends.sort();
    assert_eq!(ends, ["budget_exceeded", "none"]);
    assert_eq!(upstream.calls().await.len(), 3);
    let spent = at_b.get("/api/v1/budget").await.expect_status(200);
    assert_eq!(
        (&spent["budget"]["used"]["calls"], &spent["budget"]["held"]["calls"]),
        (&json!(3), &json!(0)),
        "{spent}"
    );
    a.start().await.unwrap();
    fleet.finish([a, b]).await;
    upstream.stop().await;
}

#[tokio::test]
async fn two_instances_use_all_that_the_keys_allow_and_no_call_more() {
    const KEYS: [&str; 4] = [
        "sk-simulated-0001",
        "sk-simulated-0002",
        "sk-simulated-0003",
        "sk-simulated-0004",
    ];
    const CALLS_OF_A_KEY: usize = 10;
    let listed = KEYS.map(|key| format!("[[keys]]\nkey = \"{key}\"\n")).concat();
    let upstream = Upstream::start_as(&format!("[limits]\nrequests_per_minute = {CALLS_OF_A_KEY}\n{listed}")).await;
    let files = tempfile::tempdir().unwrap();
    let paths = KEYS.map(|key| {
        let path = files.path().join(key);
        std::fs::write(&path, key).unwrap();
        path
    });
    let provider = |name, paths: &[std::path::PathBuf]| {
        let keys = format!("key_files = {}\nrequests_per_minute = {CALLS_OF_A_KEY}", json!(paths));
        upstream.as_provider(name, "openai", &keys)
    };
    let model = "[models.shared]\ntargets = [{ provider = \"east\", model = \"simulated\" }, { provider = \"west\", model = \"simulated\" }]\n\
                 [runs]\ndefault_model = \"shared\"\n";
    let fleet = TestFleet::new(&(provider("east", &paths[..2]) + &provider("west", &paths[2..]) + model)).await;
    let [a, b] = fleet.start(["a", "b"]).await;
    let clients = [a.client().unwrap(), b.client().unwrap()];

    let all = KEYS.len() * CALLS_OF_A_KEY;
    let run_one = |number: usize| {
        let client = &clients[number % 2];
        async move {
            let run = client.start_simulated(json!({"tokens": 1})).await;
            client.run_when_ended(&run).await
        }
    };
    for run in join_all((0..all).map(run_one)).await {
        assert_eq!(run["state"], "completed", "{run}");
    }
    let calls = upstream.calls().await;
    assert!(calls.iter().all(|call| call["status"] == 200), "{calls:?}");
    assert_eq!(calls.len(), all, "no call was made twice");
    for key in KEYS {
        let of_key = |call: &&Value| key.ends_with(call["key"].as_str().unwrap());
        assert!(calls.iter().any(|call| of_key(&call)), "{key} was not used");
    }
    fleet.finish([a, b]).await;
    upstream.stop().await;
}
