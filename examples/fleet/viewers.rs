//! What it costs an instance that many read along runs of another.

use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use serde_json::json;
use tokio::task::JoinSet;

use super::arguments::Arguments;
use super::print;
use super::site::Site;
use crate::rig::{Client, Instance};

/// Longer than `server.heartbeat_interval`: silence is what this is about.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);
/// Requests under way at once.
const AT_ONCE: usize = 50;

pub(crate) async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let site = Site::start(arguments.viewers).await?;
    let [host, other] = site.fleet.start_all(["host", "other"]).await?;
    let client = host.client()?;
    let starting = futures::stream::iter(0..arguments.viewers).map(|_| start_silent(&client));
    let runs: Vec<anyhow::Result<String>> = starting.buffer_unordered(AT_ONCE).collect().await;
    let runs = runs.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    site.upstream.until_open(runs.len() as u64).await?;

    let before = Cost::of(&site, &other, arguments.watch_seconds).await?;
    let viewer = other.client()?;
    let opening = futures::stream::iter(runs).map(|run| view(viewer.clone(), run));
    let mut viewing = JoinSet::new();
    let mut opened = opening.buffer_unordered(AT_ONCE);
    while let Some(reader) = opened.next().await {
        let mut reader = reader?;
        // Reads on, so that comments do not pile up.
        viewing.spawn(async move { while let Ok(Some(_)) = reader.read().await {} });
    }
    let during = Cost::of(&site, &other, arguments.watch_seconds).await?;
    anyhow::ensure!(viewing.try_join_next().is_none(), "a viewer's stream ended");

    let title = format!(
        "an instance with {} idle readers, each of another run of another instance, over {} s",
        arguments.viewers, arguments.watch_seconds
    );
    let rows = [("without readers", &before), ("with readers", &during)];
    let rows = rows.map(|(name, cost)| {
        let cpu = format!("{:.2} % of a core", cost.cpu_share * 100.0);
        [name.to_owned(), cost.redis_connections.to_string(), cpu, cost.memory()]
    });
    print(
        &title,
        &["", "Redis connections of both instances", "CPU", "RSS"],
        &rows,
    );
    Ok(())
}

/// A run that is there and says nothing.
async fn start_silent(client: &Client) -> anyhow::Result<String> {
    let body = json!({"input": "Wait.", "model_options": {"simulate": {"tokens": 1, "first_token_ms": 3_000_000}}});
    let run = client.post_raw("/api/v1/runs", &body).await?.success()?;
    Ok(run["id"].as_str().context("a run without an id")?.to_owned())
}

/// Opens a run's stream and reads what there is already.
async fn view(client: Client, run: String) -> anyhow::Result<crate::rig::EventReader> {
    let opened = client.open_events(&run, None, LONGEST_SILENCE).await?;
    let mut reader = opened.context("the run is over")?;
    loop {
        let event = reader.read().await?.context("the stream is over")?;
        if event.kind == "run.started" {
            return Ok(reader);
        }
    }
}

/// What an instance takes.
struct Cost {
    redis_connections: usize,
    /// Of one core.
    cpu_share: f64,
    rss_bytes: u64,
}

impl Cost {
    async fn of(site: &Site, instance: &Instance, seconds: u64) -> anyhow::Result<Self> {
        let began = process_of(instance).await?;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let ended = process_of(instance).await?;
        let cpu_seconds = |process: &serde_json::Value| process["cpu_seconds"].as_f64().context("no CPU time");
        Ok(Self {
            redis_connections: site.redis.connections().await?,
            cpu_share: (cpu_seconds(&ended)? - cpu_seconds(&began)?) / seconds as f64,
            rss_bytes: ended["rss_bytes"].as_u64().context("no memory")?,
        })
    }

    fn memory(&self) -> String {
        format!("{:.0} MiB", self.rss_bytes as f64 / 1_048_576.0)
    }
}

/// What the instance's process has taken so far, as it tells itself.
async fn process_of(instance: &Instance) -> anyhow::Result<serde_json::Value> {
    let capacity = instance.client()?.get_raw("/api/v1/capacity").await?.success()?;
    Ok(capacity["process"].clone())
}
