//! `[server]`, `[capacity]`, `[queue]`, `[runs]`, `[tiers]` and `[log]`: what the server takes on, and from whom.

use std::net::SocketAddr;
use std::time::Duration;

use callboard_actors::ledger::TierQuota;
use callboard_actors::llm::AccountBudget;
use serde::Deserialize;

use crate::config::values;

/// `[server]`: the HTTP side.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// Where to listen.
    pub bind: SocketAddr,
    /// HTTP worker threads; 0 is one per CPU.
    pub workers: usize,
    /// Connections that wait to be accepted.
    pub backlog: u32,
    /// Open connections, of all workers together.
    pub max_connections: usize,
    /// Bytes of a request's body.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_body: usize,
    /// Bytes of a request's header names and values together.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_headers: usize,
    /// How long an idle connection is kept.
    #[serde(deserialize_with = "values::duration")]
    pub keep_alive: Duration,
    /// How long a client may take to send its request's head, and again its body.
    #[serde(deserialize_with = "values::duration")]
    pub client_request_timeout: Duration,
    /// Silence after which an event stream carries a comment.
    #[serde(deserialize_with = "values::duration")]
    pub heartbeat_interval: Duration,
    /// Longest `?wait=`.
    #[serde(deserialize_with = "values::duration")]
    pub max_long_poll: Duration,
    /// How long a cancel waits for its run to end.
    #[serde(deserialize_with = "values::duration")]
    pub cancel_timeout: Duration,
    /// How long runs may finish after the server was told to stop.
    #[serde(deserialize_with = "values::duration")]
    pub shutdown_grace: Duration,
    /// How long an Idempotency-Key is remembered.
    #[serde(deserialize_with = "values::duration")]
    pub idempotency_retention: Duration,
    /// Entries of a page when the client does not say.
    pub page_default: u32,
    /// Entries of a page at most.
    pub page_maximum: u32,
    /// Bytes beyond which a page of a list ends.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_page: usize,
}

impl ServerConfig {
    /// Whether only this machine can reach the server: the rule for a server without API keys.
    pub fn is_loopback(&self) -> bool {
        // `::ffff:127.0.0.1` is loopback too.
        self.bind.ip().to_canonical().is_loopback()
    }
}

/// `[capacity]`: how much this instance takes on. The formulas are [`callboard_actors::capacity`]'s.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CapacityConfig {
    /// Concurrent runs per CPU.
    pub runs_per_cpu: u32,
    /// Bytes of memory per run.
    #[serde(deserialize_with = "values::size")]
    pub memory_per_run: u64,
    /// Concurrent runs at most, as far as the formula goes.
    pub ceiling: u32,
    /// Concurrent runs, instead of the formula.
    #[serde(deserialize_with = "values::number_or_none")]
    pub max_concurrent_runs: Option<u32>,
    /// Bytes that a run of Callboard itself was measured to need; only the planner shows it.
    #[serde(deserialize_with = "values::size")]
    pub measured_memory_per_run: u64,
    /// Threads for blocking work, at least.
    pub blocking_threads_minimum: u32,
    /// Threads that run the actors of runs; 0 is one per CPU.
    pub arbiters: usize,
    /// Threads of the I/O runtime; 0 is one per CPU.
    pub io_threads: usize,
    /// Messages that wait for the supervisor.
    pub supervisor_mailbox: usize,
}

/// `[queue]`: runs that wait.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueConfig {
    /// Runs that wait, of all accounts together.
    pub max_queued: u64,
    /// How long a run may wait for its first start; `None` is for ever.
    #[serde(deserialize_with = "values::duration_or_none")]
    pub deadline: Option<Duration>,
    /// How often, at most, a waiting run's log tells its position.
    #[serde(deserialize_with = "values::duration")]
    pub position_interval: Duration,
}

/// `[runs]`: what a client may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunsConfig {
    /// The model of a run that names none; it exists in [`crate::config::Config::models`].
    pub default_model: String,
    /// Bytes of text in the input, all items together.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_input: usize,
    /// Bytes of the instructions.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_instructions: usize,
    /// Items of the input.
    pub max_input_items: usize,
    /// Parts of the messages of the input, all together.
    pub max_input_parts: usize,
    /// Bytes of text of a thread's earlier turns that a run goes on with.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_history: usize,
    /// Tools that a run may name.
    pub max_tools: usize,
    /// Pairs of metadata.
    pub max_metadata_entries: usize,
    /// Bytes of a metadata name.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_metadata_key: usize,
    /// Bytes of a metadata value.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_metadata_value: usize,
    /// Model calls when the client does not say.
    pub max_steps_default: u32,
    /// Model calls at most.
    pub max_steps_maximum: u32,
    /// Output tokens when the client does not say; `None` leaves it to the model.
    #[serde(deserialize_with = "values::number_or_none")]
    pub max_output_tokens_default: Option<u64>,
    /// Output tokens at most; `None` is no limit.
    #[serde(deserialize_with = "values::number_or_none")]
    pub max_output_tokens_maximum: Option<u64>,
    /// Bytes of one answer of a model.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_answer: usize,
    /// How often a run is taken over after a crash without having got a step further; `None` is as often as it takes.
    #[serde(deserialize_with = "values::number_or_none")]
    pub max_recoveries: Option<u32>,
    /// From the first start to the end, when the client does not say.
    #[serde(deserialize_with = "values::duration")]
    pub deadline_default: Duration,
    /// From the first start to the end, at most.
    #[serde(deserialize_with = "values::duration")]
    pub deadline_maximum: Duration,
}

/// `[tiers.<name>]`: what each account of a tier may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TierConfig {
    /// Runs in `running` at once; `None` leaves it to the capacity.
    pub concurrent_runs: Option<u32>,
    /// Runs in the queue at once; `None` leaves it to [`QueueConfig::max_queued`].
    pub queued_runs: Option<u64>,
    /// HTTP requests per second in the long run; `None` is no limit.
    pub requests_per_second: Option<u32>,
    /// HTTP requests that may come at once; at least 1 where there is a rate.
    pub burst: u32,
    /// What model calls may use; `None` is no limit.
    pub budget: Option<AccountBudget>,
}

impl TierConfig {
    /// The part that the ledger and the queue care about.
    pub fn quota(&self) -> TierQuota {
        TierQuota {
            concurrent_runs: self.concurrent_runs,
            queued_runs: self.queued_runs,
        }
    }
}

/// `[log]`: what is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level, or directives of tracing's `EnvFilter`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// What a log line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
