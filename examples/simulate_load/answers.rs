//! Thousands of runs that wait for their clients' answers. Nobody works on them and nothing of them should be in memory: what they cost, and how
//! fast they go on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::http::{Connection, get, post};
use crate::load::progress_bar;
use crate::probe::Sampler;
use crate::report::{Finding, Report};
use crate::site::Site;

/// What has settled after this long stays as it is.
const SETTLING: Duration = Duration::from_secs(2);

/// How long the waiting is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// Between two looks at a run that does not wait yet.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

const KIBIBYTE: f64 = 1024.0;

/// A run that waits, and the call that it waits for.
struct Asked {
    run: String,
    call: String,
}

/// Starts the runs, looks at the server while all of them wait, and answers them.
pub(crate) async fn answers(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Arc::new(Site::of(arguments).await?);
    let runs = arguments.runs.unwrap_or(10_000);
    let clients = arguments.concurrency.unwrap_or(64);
    tokio::time::sleep(SETTLING).await;
    let idle = site.target.spending().await?;
    let sampler = Sampler::start(site.target.clone(), Duration::from_millis(200), Arc::default());
    let asked = by_clients("starting", clients, &site, vec![(); usize::try_from(runs)?], start).await?;
    tokio::time::sleep(SETTLING).await;
    let capacity = site.target.capacity().await?;
    let permits = capacity["permits"]["in_use"].as_f64().context("no permits")?;
    let before = site.target.spending().await?;
    tokio::time::sleep(WATCHED).await;
    let after = site.target.spending().await?;
    let began = Instant::now();
    by_clients("answering", clients, &site, asked, answer).await?;
    let took = began.elapsed();

    let what = format!("{runs} runs wait for their clients' answers, and then get them from {clients} clients");
    let mut report = Report::new("answers", what);
    let mebibytes = |bytes: u64| bytes as f64 / (KIBIBYTE * KIBIBYTE);
    let per_run = after.rss_bytes.saturating_sub(idle.rss_bytes) as f64 / runs.max(1) as f64 / KIBIBYTE;
    let percent = 100.0 * (after.cpu_seconds - before.cpu_seconds) / WATCHED.as_secs_f64();
    report.find(Finding::new("server RSS, idle", mebibytes(idle.rss_bytes), "MiB"));
    report.find(Finding::new(
        "server RSS, all waiting",
        mebibytes(after.rss_bytes),
        "MiB",
    ));
    // What grew is what starting them has left: caches, and the allocator's own.
    report.find(Finding::new("RSS per waiting run", per_run, "KiB").at_most(4.0));
    report.find(Finding::new("Permits in use, all waiting", permits, "").at_most(0.0));
    report.find(Finding::new("CPU while waiting, of one core", percent, "%").at_most(2.0));
    report.find(Finding::new(
        "answered and ended",
        runs as f64 / took.as_secs_f64(),
        "runs/s",
    ));
    report.moments = sampler.stop();
    Ok(report)
}

/// Has so many clients do the work, each over a connection of its own.
async fn by_clients<Work, Done, Doing>(
    title: &'static str,
    clients: usize,
    site: &Arc<Site>,
    work: Vec<Work>,
    task: fn(Arc<Site>, Connection, Work) -> Doing,
) -> anyhow::Result<Vec<Done>>
where
    Work: Send + 'static,
    Done: Send + 'static,
    Doing: Future<Output = anyhow::Result<(Connection, Done)>> + Send + 'static,
{
    let progress = progress_bar(title, work.len() as u64);
    let left = Arc::new(Mutex::new(work));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (site, left, progress) = (site.clone(), left.clone(), progress.clone());
        tasks.spawn(async move {
            let mut connection = Connection::open(site.target.address).await?;
            let mut done = Vec::new();
            loop {
                let next = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(next) = next else { return anyhow::Ok(done) };
                let result;
                (connection, result) = task(site.clone(), connection, next).await?;
                done.push(result);
                progress.inc(1);
            }
        });
    }
    let mut done = Vec::new();
    while let Some(client) = tasks.join_next().await {
        done.extend(client??);
    }
    progress.finish_and_clear();
    Ok(done)
}

/// Starts a run, and waits until it waits.
async fn start(site: Arc<Site>, mut connection: Connection, (): ()) -> anyhow::Result<(Connection, Asked)> {
    let body = json!({
        "input": "How is the load?",
        "tools": [{"type": "client", "name": "ask_user", "description": "Asks the user.", "parameters": {"type": "object"}}],
        "model_options": {"simulate": {"tool_calls": [{"name": "ask_user"}], "text": "Thank you."}}
    });
    let (address, key) = (site.target.address, site.keys[0].as_deref());
    let started = connection
        .ask_for_json(&post(address, "/api/v1/runs", key, &body))
        .await?;
    let run = started["id"].as_str().context("a run without an id")?.to_owned();
    let look = get(address, &format!("/api/v1/runs/{run}"), key);
    loop {
        let view = connection.ask_for_json(&look).await?;
        match view["state"].as_str() {
            Some("waiting") => {
                let call = view["waiting_calls"][0]["call_id"].as_str();
                let call = call.context("no call to answer")?.to_owned();
                return Ok((connection, Asked { run, call }));
            }
            Some("queued" | "running") => tokio::time::sleep(BETWEEN_LOOKS).await,
            _ => bail!("a run did not come to wait: {view}"),
        }
    }
}

/// Answers a run's call, and waits for the run's end.
async fn answer(site: Arc<Site>, mut connection: Connection, asked: Asked) -> anyhow::Result<(Connection, ())> {
    let Asked { run, call } = asked;
    let (address, key) = (site.target.address, site.keys[0].as_deref());
    let said: Value = json!({"outputs": [{"call_id": call, "output": "yes"}]});
    let path = format!("/api/v1/runs/{run}/tool_outputs");
    connection.ask_for_json(&post(address, &path, key, &said)).await?;
    let look = get(address, &format!("/api/v1/runs/{run}?wait=30"), key);
    let view = connection.ask_for_json(&look).await?;
    match view["state"].as_str() {
        Some("completed") => Ok((connection, ())),
        _ => bail!("a run did not end well: {view}"),
    }
}
