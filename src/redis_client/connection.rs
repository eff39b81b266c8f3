//! Connections to one Redis or to a Cluster, behind one type.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, IntoConnectionInfo, Pipeline, RedisError, RedisFuture, TlsCertificates, Value,
};
use secrecy::{ExposeSecret, SecretString};

use super::address::{RedisAddress, RedisConnectOptions, RedisSetupError};

/// How to reach Redis.
pub(crate) struct Endpoint {
    commands: CommandClient,
    /// Where subscriptions can be made: in a Cluster any node hears what is published at any other.
    nodes: Vec<Client>,
    config: AsyncConnectionConfig,
}

enum CommandClient {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
}

/// A connection for commands; clones share it, and their commands are pipelined.
#[derive(Clone)]
pub(crate) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Endpoint {
    /// Reads the addresses; connects to nothing.
    pub(crate) fn new(options: &RedisConnectOptions) -> Result<Self, RedisSetupError> {
        let root_cert = match &options.ca_file {
            None => None,
            Some(path) => Some(std::fs::read(path).map_err(|error| RedisSetupError::CaFile {
                path: path.clone(),
                error,
            })?),
        };
        let certificates = root_cert.map(|root_cert| TlsCertificates {
            client_tls: None,
            root_cert: Some(root_cert),
        });
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout));
        let (commands, nodes) = match &options.address {
            RedisAddress::Single(url) => {
                let client = open(url, certificates.as_ref())?;
                (CommandClient::Single(Box::new(client.clone())), vec![client])
            }
            RedisAddress::Cluster(urls) => {
                let nodes = urls
                    .iter()
                    .map(|url| open(url, certificates.as_ref()))
                    .collect::<Result<Vec<Client>, _>>()?;
                if nodes.is_empty() {
                    return Err(RedisSetupError::NoNodes);
                }
                let addresses = urls.iter().map(ExposeSecret::expose_secret);
                let mut builder = ClusterClient::builder(addresses)
                    .connection_timeout(options.connect_timeout)
                    .response_timeout(options.response_timeout);
                if let Some(certificates) = certificates {
                    builder = builder.certs(certificates);
                }
                let client = builder.build().map_err(setup)?;
                (CommandClient::Cluster(Box::new(client)), nodes)
            }
        };
        Ok(Self {
            commands,
            nodes,
            config,
        })
    }

    /// A new connection for commands.
    pub(crate) async fn connect(&self) -> Result<Connection, RedisError> {
        match &self.commands {
            CommandClient::Single(client) => {
                let connection = client
                    .get_multiplexed_async_connection_with_config(&self.config)
                    .await?;
                Ok(Connection::Single(connection))
            }
            CommandClient::Cluster(client) => Ok(Connection::Cluster(client.get_async_connection().await?)),
        }
    }

    /// A new connection for subscriptions, at another node with each attempt.
    pub(crate) async fn connect_for_subscriptions(&self, attempt: usize) -> Result<PubSub, RedisError> {
        self.nodes[attempt % self.nodes.len()].get_async_pubsub().await
    }
}

/// Whether connections could be made to there, whether anybody answers or not.
pub(crate) fn check_setup(address: RedisAddress, ca_file: Option<PathBuf>) -> Result<(), RedisSetupError> {
    let options = RedisConnectOptions {
        address,
        ca_file,
        // Nobody connects.
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
    };
    Endpoint::new(&options).map(drop)
}

fn open(url: &SecretString, certificates: Option<&TlsCertificates>) -> Result<Client, RedisSetupError> {
    let url = url.expose_secret().trim();
    let info = url.into_connection_info().map_err(|_| RedisSetupError::Url)?;
    let client = match certificates {
        Some(certificates) if url.starts_with("rediss:") => Client::build_with_tls(info, certificates.clone()),
        _ => Client::open(info),
    };
    client.map_err(setup)
}

/// The kind of error only: details may repeat an address.
fn setup(error: RedisError) -> RedisSetupError {
    RedisSetupError::Setup(error.category().to_owned())
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Single(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Single(connection) => connection.req_packed_commands(commands, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Single(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
