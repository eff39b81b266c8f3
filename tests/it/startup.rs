//! What a newcomer sees, and what a bad configuration gets.

use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::harness::{Server, Site, patiently, run_to_end};

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
async fn all_that_a_configuration_names_and_is_not_there_is_told_at_once_by_check_and_start() {
    let site = Site::new(
        r#"[store]
postgres_url_env = "NO_STORE"
[events]
redis_url_env = "ODD_REDIS"
[files]
s3_bucket = "files"
s3_access_key_id_env = "NO_ID"
s3_secret_access_key_env = "NO_SECRET"
[providers.a]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
key_envs = ["NO_KEY"]
[models.short]
targets = [{ provider = "a", model = "m" }]
[secrets.mail]
env = "NO_MAIL"
hosts = ["example.com"]
[tools]
enabled = ["now", "sql_query"]
[tools.databases.one]
postgres_url_env = "ODD_MODE"
[tools.databases.two]
postgres_url_env = "ODD_SCHEME"
[tools.limits.nope]
max_concurrent = 1
[mcp.servers.notes]
command = "notes"
env_from = ["NO_TOKEN"]
"#,
    )
    .with_variable("ODD_REDIS", "http://me:hidden-word@127.0.0.1/")
    .with_variable("ODD_MODE", "postgres://me:hidden-word@127.0.0.1/base?sslmode=bogus")
    .with_variable("ODD_SCHEME", "http://me:hidden-word@127.0.0.1/");
    let checked = site.run_to_end(&["config", "check", "--no-keys"]).await;
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        told.contains("has a mistake") && told.contains("tools.limits.nope"),
        "{told}"
    );
    for arguments in [&["config", "check"][..], &["serve"]] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        for (key, problem) in [
            ("store.postgres_url_env", "NO_STORE, which is not set or empty"),
            (
                "events.redis_url_env",
                "ODD_REDIS, which holds no URL of the form redis://",
            ),
            ("files.s3_access_key_id_env", "NO_ID, which is not set or empty"),
            ("files.s3_secret_access_key_env", "NO_SECRET, which is not set or empty"),
            ("providers.a.key_envs", "NO_KEY, which is not set or empty"),
            ("secrets.mail", "NO_MAIL, which is not set or empty"),
            (
                "tools.databases.one.postgres_url_env",
                "ODD_MODE, which holds a URL whose sslmode is none of",
            ),
            (
                "tools.databases.two.postgres_url_env",
                "ODD_SCHEME, which holds no URL of the form postgres://",
            ),
            ("tools.limits.nope", "there is no tool"),
            ("mcp.servers.notes.env_from", "NO_TOKEN, which is not set or empty"),
        ] {
            let start = format!("  {key} (./config.toml:");
            let is_it = |line: &&str| line.starts_with(&start) && line.contains(problem);
            assert_eq!(told.lines().filter(is_it).count(), 1, "{key} in\n{told}");
        }
        assert!(!told.contains("hidden-word"), "{told}");
    }
    for arguments in [&["cluster"][..], &["keys", "list"], &["models", "test"]] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
    }
}

#[tokio::test]
async fn the_authority_of_rediss_certificate_is_looked_for_before_the_start() {
    let site = Site::new(
        "[store]\npostgres_url_env = \"BASE\"\n[events]\nredis_url_env = \"REDIS\"\nredis_ca_file = \"missing.pem\"\n",
    )
    .with_variable("BASE", "postgres://127.0.0.1:9/base")
    .with_variable("REDIS", "rediss://127.0.0.1");
    for arguments in [&["config", "check"][..], &["serve"]] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("events.redis_ca_file (./config.toml:"), "{told}");
        assert!(
            told.contains("names the file missing.pem, which cannot be read"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn what_only_reads_makes_no_store_and_what_makes_one_says_where() {
    let site = Site::new("");
    let file = site.path().join("data/callboard.db");
    for arguments in [
        &["keys", "list"][..],
        &["keys", "list", "--json"],
        &["usage"],
        &["budgets", "show", "--account", "acme"],
        &["budgets", "top-up", "--account", "acme", "--cost-usd", "5"],
    ] {
        let output = site.run_to_end(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(
            told.contains("there is no store at") && told.contains("data/callboard.db"),
            "{told}"
        );
        assert!(!file.exists(), "{arguments:?}");
    }
    let output = site
        .run_to_end(&["keys", "create", "--account", "acme", "--tier", "pro"])
        .await;
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("The key is in the store /") && told.contains("data/callboard.db"),
        "{told}"
    );
    assert!(file.exists());
    let listed = site.run_to_end(&["keys", "list"]).await;
    assert_eq!(listed.status.code(), Some(0), "{listed:?}");
}

/// A server whose log is for programs: it says in it where it listens, and nothing else anywhere.
#[tokio::test]
async fn a_log_in_json_is_all_that_is_said() {
    let site = Site::new("[log]\nformat = \"json\"\n[store]\nlock_timeout = \"100ms\"\n");
    let mut command = site.command(&["serve"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut seen = Vec::new();
    let listening = patiently("the line that it listens", async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if line["message"] == "listening" {
                return line;
            }
            seen.push(line);
        }
        panic!("it has ended: {seen:?}");
    })
    .await;
    assert_eq!(listening["version"], env!("CARGO_PKG_VERSION"));
    assert!(
        listening["address"].as_str().unwrap().starts_with("127.0.0.1:"),
        "{listening}"
    );
    let second = site.command(&["serve"]).output().await.unwrap();
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    for line in told.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    assert!(told.contains("another server is using"), "{told}");
    kill(Pid::from_raw(server.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    let output = patiently("the end", server.wait_with_output()).await.unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
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
