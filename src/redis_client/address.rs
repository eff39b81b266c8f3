//! Where Redis is, and why it may be impossible to go there.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

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

/// How to connect.
#[derive(Debug, Clone)]
pub(crate) struct RedisConnectOptions {
    pub(crate) address: RedisAddress,
    /// PEM file of the authority that signed the server's certificate; `None`: those that the machine trusts.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) connect_timeout: Duration,
    /// How long a command may take before the connection is suspected.
    pub(crate) response_timeout: Duration,
}

/// Why an adapter that needs Redis cannot be made. A server that does not answer is none of these: it may come.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
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
