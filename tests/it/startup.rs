//! What a newcomer sees, and what a bad configuration gets.

use serde_json::json;

use crate::harness::{Server, Site, run_to_end};

#[tokio::test]
async fn a_fresh_server_runs_a_simulated_model_and_streams_it_in_the_answer_to_the_post() {
    let server = Server::start("").await;
    let client = server.client();
    assert_eq!(client.get("/healthz").await.status, 200);
    let body = json!({"input": "Hello", "stream": true});
    let request = client.request(reqwest::Method::POST, "/api/v1/runs").json(&body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 201);
    let run = response.headers()["x-run-id"].to_str().unwrap().to_owned();
    assert_eq!(response.headers()["location"], format!("/api/v1/runs/{run}").as_str());
    let text = response.text().await.unwrap();
    assert!(text.starts_with("id: 0\nevent: run.created\n"), "{text}");
    let run = client.run(&run).await;
    assert_eq!((&run["state"], &run["simulated"]), (&json!("completed"), &json!(true)));
    assert!(run["output"].as_str().unwrap().starts_with("[simulated] "), "{run}");
    server.finish().await;
}

#[tokio::test]
async fn the_document_and_the_metrics_are_there() {
    let server = Server::start("").await;
    let client = server.client();
    let run = client.start_simulated(json!({"tokens": 3})).await;
    client.run_when_ended(&run).await;
    let document = client.get("/openapi.json").await.expect_status(200);
    for path in [
        "/api/v1/runs",
        "/api/v1/runs/{id}",
        "/api/v1/runs/{id}/events",
        "/api/v1/runs/{id}/cancel",
    ] {
        assert!(document["paths"].get(path).is_some(), "{path} is not in the document");
    }
    let metrics = client.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for name in [
        "callboard_runs_total",
        "callboard_run_start_seconds_bucket",
        "callboard_run_first_token_seconds_bucket",
        "callboard_tokens_total",
        "callboard_permits_limit",
        "callboard_db_commits_total",
        "process_resident_memory_bytes",
    ] {
        assert!(
            metrics.text.contains(name),
            "{name} is not in the metrics:\n{}",
            metrics.text
        );
    }
    server.finish().await;
}

#[tokio::test]
async fn every_mistake_of_a_configuration_is_listed_with_its_key() {
    let site = Site::new("[queue]\ndeadline = \"soon\"\n[capacity]\nruns_per_cpu = -1\n[store]\npaht = \"x\"\n");
    let output = run_to_end(site.path(), &[]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    for key in ["queue.deadline", "capacity.runs_per_cpu", "store.paht"] {
        assert!(said.contains(key), "{key} is not in {said}");
    }
    let checked = run_to_end(site.path(), &["config", "check"]).await;
    assert_eq!(checked.status.code(), Some(2), "{checked:?}");
}

#[tokio::test]
async fn limits_of_a_tool_that_is_not_there_are_a_mistake() {
    let site = Site::new("[tools.limits.nope]\nmax_concurrent = 1\n[tools.limits.search]\ntimeout = \"5s\"\n");
    for arguments in [&["config", "check"][..], &["serve"]] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("tools.limits.nope") && told.contains("config.toml:"),
            "{told}"
        );
        assert!(told.contains("tools.limits.search"), "{told}");
    }
}

#[tokio::test]
async fn without_keys_only_loopback_is_bound() {
    let site = Site::new("");
    std::fs::write(site.path().join("config.toml"), "[server]\nbind = \"0.0.0.0:0\"\n").unwrap();
    let output = run_to_end(site.path(), &[]).await;
    assert!(!output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("loopback"), "{said}");
}

#[tokio::test]
async fn the_planner_reads_as_json() {
    let site = Site::new("");
    let arguments = [
        "plan",
        "--cpus",
        "32",
        "--memory",
        "128GB",
        "--instances",
        "5",
        "--json",
    ];
    let output = run_to_end(site.path(), &arguments).await;
    assert!(output.status.success(), "{output:?}");
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["instance"]["concurrent_runs"], 320, "{plan}");
}
