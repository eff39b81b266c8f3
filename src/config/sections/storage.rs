//! `[store]`, `[events]`, `[fleet]`, `[answer_cache]` and `[files]`: what is kept, and where.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::config::values;

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

/// What a crash can take from a run's event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventDurability {
    /// Nothing that a client saw.
    Strict,
    /// Text that was shown but not written yet.
    Relaxed,
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
