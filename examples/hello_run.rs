//! Posts a run and prints its text as it is written.
//!
//! ```sh
//! cargo run                                    # a server, in another terminal
//! cargo run --example hello_run -- "Say hello"
//! ```
//!
//! With `"stream": true` the answer to the POST is the run's event stream: one round trip to the first word.

use std::io::Write;

use anyhow::{Context, bail};
use clap::Parser;
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// What to say to the model
    #[arg(default_value = "Hello")]
    input: String,
    /// Where the server listens
    #[arg(long, default_value = "http://127.0.0.1:8700")]
    url: String,
    /// An API key, if the server asks for one
    #[arg(long)]
    key: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut request = reqwest::Client::new()
        .post(format!("{}/api/v1/runs", arguments.url))
        .json(&json!({"input": arguments.input, "stream": true}));
    if let Some(key) = &arguments.key {
        request = request.bearer_auth(key);
    }
    let mut answer = request
        .send()
        .await
        .with_context(|| format!("no server at {}: start one with `cargo run`", arguments.url))?;
    if !answer.status().is_success() {
        bail!("{}: {}", answer.status(), answer.text().await?);
    }
    // An event is a few `name: value` lines and an empty one; `data:` holds all of it as JSON.
    let mut received = Vec::new();
    while let Some(bytes) = answer.chunk().await? {
        received.extend_from_slice(&bytes);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                show(&serde_json::from_slice(data)?)?;
            }
        }
    }
    Ok(())
}

fn show(event: &Value) -> anyhow::Result<()> {
    match event["type"].as_str().unwrap_or_default() {
        "run.created" => println!("{}", event["run_id"].as_str().unwrap_or_default()),
        "run.queued" => println!("queued at position {}", event["position"]),
        "text.delta" => {
            print!("{}", event["delta"].as_str().unwrap_or_default());
            std::io::stdout().flush()?;
        }
        "run.completed" => println!(
            "\n\ncompleted: {} tokens in, {} tokens out",
            event["usage"]["input_tokens"], event["usage"]["output_tokens"]
        ),
        "run.failed" => bail!("the run failed: {}", event["error"]["message"]),
        "run.cancelled" => println!("\n\ncancelled"),
        // Everything else a run tells is of no interest here. More types may come: skip what you do not know.
        _ => {}
    }
    Ok(())
}
