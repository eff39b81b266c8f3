//! Reads a run over connections that break again and again, and shows that nothing is lost and nothing comes twice.
//!
//! ```sh
//! cargo run                                    # a server, in another terminal
//! cargo run --example reconnect -- --drops 8
//! ```
//!
//! Every event has a number, `seq`, which is also the `id:` of its SSE record. A reader that says `Last-Event-ID: n` goes on with n + 1.
//! Exits with 1 if an event was missing or came twice, or if the text is not the one the server kept.

use anyhow::{Context, bail, ensure};
use clap::Parser;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};

#[derive(Parser)]
struct Arguments {
    /// How often to drop the connection
    #[arg(long, default_value_t = 5)]
    drops: usize,
    /// Where the server listens; its default model must be a simulated one
    #[arg(long, default_value = "http://127.0.0.1:8700")]
    url: String,
}

/// How many events are read before the connection is dropped.
const EVENTS_PER_CONNECTION: usize = 7;

/// What a client remembers between two connections: the number of the last event, and what it made of the events.
#[derive(Default)]
struct Reader {
    last_seq: Option<u64>,
    text: String,
    has_ended: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let client = Client::new();
    let runs = format!("{}/api/v1/runs", arguments.url);
    let simulate = json!({"tokens": 10 * (arguments.drops + 1), "tokens_per_second": 25});
    let started = client
        .post(&runs)
        .json(&json!({"input": "Hello", "model_options": {"simulate": simulate}}))
        .send()
        .await
        .with_context(|| format!("no server at {}: start one with `cargo run`", arguments.url))?;
    let run: Value = whole(started).await?;
    let id = run["id"].as_str().context("a run has an id")?;

    let mut reader = Reader::default();
    let mut connections = 0;
    while !reader.has_ended {
        let mut request = client.get(format!("{runs}/{id}/events"));
        if let Some(seq) = reader.last_seq {
            request = request.header("last-event-id", seq);
        }
        let stream = request.header("accept", "text/event-stream").send().await?;
        // A browser's EventSource stops at 204, too: the run has ended and all of it was read.
        ensure!(
            stream.status() != StatusCode::NO_CONTENT,
            "nothing is left, but the end was not seen"
        );
        connections += 1;
        let events = match connections <= arguments.drops {
            true => EVENTS_PER_CONNECTION,
            false => usize::MAX,
        };
        reader.read(stream, events).await?;
        if !reader.has_ended {
            println!("  dropped after event {}", reader.last_seq.unwrap_or_default());
        }
    }

    let kept: Value = whole(client.get(format!("{runs}/{id}")).send().await?).await?;
    ensure!(
        kept["output"].as_str() == Some(reader.text.as_str()),
        "the text is not whole:\n{}\n{}",
        reader.text,
        kept["output"]
    );
    println!("{}", reader.text);
    println!(
        "{} events over {connections} connections: none missing, none twice",
        reader.last_seq.unwrap_or_default() + 1
    );
    Ok(())
}

impl Reader {
    /// Reads so many events, then lets go of the connection. An event that came only in part is forgotten: it will come again.
    async fn read(&mut self, mut stream: Response, mut events: usize) -> anyhow::Result<()> {
        let mut received = Vec::new();
        while let Some(bytes) = stream.chunk().await? {
            received.extend_from_slice(&bytes);
            while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                let Some(data) = line.strip_prefix(b"data: ") else {
                    continue;
                };
                self.take(&serde_json::from_slice(data)?)?;
                events -= 1;
                if events == 0 {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &Value) -> anyhow::Result<()> {
        let seq = event["seq"].as_u64().context("an event has a seq")?;
        let expected = self.last_seq.map_or(0, |last| last + 1);
        ensure!(seq == expected, "event {expected} was to come, not {seq}");
        self.last_seq = Some(seq);
        match event["type"].as_str().unwrap_or_default() {
            "text.delta" => self.text += event["delta"].as_str().unwrap_or_default(),
            "run.completed" => self.has_ended = true,
            "run.failed" | "run.cancelled" => bail!("the run did not complete: {event}"),
            _ => {}
        }
        Ok(())
    }
}

/// The whole of an answer, which must be a good one.
async fn whole(answer: Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body = answer.text().await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(serde_json::from_str(&body)?)
}
