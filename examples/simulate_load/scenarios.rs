//! What is done to the server, and what should come of it.
//!
//! The targets are for a release build on two cores with client and provider on the same machine.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::distribution::Distribution;
use crate::http::{get_json, post};
use crate::load::{Load, Tally, drive};
use crate::probe::{Sampler, Target};
use crate::report::{Finding, Report};
use crate::site::Site;

/// How often memory and CPU are looked at under load.
const SAMPLING: Duration = Duration::from_millis(200);

const MEBIBYTE: f64 = 1_048_576.0;

/// The load of the command line: N runs at concurrency C in a mix of tiers.
pub(crate) async fn free_load(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Site::of(arguments).await?;
    let body = run_request(&json!({
        "tokens": arguments.tokens,
        "tokens_per_second": arguments.tokens_per_second,
        "first_token_ms": arguments.first_token_ms,
        "stamp": true,
    }));
    let load = Load {
        title: "load",
        runs: arguments.runs.unwrap_or(2_000),
        clients: arguments.concurrency.unwrap_or(50),
        requests: site.requests(&body),
    };
    let what = format!(
        "{} runs of {} tokens, {} clients{}",
        load.runs,
        arguments.tokens,
        load.clients,
        arguments
            .mix
            .as_ref()
            .map(|mix| format!(", accounts {mix}"))
            .unwrap_or_default()
    );
    let (tally, mut report) = measured(&site.target, load, Report::new("load", what)).await?;
    report.distributions = vec![
        tally.start_latency,
        tally.queue_wait,
        tally.first_token,
        tally.first_token_lag,
        tally.whole,
    ];
    Ok(report)
}

/// One client, one run at a time: how long until the provider is asked.
pub(crate) async fn latency(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Site::of(arguments).await?;
    let Some(upstream) = site.upstream else {
        bail!(
            "the scenario `latency` asks the provider when it was called: it needs --upstream http and a server of its own"
        );
    };
    let load = |runs| Load {
        title: "latency",
        runs,
        clients: 1,
        requests: site.requests(&run_request(&json!({"tokens": 4}))),
    };
    let runs = arguments.runs.unwrap_or(1_000);
    // The first runs open connections and fill caches.
    drive(site.target.address, load(100), Arc::default()).await?;
    let (tally, mut report) = measured(
        &site.target,
        load(runs),
        Report::new("latency", format!("{runs} runs, one after the other")),
    )
    .await?;
    let journal = get_json(upstream, None, "/journal").await?;
    let mut until_asked = Distribution::new("POST to provider asked");
    for call in journal["calls"].as_array().context("the provider kept no journal")? {
        let sent_at = call["run"].as_str().and_then(|run| tally.sent_at_us.get(run));
        if let (Some(sent_at), Some(received_at)) = (sent_at, call["received_at_us"].as_i64()) {
            until_asked.add(Duration::from_micros(u64::try_from(received_at - sent_at).unwrap_or(0)));
        }
    }
    let p50 = until_asked.milliseconds_at(0.50);
    report.find(Finding::new("POST to provider asked, p50", p50, "ms").at_most(1.5));
    report.distributions = vec![until_asked, tally.start_latency, tally.first_token, tally.whole];
    Ok(report)
}

/// Instant model calls: how many runs a second.
pub(crate) async fn throughput(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Site::of(arguments).await?;
    let load = |runs| Load {
        title: "throughput",
        runs,
        clients: arguments.concurrency.unwrap_or(128),
        requests: site.requests(&run_request(&json!({"tokens": 4}))),
    };
    let runs = arguments.runs.unwrap_or(20_000);
    drive(site.target.address, load(runs / 20), Arc::default()).await?;
    let what = format!(
        "{runs} runs of one instant model call each, {} clients",
        load(runs).clients
    );
    let (tally, mut report) = measured(&site.target, load(runs), Report::new("throughput", what)).await?;
    report.find(Finding::new("completed", tally.completed as f64, "runs").at_least(runs as f64));
    for finding in &mut report.findings {
        match finding.name.as_str() {
            "throughput" => finding.target = Some(crate::report::Target::AtLeast(1_500.0)),
            "store statements per run" => finding.target = Some(crate::report::Target::AtMost(10.0)),
            _ => {}
        }
    }
    report.distributions = vec![tally.start_latency, tally.queue_wait, tally.first_token, tally.whole];
    Ok(report)
}

/// Many clients read as models write: how much later a token arrives than the provider sent it.
pub(crate) async fn streaming(arguments: &Arguments) -> anyhow::Result<Report> {
    let site = Site::of(arguments).await?;
    let clients = arguments.concurrency.unwrap_or(50);
    let simulate = json!({"tokens": 100, "tokens_per_second": 50, "first_token_ms": 100, "stamp": true});
    let load = Load {
        title: "streaming",
        runs: arguments.runs.unwrap_or(4 * clients as u64),
        clients,
        requests: site.requests(&run_request(&simulate)),
    };
    let what = format!("{} runs of 100 tokens at 50 a second, {clients} clients", load.runs);
    let (tally, mut report) = measured(&site.target, load, Report::new("streaming", what)).await?;
    let p50 = tally.first_token_lag.milliseconds_at(0.50);
    report.find(Finding::new("first token, provider to client, p50", p50, "ms").at_most(10.0));
    report.distributions = vec![
        tally.first_token_lag,
        tally.token_lag,
        tally.start_latency,
        tally.first_token,
    ];
    Ok(report)
}

/// Drives the load and finds what every load has.
async fn measured(target: &Target, load: Load, mut report: Report) -> anyhow::Result<(Tally, Report)> {
    let finished = Arc::new(AtomicU64::new(0));
    let (work_before, spent_before) = (target.store_work().await?, target.spending().await?);
    let sampler = Sampler::start(target.clone(), SAMPLING, finished.clone());
    let tally = drive(target.address, load, finished).await?;
    report.moments = sampler.stop();
    let (work, spent) = (target.store_work().await?, target.spending().await?);
    report.find_counts(&tally);
    let accepted = tally.accepted.max(1) as f64;
    let cpu_seconds = spent.cpu_seconds - spent_before.cpu_seconds;
    let moments = report.moments.iter().map(|moment| moment.spending.rss_bytes);
    let peak = moments.max().unwrap_or_default().max(spent.rss_bytes);
    let statements = work.statements - work_before.statements;
    let commits = work.commits - work_before.commits;
    report.find(Finding::new("throughput", tally.runs_per_second(), "runs/s"));
    report.find(Finding::new(
        "store statements per run",
        statements as f64 / accepted,
        "",
    ));
    report.find(Finding::new("runs per commit", accepted / commits.max(1) as f64, ""));
    report.find(Finding::new("server CPU", cpu_seconds, "s"));
    report.find(Finding::new("server CPU per run", cpu_seconds * 1e6 / accepted, "µs"));
    report.find(Finding::new(
        "server RSS, idle",
        spent_before.rss_bytes as f64 / MEBIBYTE,
        "MiB",
    ));
    report.find(Finding::new("server RSS, peak", peak as f64 / MEBIBYTE, "MiB"));
    Ok((tally, report))
}

/// The body of a streamed run whose model does as told.
pub(crate) fn run_request(simulate: &Value) -> Value {
    json!({"input": "How is the load?", "stream": true, "model_options": {"simulate": simulate}})
}

impl Site {
    /// A request for each account.
    fn requests(&self, body: &Value) -> Vec<Arc<[u8]>> {
        let keys = self.keys.iter().map(Option::as_deref);
        keys.map(|key| post(self.target.address, "/api/v1/runs", key, body).into())
            .collect()
    }
}
