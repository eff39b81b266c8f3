//! A closed loop of clients: each starts its next run when its last one has ended.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

use crate::distribution::Distribution;
use crate::http::Connection;
use crate::watch::{Ending, Observation, watch_run};

/// What to do.
pub(crate) struct Load {
    pub(crate) title: &'static str,
    pub(crate) runs: u64,
    pub(crate) clients: usize,
    /// Rendered requests; clients are dealt to them in turn.
    pub(crate) requests: Vec<Arc<[u8]>>,
}

/// What came of it.
pub(crate) struct Tally {
    pub(crate) completed: u64,
    pub(crate) accepted: u64,
    pub(crate) queued: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// How often each reason was given for a refusal or a failure.
    pub(crate) reasons: BTreeMap<String, u64>,
    /// POST → `run.started` at the client, of runs that were not queued.
    pub(crate) start_latency: Distribution,
    /// `run.queued` → `run.started` at the client.
    pub(crate) queue_wait: Distribution,
    /// POST → first text at the client.
    pub(crate) first_token: Distribution,
    /// POST → last event at the client.
    pub(crate) whole: Distribution,
    /// Stamp of a run's first token → its arrival at the client.
    pub(crate) first_token_lag: Distribution,
    /// The same of every token.
    pub(crate) token_lag: Distribution,
    /// When each run was sent, microseconds since 1970.
    pub(crate) sent_at_us: BTreeMap<String, i64>,
    pub(crate) took: Duration,
}

impl Tally {
    fn new() -> Self {
        Self {
            completed: 0,
            accepted: 0,
            queued: 0,
            refused: 0,
            failed: 0,
            reasons: BTreeMap::new(),
            start_latency: Distribution::new("start latency"),
            queue_wait: Distribution::new("queue wait"),
            first_token: Distribution::new("time to first token"),
            whole: Distribution::new("whole run"),
            first_token_lag: Distribution::new("first token, provider to client"),
            token_lag: Distribution::new("every token, provider to client"),
            sent_at_us: BTreeMap::new(),
            took: Duration::ZERO,
        }
    }

    pub(crate) fn runs_per_second(&self) -> f64 {
        self.completed as f64 / self.took.as_secs_f64().max(1e-9)
    }

    fn add(&mut self, observation: Observation) {
        self.accepted += u64::from(observation.was_accepted());
        self.queued += u64::from(observation.queued.is_some());
        match observation.ending {
            Ending::Completed => self.completed += 1,
            Ending::Refused(reason) => {
                self.refused += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
            Ending::Failed(reason) => {
                self.failed += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
        }
        match (observation.queued, observation.started) {
            (Some(queued), Some(started)) => self.queue_wait.add(started.saturating_sub(queued)),
            (None, Some(started)) => self.start_latency.add(started),
            (_, None) => {}
        }
        if let Some(first_token) = observation.first_token {
            self.first_token.add(first_token);
            self.whole.add(observation.whole);
        }
        if let Some(lag) = observation.token_lags_us.first() {
            self.first_token_lag.add(Duration::from_micros(*lag));
        }
        for lag in observation.token_lags_us {
            self.token_lag.add(Duration::from_micros(lag));
        }
        if let Some(run_id) = observation.run_id {
            self.sent_at_us.insert(run_id, observation.sent_at_us);
        }
    }

    fn merge(&mut self, mut other: Self) {
        self.completed += other.completed;
        self.accepted += other.accepted;
        self.queued += other.queued;
        self.refused += other.refused;
        self.failed += other.failed;
        for (reason, count) in other.reasons {
            *self.reasons.entry(reason).or_default() += count;
        }
        self.start_latency.merge(&other.start_latency);
        self.queue_wait.merge(&other.queue_wait);
        self.first_token.merge(&other.first_token);
        self.whole.merge(&other.whole);
        self.first_token_lag.merge(&other.first_token_lag);
        self.token_lag.merge(&other.token_lag);
        self.sent_at_us.append(&mut other.sent_at_us);
    }
}

/// Puts the load on the server; `finished` counts the runs as they end.
pub(crate) async fn drive(address: SocketAddr, load: Load, finished: Arc<AtomicU64>) -> anyhow::Result<Tally> {
    let progress = progress_bar(load.title, load.runs);
    let begun = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..load.clients {
        let request = load.requests[client % load.requests.len()].clone();
        let (begun, finished, progress) = (begun.clone(), finished.clone(), progress.clone());
        clients.spawn(async move {
            let mut tally = Tally::new();
            let mut connection = Connection::open(address).await?;
            while begun.fetch_add(1, Ordering::Relaxed) < load.runs {
                let observation = watch_run(&mut connection, &request).await;
                if matches!(observation.ending, Ending::Failed(_)) {
                    // Where a broken answer ends nobody knows.
                    connection = Connection::open(address).await?;
                }
                tally.add(observation);
                finished.fetch_add(1, Ordering::Relaxed);
                progress.inc(1);
            }
            Ok::<_, std::io::Error>(tally)
        });
    }
    let mut tally = Tally::new();
    while let Some(client) = clients.join_next().await {
        tally.merge(client??);
    }
    tally.took = began.elapsed();
    progress.finish_and_clear();
    Ok(tally)
}

/// A bar on the terminal; nothing if the output is no terminal.
pub(crate) fn progress_bar(title: &'static str, length: u64) -> ProgressBar {
    let template = "{prefix:>11} {wide_bar:.cyan/dim} {human_pos}/{human_len} {per_sec:>12} {eta:>4}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style).with_prefix(title)
}
