//! Streams runs while documents are read that take longer than anybody would wait, and shows what the streams notice of it.
//!
//! ```sh
//! cargo run --release                                    # a server, in another terminal
//! cargo run --release --example slow_documents
//! ```
//!
//! Each document is a small PDF that is read for ever. A process of its own reads it, with the lowest priority, until its time is over
//! (`tools.documents.timeout`) or its run is cancelled, as this program does in the end. What is measured is the time between two pieces of
//! text of a stream, whose model says a word every 20 ms.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Parser;
use futures::future::try_join_all;
use reqwest::{Client, Response};
use serde_json::{Value, json};

#[expect(
    dead_code,
    clippy::unwrap_used,
    reason = "documents of the tests; this program uses one of them"
)]
#[path = "../tests/it/documents.rs"]
mod documents;

#[derive(Parser)]
struct Arguments {
    /// Documents that are read at once
    #[arg(long, default_value_t = 16)]
    documents: usize,
    /// Runs that stream meanwhile
    #[arg(long, default_value_t = 20)]
    streams: usize,
    /// For how long
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Where the server listens; its default model must be a simulated one
    #[arg(long, default_value = "http://127.0.0.1:8700")]
    url: String,
}

/// Words of a stream in a second: one every 20 ms.
const WORDS_PER_SECOND: u32 = 50;

struct Server {
    http: Client,
    url: String,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let server = Server {
        http: Client::new(),
        url: arguments.url.clone(),
    };
    let calm = server.pauses(&arguments).await?;
    println!("{} streams, nothing else:     {}", arguments.streams, shown(&calm));

    let file = server.upload(documents::endless_pdf()).await?;
    let reading = (0..arguments.documents).map(|_| server.read(&file));
    let readers = try_join_all(reading).await?;
    let busy = server.pauses(&arguments).await?;
    let mut still_read = 0;
    for run in &readers {
        let cancelled = server.post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await?;
        still_read += usize::from(cancelled["state"] == "cancelled");
    }
    println!("and {still_read} documents read for ever: {}", shown(&busy));
    ensure!(
        still_read == readers.len(),
        "a document was given up before the streams ended: ask for fewer seconds"
    );
    Ok(())
}

impl Server {
    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let sending = self.http.post(format!("{}{path}", self.url)).json(body).send();
        let answer = sending.await.with_context(|| format!("no server at {}", self.url))?;
        whole(answer).await
    }

    async fn upload(&self, document: Vec<u8>) -> anyhow::Result<String> {
        let path = format!("{}/api/v1/files?filename=endless.pdf", self.url);
        let sending = self.http.post(path).body(document).send();
        let file = whole(sending.await.with_context(|| format!("no server at {}", self.url))?).await?;
        Ok(file["id"].as_str().context("a file has an id")?.to_owned())
    }

    /// Starts a run that reads the document, and waits until it does.
    async fn read(&self, file: &str) -> anyhow::Result<String> {
        let simulate = json!({"tool_calls": [{"name": "parse_file", "arguments": {"file_id": file}}]});
        let body = json!({"input": "Read it.", "tools": ["parse_file"], "model_options": {"simulate": simulate}});
        let run = self.post("/api/v1/runs", &body).await?;
        let run = run["id"].as_str().context("a run has an id")?.to_owned();
        let events = self
            .http
            .get(format!("{}/api/v1/runs/{run}/events", self.url))
            .send()
            .await?;
        let is_called = |event: &Value| event["type"] == "item.completed" && event["item"]["type"] == "tool_call";
        until(events, is_called).await?;
        Ok(run)
    }

    /// Between two pieces of text, of all streams, the shortest first.
    async fn pauses(&self, arguments: &Arguments) -> anyhow::Result<Vec<Duration>> {
        let words = arguments.seconds * WORDS_PER_SECOND;
        let streams = (0..arguments.streams).map(|_| self.pauses_of_one(words));
        let mut all = try_join_all(streams).await?.concat();
        all.sort();
        Ok(all)
    }

    async fn pauses_of_one(&self, words: u32) -> anyhow::Result<Vec<Duration>> {
        let simulate = json!({"tokens": words, "tokens_per_second": WORDS_PER_SECOND});
        let body = json!({"input": "Go.", "stream": true, "model_options": {"simulate": simulate}});
        let sending = self.http.post(format!("{}/api/v1/runs", self.url)).json(&body).send();
        let events = sending.await.with_context(|| format!("no server at {}", self.url))?;
        let mut moments = Vec::new();
        until(events, |event| {
            if event["type"] == "text.delta" {
                moments.push(Instant::now());
            }
            event["type"] == "run.completed"
        })
        .await?;
        ensure!(moments.len() > 1, "a stream without text");
        Ok(moments.windows(2).map(|pair| pair[1] - pair[0]).collect())
    }
}

/// Reads events until one is the one.
async fn until(mut events: Response, mut is_it: impl FnMut(&Value) -> bool) -> anyhow::Result<()> {
    ensure!(events.status().is_success(), "the server answered {}", events.status());
    let mut received = Vec::new();
    while let Some(bytes) = events.chunk().await? {
        received.extend_from_slice(&bytes);
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ")
                && is_it(&serde_json::from_slice(data)?)
            {
                return Ok(());
            }
        }
    }
    anyhow::bail!("the stream ended before its time")
}

fn shown(pauses: &[Duration]) -> String {
    let at = |share: f64| pauses[((pauses.len() - 1) as f64 * share) as usize];
    format!(
        "{:.1?} (median), {:.1?} (99 %), {:.1?} (longest)",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

async fn whole(answer: Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "the server answered {status}: {text}");
    Ok(serde_json::from_str(&text)?)
}
