//! `callboard models`: what it says of real keys, and that it never says a key.

use serde_json::Value;

use crate::harness::{Site, Upstream};

const GOOD: &str = "sk-simulated-good-0001";
const BAD: &str = "sk-simulated-bad-0002";

/// The same provider in all dialects; with the good key, and the bad one for the first dialect.
fn site(upstream: &Upstream) -> Site {
    let mut settings = String::new();
    for (name, dialect, keys) in [
        ("chat", "openai", r#"key_envs = ["GOOD_KEY", "BAD_KEY"]"#),
        ("responses", "openai-responses", r#"key_envs = ["GOOD_KEY"]"#),
        ("messages", "anthropic", r#"key_envs = ["GOOD_KEY"]"#),
    ] {
        settings += &upstream.as_provider(name, dialect, keys);
        settings += &format!("[models.by_{name}]\nprovider = \"{name}\"\nupstream_model = \"simulated\"\n");
    }
    let site = Site::new(&settings);
    site.with_variable("GOOD_KEY", GOOD).with_variable("BAD_KEY", BAD)
}

#[tokio::test]
async fn every_key_is_tried_in_its_dialect_and_the_exit_code_tells_whether_all_work() {
    let upstream = Upstream::start_as(&format!("[[keys]]\nkey = \"{GOOD}\"\n")).await;
    let site = site(&upstream);
    let output = site.run_to_end(&["models", "test"]).await;
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("1 of 5 calls failed"), "{said}");
    let wrong = "chat · simulated, key 2: the model's provider answered 401: the provider does not take the key";
    assert!(shown.contains(wrong), "{shown}");
    assert!(shown.contains("…0001") && shown.contains("…0002"), "{shown}");
    assert!(!format!("{shown}{said}").contains("sk-"), "{shown}{said}");

    for model in ["by_responses", "by_messages", "simulated"] {
        let output = site.run_to_end(&["models", "test", "--model", model, "--json"]).await;
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let tried = json["data"].as_array().unwrap();
        assert_eq!(tried.len(), 1);
        assert_eq!(tried[0]["ok"], true);
        assert!(
            tried[0]["usage"]["output_tokens"]
                .as_u64()
                .is_some_and(|tokens| tokens > 0),
            "{json}"
        );
    }
    let output = site.run_to_end(&["models", "test", "--model", "by_nobody"]).await;
    assert_eq!(output.status.code(), Some(2));
    upstream.stop().await;
}
