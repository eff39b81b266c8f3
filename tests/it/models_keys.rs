//! Keys of a real provider: those it does not take are set aside and shown, and no key is ever seen.

use serde_json::{Value, json};

use crate::harness::{Client, Site, Upstream};
use crate::openapi::{Checker, document_of};

const FIRST: &str = "sk-simulated-first-0001";
const SECOND: &str = "sk-simulated-second-0002";

async fn upstream_with_keys() -> Upstream {
    Upstream::start_as(&format!("[[keys]]\nkey = \"{FIRST}\"\n[[keys]]\nkey = \"{SECOND}\"\n")).await
}

/// A site whose only provider has the first key in the environment and the second in a file.
fn site(upstream: &Upstream) -> Site {
    let keys = "key_envs = [\"FIRST_KEY\"]\nkey_files = [\"second.key\"]\ntokens_per_minute = 1000000";
    let model =
        "[models.keyed]\nprovider = \"east\"\nupstream_model = \"simulated\"\n[runs]\ndefault_model = \"keyed\"\n";
    let site = Site::new(&(upstream.as_provider("east", "openai-responses", keys) + model));
    std::fs::write(site.path().join("second.key"), format!("  {SECOND}\n")).unwrap();
    site.with_variable("FIRST_KEY", FIRST)
}

async fn keys_of(client: &Client) -> Vec<Value> {
    let keys = client.get("/api/v1/models/keys").await.expect_status(200);
    let east = keys["data"]
        .as_array()
        .unwrap()
        .iter()
        .find(|listed| listed["provider"] == "east");
    east.expect("it is listed")["pools"][0]["keys"]
        .as_array()
        .unwrap()
        .clone()
}

#[tokio::test]
async fn a_key_that_the_provider_takes_no_more_is_set_aside_and_shown_and_the_others_go_on() {
    let upstream = upstream_with_keys().await;
    let server = site(&upstream).start().await;
    let client = server.client();
    upstream.refuse_key("0001").await;
    for _ in 0..6 {
        let run = client.start_simulated(json!({"tokens": 2})).await;
        assert_eq!(client.run_when_ended(&run).await["state"], "completed");
    }
    let calls = upstream.calls().await;
    let of_key = |ending: &str| calls.iter().filter(|call| call["key"] == ending).count();
    assert_eq!(of_key("0002"), 6);
    assert!(of_key("0001") <= 1, "a refused key is tried once");

    // Both may have been as good as each other, and only one is sure to have been chosen.
    let keys = keys_of(&client).await;
    assert_eq!(
        (&keys[0]["last_four"], &keys[1]["last_four"]),
        (&json!("0001"), &json!("0002"))
    );
    if of_key("0001") == 1 {
        assert!(
            keys[0]["refused_for_ms"].as_u64().is_some_and(|left| left > 0),
            "{}",
            keys[0]
        );
        assert_eq!(keys[0]["recent"]["failed"], 1);
    }
    assert_eq!(keys[1]["refused_for_ms"], Value::Null);
    assert_eq!(keys[1]["recent"]["calls"], 6);
    assert_eq!(keys[1]["limits"]["tokens_per_minute"], 1_000_000);
    assert!(keys[1]["used"]["requests"].as_u64().is_some_and(|used| used >= 6));
    assert!(keys[1]["used"]["tokens"].as_u64().is_some_and(|used| used > 0));

    let document = document_of(&client).await;
    for (path, schema) in [("/api/v1/models/keys", "ModelKeys"), ("/api/v1/models", "Models")] {
        let reply = client.get(path).await;
        Checker(&document).check(schema, &reply.json());
        assert!(!reply.text.contains("sk-"), "{}", reply.text);
    }
    let metrics = client.get("/metrics").await.text;
    for line in [
        "callboard_model_key_requests_limit{provider=\"east\",key=\"1\"} 0\n",
        "callboard_model_key_tokens_limit{provider=\"east\",key=\"2\"} 1000000\n",
        "callboard_model_key_recent_calls{provider=\"east\",key=\"2\"} 6\n",
        "callboard_model_circuit_open{provider=\"east\"} 0\n",
        "callboard_model_calls_waiting{provider=\"east\"} 0\n",
    ] {
        assert!(metrics.contains(line), "no {line} in\n{metrics}");
    }
    assert!(!metrics.contains("sk-"));
    let printed = server.finish_after_panics(&client).await;
    assert!(!printed.contains("sk-"), "{printed}");
    upstream.stop().await;
}

#[tokio::test]
async fn when_no_key_is_taken_the_run_says_so_and_no_call_is_made_again() {
    let upstream = upstream_with_keys().await;
    let server = site(&upstream).start().await;
    let client = server.client();
    upstream.refuse_key("0001").await;
    upstream.refuse_key("0002").await;
    for _ in 0..2 {
        let run = client.start_simulated(json!({"tokens": 2})).await;
        let run = client.run_when_ended(&run).await;
        assert_eq!(run["error"]["code"], "model_rejected", "{run}");
    }
    assert_eq!(upstream.calls().await.len(), 2, "each key is tried once");
    for key in keys_of(&client).await {
        assert!(key["refused_for_ms"].is_u64(), "{key}");
    }
    server.finish().await;
    upstream.stop().await;
}

#[tokio::test]
async fn keys_that_are_missing_or_there_twice_are_all_named_at_the_start() {
    let settings = r#"
[providers.a]
dialect = "openai"
base_url = "http://127.0.0.1:9/v1"
key_envs = ["MISSING_KEY", "ONE_KEY", "SAME_KEY", "TWO_LINES"]
key_files = ["missing.key", "empty.key", "marked.key", "huge.key"]
[models.short]
provider = "openai"
base_url = "http://127.0.0.1:9/v1"
api_key_env = "OTHER_MISSING_KEY"
"#;
    let site = Site::new(settings)
        .with_variable("ONE_KEY", FIRST)
        .with_variable("SAME_KEY", FIRST)
        .with_variable("TWO_LINES", &format!("{FIRST}\n{SECOND}"));
    for (name, content) in [
        ("empty.key", "\n".to_owned()),
        ("marked.key", format!("\u{feff}{SECOND}")),
        ("huge.key", SECOND.repeat(1000)),
    ] {
        std::fs::write(site.path().join(name), content).unwrap();
    }
    let checked = site.run_to_end(&["config", "check", "--no-keys"]).await;
    assert_eq!((checked.status.code(), &checked.stdout[..]), (Some(0), &b"ok\n"[..]));
    for command in [&["serve"][..], &["config", "check"]] {
        let output = site.run_to_end(command).await;
        assert_eq!(output.status.code(), Some(2), "{command:?}");
        assert_eq!(output.stdout, b"");
        check_what_is_said(&String::from_utf8(output.stderr).unwrap());
    }
}

fn check_what_is_said(said: &str) {
    for problem in [
        "models.short.api_key_env names the environment variable OTHER_MISSING_KEY, which is not set or empty",
        "providers.a.key_envs names the environment variable MISSING_KEY, which is not set or empty",
        "providers.a.key_envs names a key of a for the second time: the environment variable SAME_KEY has the same as the environment variable ONE_KEY",
        "providers.a.key_envs names the environment variable TWO_LINES, which has several lines",
        "providers.a.key_files names the file missing.key, which cannot be read",
        "providers.a.key_files names the file empty.key, which is empty",
        "providers.a.key_files names the file marked.key, which has characters that no key has",
        "providers.a.key_files names the file huge.key, which has more than 8192 bytes",
    ] {
        let (key, problem) = problem.split_once(' ').unwrap();
        let start = format!("  {key} (./config.toml:");
        let is_it = |line: &&str| line.starts_with(&start) && line.contains(problem);
        assert_eq!(said.lines().filter(is_it).count(), 1, "{key} {problem:?} in\n{said}");
    }
    assert!(said.contains("the configuration has 8 mistakes:"), "{said}");
    assert!(!said.contains("sk-"), "{said}");
}
