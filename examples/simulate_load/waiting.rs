//! Thousands of runs that wait for their models, each with a client attached: what one of them costs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::http::{Connection, find, get_json, post};
use crate::load::progress_bar;
use crate::probe::{Sampler, Spending};
use crate::report::{Finding, Report};
use crate::scenarios::run_request;
use crate::site::Site;

/// Starts that are under way at once.
const STARTS_AT_ONCE: usize = 64;

/// How long the models keep everyone waiting: longer than anyone here waits.
const FIRST_TOKEN_MS: u64 = 3_600_000;

/// How long the waiting is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// What has settled after this long stays as it is.
const SETTLING: Duration = Duration::from_secs(2);

/// How long the provider may take to have been asked by all.
const PATIENCE: Duration = Duration::from_secs(60);

const KIBIBYTE: f64 = 1024.0;

/// Opens the runs, lets them wait, and looks at the server.
pub(crate) async fn waiting(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Site::of(arguments).await?;
    let runs = arguments.runs.unwrap_or(5_000);
    tokio::time::sleep(SETTLING).await;
    let idle = site.target.spending().await?;
    let finished = Arc::default();
    let sampler = Sampler::start(site.target.clone(), Duration::from_millis(200), finished);
    let body = run_request(&json!({"first_token_ms": FIRST_TOKEN_MS, "tokens": 1}));
    let request: Arc<[u8]> = post(site.target.address, "/api/v1/runs", site.keys[0].as_deref(), &body).into();
    // The clients are gone, and their connections closed, when this set is.
    let _clients = open_clients(&site, request, runs).await?;
    until_all_wait(&site, runs).await?;
    tokio::time::sleep(SETTLING).await;
    let before = site.target.spending().await?;
    tokio::time::sleep(WATCHED).await;
    let after = site.target.spending().await?;
    let what = format!("{runs} runs wait for their models, a client attached to each");
    let mut report = report(what, runs, idle, before, after);
    report.moments = sampler.stop();
    Ok(report)
}

fn report(what: String, runs: u64, idle: Spending, before: Spending, after: Spending) -> Report {
    let mut report = Report::new("waiting", what);
    let mebibytes = |bytes: u64| bytes as f64 / (KIBIBYTE * KIBIBYTE);
    let per_run = after.rss_bytes.saturating_sub(idle.rss_bytes) as f64 / runs.max(1) as f64;
    let burnt = after.cpu_seconds - before.cpu_seconds;
    report.find(Finding::new("server RSS, idle", mebibytes(idle.rss_bytes), "MiB").at_most(30.0));
    report.find(Finding::new(
        "server RSS, all waiting",
        mebibytes(after.rss_bytes),
        "MiB",
    ));
    report.find(Finding::new("RSS per waiting run", per_run / KIBIBYTE, "KiB").at_most(60.0));
    report.find(Finding::new("bytes per waiting run", per_run, "B"));
    let percent = 100.0 * burnt / WATCHED.as_secs_f64();
    // Idle, but for a heartbeat to each client.
    report.find(Finding::new("CPU while waiting, of one core", percent, "%").at_most(2.0));
    report
}

/// Starts the runs; returns when each of them has begun.
async fn open_clients(site: &Site, request: Arc<[u8]>, runs: u64) -> anyhow::Result<JoinSet<()>> {
    let mut clients = JoinSet::new();
    let starts = Arc::new(Semaphore::new(STARTS_AT_ONCE));
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    for _ in 0..runs {
        let (request, starts, begun) = (request.clone(), starts.clone(), begun.clone());
        let address = site.target.address;
        clients.spawn(async move {
            let Ok(turn) = starts.acquire().await else {
                return;
            };
            let mut body = Vec::new();
            let opened = async {
                let mut connection = Connection::open(address).await?;
                let mut head = connection.ask(&request).await?;
                while find(&body, b"event: run.started").is_none() {
                    if !connection.read_body(&mut head, &mut body).await? {
                        bail!("answer {}: {}", head.status, String::from_utf8_lossy(&body));
                    }
                }
                Ok((connection, head))
            };
            match opened.await {
                Ok((mut connection, mut head)) => {
                    let _ = begun.send(Ok(()));
                    drop(turn);
                    body = Vec::new();
                    while matches!(connection.read_body(&mut head, &mut body).await, Ok(true)) {
                        body.clear();
                    }
                }
                Err(error) => _ = begun.send(Err(error)),
            }
        });
    }
    let progress = progress_bar("waiting", runs);
    for _ in 0..runs {
        beginnings.recv().await.context("the clients are gone")??;
        progress.inc(1);
    }
    progress.finish_and_clear();
    Ok(clients)
}

/// Waits until the provider has all calls, or, without one, until the server has all runs.
async fn until_all_wait(site: &Site, runs: u64) -> anyhow::Result<()> {
    let waiting = async {
        loop {
            let open = match site.upstream {
                Some(upstream) => get_json(upstream, None, "/stats").await?["open"].as_u64(),
                None => site.target.capacity().await?["permits"]["in_use"].as_u64(),
            };
            if open >= Some(runs) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .context("not all runs have reached the provider")?
}
