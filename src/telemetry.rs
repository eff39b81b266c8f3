//! What the process tells about itself: log lines and metrics.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// The library that speaks MCP: it logs all that tools are told and answer. What matters of it is logged here in other words.
const TALKATIVE: &str = "rmcp";

/// The library that speaks to databases: it tells of each idle connection that was lost, and the store says once that it is away.
const REPEATS_ITSELF: &str = "sqlx";

/// Sends log lines to standard error. `filter` is in the syntax of `tracing`: `info,callboard=debug`.
///
/// Fails if the filter makes no sense or logging was set up before.
pub fn install_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = filter_of(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.finish().try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
    }
    WRITES_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
    Ok(())
}

/// Whether all that this process says is to be read by programs.
static WRITES_JSON: AtomicBool = AtomicBool::new(false);

/// Whether [`install_logging`] was asked for JSON: then nothing is said in other ways.
pub fn writes_json() -> bool {
    WRITES_JSON.load(Ordering::Relaxed)
}

/// The filter, without what says too much unless it is named.
fn filter_of(text: &str) -> anyhow::Result<EnvFilter> {
    let mut filter = EnvFilter::try_new(text)?;
    for (library, directive) in [(TALKATIVE, "rmcp=off"), (REPEATS_ITSELF, "sqlx_core::pool=warn")] {
        if !text.contains(library) {
            filter = filter.add_directive(directive.parse()?);
        }
    }
    Ok(filter)
}

/// Bounds of the buckets of every histogram of seconds: from an answer out of memory to a run of half a day.
const SECONDS_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    900.0, 3600.0, 43200.0,
];

/// Bounds of the buckets of what is counted together.
const SIZE_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// How often what was recorded is put into buckets; between two scrapes it would gather in memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Renders what was counted so far.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl MetricsHandle {
    /// Everything, in the text format of Prometheus.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Puts recorded values into buckets now and then, for as long as the process lives.
    pub fn spawn_upkeep(&self, io: &tokio::runtime::Handle) {
        let handle = self.0.clone();
        io.spawn(async move {
            let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                handle.run_upkeep();
            }
        });
    }
}

/// Makes this process count. Fails if it counts already.
pub fn install_metrics() -> anyhow::Result<MetricsHandle> {
    let handle = prometheus_builder()?.install_recorder()?;
    describe();
    Ok(MetricsHandle(handle))
}

fn prometheus_builder() -> anyhow::Result<PrometheusBuilder> {
    let builder = PrometheusBuilder::new();
    Ok(builder
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS_BUCKETS)?
        .set_buckets_for_metric(Matcher::Suffix("_batch_size".to_owned()), SIZE_BUCKETS)?)
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("callboard_runs_total", "runs that ended, by state");
    describe_counter!(
        "callboard_runs_waiting_total",
        "runs that went to wait for somebody or for a budget, by reason"
    );
    describe_counter!(
        "callboard_runs_taken_over_total",
        "runs of lost instances that this one went on with"
    );
    describe_counter!("callboard_tokens_total", "tokens of model calls, by direction");
    describe_models();
    describe_counter!("callboard_tool_calls_total", "tool calls, by tool and outcome");
    describe_histogram!(
        "callboard_tool_call_seconds",
        "how long a tool call takes, the wait for a place included, by tool"
    );
    describe_counter!("callboard_db_statements_total", "statements sent to the store");
    describe_counter!("callboard_db_commits_total", "commits of the store");
    describe_counter!(
        "callboard_event_histories_archived_total",
        "ended runs whose events were archived"
    );
    describe_counter!(
        "callboard_event_histories_forgotten_total",
        "ended runs whose events were deleted"
    );
    describe_histogram!(
        "callboard_store_commit_seconds",
        "how long a transaction of the writers takes, its commit included"
    );
    describe_histogram!("callboard_store_batch_size", "writes that share a commit");
    describe_histogram!("callboard_run_start_seconds", "from the request to a durable run");
    describe_histogram!("callboard_run_queue_wait_seconds", "time a run waited in the queue");
    describe_histogram!(
        "callboard_run_first_token_seconds",
        "from a run's creation to its first text"
    );
    describe_gauge!(
        "callboard_runs",
        "runs by state: running ones of this instance, queued ones as callboard_queue_length"
    );
    describe_gauge!("callboard_permits_limit", "runs that may run here at once");
    describe_gauge!("callboard_permits_in_use", "runs that do");
    describe_gauge!("callboard_queue_limit", "runs that may wait");
    describe_gauge!(
        "callboard_queue_length",
        "runs that wait, by tier; in a fleet those of all instances"
    );
    describe_gauge!("callboard_mailbox_length", "messages that wait, by actor");
    describe_gauge!("callboard_arbiter_runs", "live runs, by arbiter");
    describe_gauge!(
        "callboard_draining",
        "1 while the server refuses new runs because it leaves"
    );
    describe_gauge!(
        "callboard_fleet_instances",
        "instances that are alive and not leaving, as this one knows"
    );
    describe_gauge!(
        "callboard_lease_held",
        "0 while the instance refuses new runs because its lease is lost"
    );
    describe_gauge!(
        "callboard_events_reach",
        "1 while events reach the readers of other instances, 0 while they are kept for them"
    );
    describe_gauge!(
        "callboard_db_connections_limit",
        "connections to the store that may be open"
    );
    describe_gauge!(
        "callboard_db_connections_open",
        "connections to the store that are open"
    );
    describe_gauge!("callboard_db_connections_busy", "connections to the store that work");
    describe_gauge!("callboard_db_writes_waiting", "writes that wait for their commit");
    describe_gauge!("callboard_blocking_threads_limit", "threads of the blocking pool");
    describe_gauge!("callboard_blocking_threads_busy", "jobs that run in the blocking pool");
    describe_gauge!(
        "callboard_blocking_jobs_waiting",
        "jobs that wait for the blocking pool"
    );
    describe_gauge!(
        "callboard_process_cpu_cores",
        "CPUs kept busy since the last measurement"
    );
    describe_gauge!("process_cpu_seconds_total", "CPU time since the start");
    describe_gauge!("process_resident_memory_bytes", "resident memory");
}

fn describe_models() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("callboard_model_calls_total", "calls to providers, by outcome");
    describe_counter!("callboard_model_answers_shared_total", "answers that were given again");
    describe_counter!(
        "callboard_budget_exhausted_total",
        "runs that ended or wait because their account's budget is used up, by tier"
    );
    describe_histogram!("callboard_model_call_seconds", "how long a call to a provider took");
    describe_histogram!(
        "callboard_model_wait_seconds",
        "how long a call waited for room under the limits of the keys"
    );
    for (name, meaning) in [
        ("callboard_model_calls_waiting", "calls that wait for room on a key"),
        (
            "callboard_model_circuit_open",
            "1 while a provider is left alone because it failed again and again",
        ),
        (
            "callboard_model_limits_shared",
            "1 while the limits of keys are counted for all instances, 0 while each keeps to its share",
        ),
        ("callboard_model_key_requests", "calls of the last minute and under way"),
        (
            "callboard_model_key_requests_limit",
            "calls per minute of a key; 0 is no limit",
        ),
        ("callboard_model_key_tokens", "tokens of the last minute and under way"),
        (
            "callboard_model_key_tokens_limit",
            "tokens per minute of a key; 0 is no limit",
        ),
        ("callboard_model_key_calls", "calls under way"),
        (
            "callboard_model_key_calls_limit",
            "calls under way of a key; 0 is no limit",
        ),
        (
            "callboard_model_key_cooling_seconds",
            "how long a key still rests after a 429",
        ),
        (
            "callboard_model_key_refused_seconds",
            "how long a key is still set aside because the provider refused it",
        ),
        ("callboard_model_key_recent_calls", "calls of the last five minutes"),
        (
            "callboard_model_key_recent_failures",
            "those of them that failed by the fault of the provider or the key",
        ),
        (
            "callboard_model_key_recent_rate_limited",
            "those of them that were answered 429",
        ),
    ] {
        describe_gauge!(name, meaning);
    }
}

/// What tests hear of the log.
#[cfg(test)]
pub(crate) mod testing {
    use std::io;
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use tracing::Dispatch;
    use tracing::subscriber::DefaultGuard;
    use tracing_subscriber::util::SubscriberInitExt;

    use super::filter_of;

    /// Hears of everything and writes nothing. While there is but one subscriber, another thread that comes to a log line first and has none
    /// would switch that line off for all.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();

    /// All that this thread logs until it is dropped.
    pub(crate) struct LogCapture {
        written: Written,
        _guard: DefaultGuard,
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl LogCapture {
        pub(crate) fn start(filter: &str) -> Self {
            SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
            let written = Written::default();
            let writer = written.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_env_filter(filter_of(filter).expect("a filter"))
                .with_ansi(false)
                .with_writer(move || writer.clone())
                .finish();
            Self {
                written,
                _guard: subscriber.set_default(),
            }
        }

        pub(crate) fn text(&self) -> String {
            let bytes = self.written.0.lock().unwrap_or_else(PoisonError::into_inner);
            String::from_utf8_lossy(&bytes).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn seconds_have_buckets() {
        let recorder = prometheus_builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("callboard_run_start_seconds").record(0.003);
        });
        let text = recorder.handle().render();
        assert!(
            text.contains("callboard_run_start_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
    }
}
