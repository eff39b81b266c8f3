//! The sections of `config.toml` as types. What each key means, its unit and its default stand in that file; the docs here say
//! what the code needs beyond that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::ledger::TierQuota;
use callboard_actors::llm::AccountBudget;
use serde::Deserialize;

use super::tools::{DatabaseTable, SearchTable};
use super::values;

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
    /// The model of a run that names none; it exists in [`super::Config::models`].
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

/// `[store]`: the database.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The environment variable that holds the URL of a PostgreSQL database; `None` is the SQLite file.
    #[serde(deserialize_with = "values::text_or_none")]
    pub postgres_url_env: Option<String>,
    /// PostgreSQL: connections that write.
    pub postgres_writers: u32,
    /// The SQLite file.
    pub path: PathBuf,
    /// When a commit counts as done.
    pub synchronous: Synchronous,
    /// SQLite: connections that read.
    pub readers: u32,
    /// Writes per commit, at most.
    pub commit_batch: usize,
    /// Writes that wait for their commit, at most.
    pub queue: usize,
    /// How long a read waits for a free connection.
    #[serde(deserialize_with = "values::duration")]
    pub acquire_timeout: Duration,
    /// How long a write waits for another process that writes.
    #[serde(deserialize_with = "values::duration")]
    pub busy_timeout: Duration,
    /// How long a start waits for another server to let go of the file.
    #[serde(deserialize_with = "values::duration")]
    pub lock_timeout: Duration,
    /// Connections per concurrent run.
    pub connections_per_run: u32,
    /// What the product of runs and connections per run is multiplied with.
    pub connection_headroom: f64,
    /// Connections at most, as far as the formula goes.
    pub connections_ceiling: u32,
    /// Connections, instead of the formula.
    #[serde(deserialize_with = "values::number_or_none")]
    pub max_connections: Option<u32>,
}

/// When a commit of SQLite counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// It is on the disk: it survives a power cut.
    Full,
    /// The operating system has it: it survives a crash of the process.
    Normal,
}

/// `[events]`: the event log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsConfig {
    /// What a crash can take.
    pub durability: EventDurability,
    /// The least time between two commits of a run's text with [`EventDurability::Strict`]; zero commits each piece at once.
    #[serde(deserialize_with = "values::duration")]
    pub strict_delta_interval: Duration,
    /// How long shown text may be unwritten with [`EventDurability::Relaxed`].
    #[serde(deserialize_with = "values::duration")]
    pub relaxed_flush_interval: Duration,
    /// Bytes of a run's events that may wait for their commit before the model's stream is held up.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_unwritten: usize,
    /// Bytes of events in memory per run.
    #[serde(deserialize_with = "values::memory_size")]
    pub memory_per_run: usize,
    /// Bytes of events in memory in all.
    #[serde(deserialize_with = "values::memory_size")]
    pub memory_total: usize,
    /// How long a run's events stay in memory after its end.
    #[serde(deserialize_with = "values::duration")]
    pub linger_after_end: Duration,
    /// Bytes that a reader takes from the store at a time.
    #[serde(deserialize_with = "values::memory_size")]
    pub read_chunk: usize,
    /// How long after a run's end its events are archived.
    #[serde(deserialize_with = "values::duration")]
    pub archive_after: Duration,
    /// How long after a run's end its events are kept; `None` is for ever.
    #[serde(deserialize_with = "values::duration_or_none")]
    pub history_retention: Option<Duration>,
    /// The environment variable that holds Redis's URL, or those of several nodes of a Cluster; `None` is no Redis.
    #[serde(deserialize_with = "values::text_or_none")]
    pub redis_url_env: Option<String>,
    /// Whether a single URL is that of a Cluster.
    pub redis_cluster: bool,
    /// PEM file of the authority that signed Redis's certificate.
    #[serde(deserialize_with = "values::path_or_none")]
    pub redis_ca_file: Option<PathBuf>,
    /// What all keys and channels in Redis begin with.
    pub redis_key_prefix: String,
    /// How long a run's events stay in Redis after its end.
    #[serde(deserialize_with = "values::duration")]
    pub redis_kept_after_end: Duration,
    /// Events of one run within this time travel together.
    #[serde(deserialize_with = "values::duration")]
    pub redis_coalesce: Duration,
}

/// `[fleet]`: several instances on one PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetConfig {
    /// What this instance is called in lists; `None` is the machine's name and the port.
    #[serde(deserialize_with = "values::text_or_none")]
    pub name: Option<String>,
    /// Between two signs of life.
    #[serde(deserialize_with = "values::duration")]
    pub heartbeat: Duration,
    /// How long an instance is believed to live without one.
    #[serde(deserialize_with = "values::duration")]
    pub lease: Duration,
}

/// What a crash can take from a run's event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventDurability {
    /// Nothing that a client saw.
    Strict,
    /// Text that was shown but not written yet.
    Relaxed,
}

/// `[answer_cache]`: answers that are given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerCacheConfig {
    /// Bytes of all of them.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_size: usize,
}

/// `[files]`: uploaded files.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FilesConfig {
    /// The folder, if there is no bucket.
    pub path: PathBuf,
    /// The bucket.
    #[serde(deserialize_with = "values::text_or_none")]
    pub s3_bucket: Option<String>,
    /// The URL of its service; `None` is Amazon's.
    #[serde(deserialize_with = "values::text_or_none")]
    pub s3_endpoint: Option<String>,
    /// Where it is.
    pub s3_region: String,
    /// What the names of all objects begin with.
    pub s3_prefix: String,
    /// The environment variable that holds the id of its key.
    #[serde(deserialize_with = "values::text_or_none")]
    pub s3_access_key_id_env: Option<String>,
    /// The environment variable that holds its key.
    #[serde(deserialize_with = "values::text_or_none")]
    pub s3_secret_access_key_env: Option<String>,
    /// Bytes of a file.
    #[serde(deserialize_with = "values::size")]
    pub max_file: u64,
    /// Files of an account.
    pub max_files_per_account: u64,
    /// Bytes of an account's files.
    #[serde(deserialize_with = "values::size")]
    pub max_bytes_per_account: u64,
    /// Uploads at once.
    pub max_uploads: usize,
    /// Those of one account.
    pub max_uploads_per_account: usize,
    /// Downloads at once.
    pub max_downloads: usize,
    /// Those of one account.
    pub max_downloads_per_account: usize,
    /// How long an upload may take.
    #[serde(deserialize_with = "values::duration")]
    pub upload_timeout: Duration,
    /// Bytes of a picture that a model is shown.
    #[serde(deserialize_with = "values::size")]
    pub max_image: u64,
    /// Bytes of all pictures of one model call, as they are sent.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_images_per_call: usize,
    /// Pictures of one model call.
    pub max_image_count: usize,
}

/// `[tools.documents]`: text of documents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentsConfig {
    /// Bytes of a document.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
    /// Bytes of memory of the process that reads one.
    #[serde(deserialize_with = "values::size")]
    pub max_memory: u64,
    /// How long it may take.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
}

/// `[tools]`: tool calls.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsConfig {
    /// Names of the tools that runs may name.
    pub enabled: Vec<String>,
    /// How long a call may take.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
    /// How long a person may take to approve a call; `None` is as long as the run may take.
    #[serde(deserialize_with = "values::duration_or_none")]
    pub approval_deadline: Option<Duration>,
    /// Bytes of an output that are kept.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_output: usize,
    /// Calls of one run that run at once.
    pub max_parallel: usize,
    /// Calls that one answer of a model may ask for.
    pub max_calls_per_answer: usize,
    /// Bytes of memory for declared tools that are kept ready.
    #[serde(deserialize_with = "values::memory_size")]
    pub declared_cache: usize,
    /// Text of documents.
    pub documents: DocumentsConfig,
    /// Limits of the server's own tools, by name.
    #[serde(default)]
    pub limits: BTreeMap<String, ToolLimitsConfig>,
    /// The search endpoint as it is written; [`super::Config::search`] is what it comes to.
    #[serde(default)]
    pub search: Option<SearchTable>,
    /// Databases as they are written; [`super::Config::databases`] is what they come to.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseTable>,
}

/// `[tools.limits.<name>]`: what a tool of the server keeps to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolLimitsConfig {
    /// How long a call may take, if less than [`ToolsConfig::timeout`].
    #[serde(deserialize_with = "values::optional_duration")]
    pub timeout: Option<Duration>,
    /// Calls that are made at once, of all runs of this instance.
    pub max_concurrent: Option<u32>,
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
