//! A Redis of its own, which can be killed, frozen and started again.

use std::path::PathBuf;

use anyhow::{Context, bail};
use tempfile::TempDir;
use tokio::process::Command;

use super::certificates::Certificates;
use super::process::Process;
use super::services::free_port;

/// What a Redis has after it was killed and started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RedisMemory {
    /// Nothing.
    Forgets,
    /// Everything that it ever answered.
    Keeps,
}

/// A Redis (or Valkey) in a temporary folder. It ends with this value.
pub(crate) struct Redis {
    process: Option<Process>,
    memory: RedisMemory,
    /// With which certificate it speaks TLS, and nothing else.
    tls: Option<Certificates>,
    port: u16,
    // After the process: it goes when that is gone.
    folder: TempDir,
}

impl Redis {
    pub(crate) async fn start(memory: RedisMemory) -> anyhow::Result<Self> {
        Self::start_as(memory, None).await
    }

    pub(crate) async fn start_with_tls(memory: RedisMemory, certificates: Certificates) -> anyhow::Result<Self> {
        Self::start_as(memory, Some(certificates)).await
    }

    async fn start_as(memory: RedisMemory, tls: Option<Certificates>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("callboard-redis-").tempdir()?;
        let mut redis = Self {
            process: None,
            memory,
            tls,
            port: 0,
            folder,
        };
        for _ in 0..5 {
            redis.port = free_port()?;
            match redis.run().await {
                Err(error) if format!("{error:?}").contains("Failed listening on port") => {}
                started => return started.map(|()| redis),
            }
        }
        bail!("no port for Redis: others took each one that was free")
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}/", self.port)
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("Redis is not running")?.kill().await
    }

    /// Starts it again after [`Redis::kill`], at the same address, and waits until it answers.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let mut server = Command::new(program()?);
        let keeps = if self.memory == RedisMemory::Keeps { "yes" } else { "no" };
        let port = self.port.to_string();
        match &self.tls {
            None => server.args(["--port", &port]),
            Some(certificates) => server
                .args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "no"])
                .arg("--tls-cert-file")
                .arg(&certificates.certificate)
                .arg("--tls-key-file")
                .arg(&certificates.key)
                .arg("--tls-ca-cert-file")
                .arg(&certificates.authority),
        };
        server
            .args(["--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", keeps, "--appendfsync", "always", "--dir"])
            .arg(self.folder.path());
        let mut process = Process::start("Redis", server)?;
        let ready = |printed: &str| printed.contains("eady to accept connections").then_some(());
        process.until_printed("its readiness", ready).await?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) async fn restart(&mut self) -> anyhow::Result<()> {
        self.kill().await?;
        self.run().await
    }

    /// SIGSTOP: connections stay, nothing is answered.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("Redis is not running")?.pause()
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        self.process.as_ref().context("Redis is not running")?.go_on()
    }

    /// Connections that clients have, this question's own not counted.
    pub(crate) async fn connections(&self) -> anyhow::Result<usize> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await?;
        Ok(list.lines().count().saturating_sub(1))
    }

    /// Removes all keys.
    pub(crate) async fn flush(&self) -> anyhow::Result<()> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd("FLUSHALL").exec_async(&mut connection).await?;
        Ok(())
    }
}

fn program() -> anyhow::Result<PathBuf> {
    if let Some(named) = std::env::var_os("CALLBOARD_TEST_REDIS_SERVER") {
        return Ok(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        for name in ["redis-server", "valkey-server"] {
            if folder.join(name).is_file() {
                return Ok(folder.join(name));
            }
        }
    }
    bail!("Redis is missing. Install it: apt-get install redis-server")
}
