//! What a Redis event log needs to know, and why it may refuse to start.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Handle;

/// Where Redis is. URLs may hold a user and a password, so they are never printed.
#[derive(Clone)]
pub enum RedisAddress {
    /// One server: `redis://[user:password@]host:port[/db]`, or `rediss://` for TLS.
    Single(SecretString),
    /// A Cluster: some of its nodes; the others are found through them. All URLs with the same user, password and scheme.
    Cluster(Vec<SecretString>),
}

impl fmt::Debug for RedisAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single(_) => formatter.write_str("Single(…)"),
            Self::Cluster(urls) => write!(formatter, "Cluster({} nodes)", urls.len()),
        }
    }
}

/// How events travel through Redis.
#[derive(Debug, Clone)]
pub struct RedisLogOptions {
    /// Where Redis is.
    pub address: RedisAddress,
    /// PEM file of the authority that signed the server's certificate; `None`: those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// What every key and channel begins with; fleets that share a Redis need different ones.
    pub key_prefix: String,
    /// How long a run's stream stays in Redis after the run's end.
    pub kept_after_end: Duration,
    /// How long a stream to which nothing is added stays, if its end never comes. Longer than any run is silent.
    pub kept_without_end: Duration,
    /// Events of one run within this time travel together; the first of them at once.
    pub coalesce: Duration,
    /// How often a run that is followed here and silent is compared with the store and Redis: a net below the subscription.
    pub check_interval: Duration,
    /// The same while Redis is away, when the store alone tells what is new.
    pub away_interval: Duration,
    /// How long an attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long a command may take before the connection is suspected.
    pub response_timeout: Duration,
    /// Where all input and output and all tasks run, whoever calls.
    pub runtime: Handle,
}

impl RedisLogOptions {
    /// The defaults.
    pub fn new(address: RedisAddress, runtime: Handle) -> Self {
        Self {
            address,
            ca_file: None,
            key_prefix: "callboard:".to_owned(),
            kept_after_end: Duration::from_secs(600),
            kept_without_end: Duration::from_secs(24 * 3600),
            coalesce: Duration::from_millis(4),
            check_interval: Duration::from_secs(30),
            away_interval: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(3),
            response_timeout: Duration::from_secs(3),
            runtime,
        }
    }
}

/// Why a Redis event log cannot be made. A server that does not answer is none of these: it may come.
#[derive(Debug, thiserror::Error)]
pub enum RedisLogError {
    /// The URL is none. Its text is left out, for it may hold a password.
    #[error("the Redis URL is not of the form redis://[user:password@]host:port[/db] or rediss://…")]
    Url,
    /// No address was given.
    #[error("a Redis Cluster needs the URL of at least one node")]
    NoNodes,
    /// The file with the authority's certificate cannot be read.
    #[error("the file {path} with the authority of Redis's certificate cannot be read: {error}")]
    CaFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// The certificates or the addresses do not fit together.
    #[error("the connection to Redis cannot be set up ({0})")]
    Setup(String),
}
