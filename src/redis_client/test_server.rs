//! Redis servers for tests: those that the environment names, and own ones that can be stopped and come back.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use secrecy::SecretString;
use tempfile::TempDir;

use super::RedisAddress;

const SINGLE: &str = "CALLBOARD_TEST_REDIS_URL";
const CLUSTER: &str = "CALLBOARD_TEST_REDIS_CLUSTER_URLS";

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: these tests need Redis, run them with `scripts/with-services cargo test …`")
    })
}

pub(crate) fn single() -> RedisAddress {
    RedisAddress::Single(variable(SINGLE).into())
}

pub(crate) fn cluster() -> RedisAddress {
    let urls = variable(CLUSTER);
    RedisAddress::Cluster(urls.split(',').map(SecretString::from).collect())
}

/// A `redis-server` of its own on a free port. What it has survives [`OwnServer::stop`] only if it keeps an append-only file.
pub(crate) struct OwnServer {
    pub(crate) port: u16,
    folder: TempDir,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl OwnServer {
    /// One that forgets everything when it stops.
    pub(crate) async fn forgetful() -> Self {
        Self::start(&["--appendonly", "no"]).await
    }

    /// One that remembers everything when it stops.
    pub(crate) async fn lasting() -> Self {
        Self::start(&["--appendonly", "yes", "--appendfsync", "always"]).await
    }

    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        drop(listener);
        let mut server = Self {
            port,
            folder: TempDir::new().expect("a folder"),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            process: None,
        };
        server.run().await;
        server
    }

    /// Starts it (again), and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let port = self.port.to_string();
        let process = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", ""])
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: run scripts/with-services cargo test …");
        self.process = Some(process);
        let client = redis::Client::open(self.url()).expect("a good URL");
        tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let answer = match client.get_multiplexed_async_connection().await {
                    Ok(mut connection) => redis::cmd("PING").exec_async(&mut connection).await,
                    Err(error) => Err(error),
                };
                // Refused for want of a password is an answer.
                let answers = answer.map_or_else(|error| error.code().is_some_and(|code| code != "LOADING"), |()| true);
                if answers {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the server starts");
    }

    /// Kills it, as a power cut does.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it is there");
            process.wait().expect("it goes");
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn address(&self) -> RedisAddress {
        RedisAddress::Single(self.url().into())
    }

    /// A connection that asks questions beside the log.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a good URL");
        client.get_multiplexed_async_connection().await.expect("it answers")
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        self.stop();
    }
}
