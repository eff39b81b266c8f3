//! `callboard simulate-llm`: a provider in a process of its own, which remembers who called it.

use anyhow::Context;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::binary::{Binary, ServerProcess};
use super::client::{Client, until_some};

/// A simulated provider over HTTP. It ends with this value.
pub(crate) struct Upstream {
    server: ServerProcess,
    _directory: TempDir,
}

impl Upstream {
    pub(crate) async fn start(binary: &Binary) -> anyhow::Result<Self> {
        Self::start_as(binary, "").await
    }

    /// One that keeps to these settings (TOML): keys, limits, troubles.
    pub(crate) async fn start_as(binary: &Binary, settings: &str) -> anyhow::Result<Self> {
        const SETTINGS: &str = "simulate.toml";
        let directory = tempfile::tempdir()?;
        std::fs::write(directory.path().join(SETTINGS), settings)?;
        let arguments = ["simulate-llm", "--port", "0", "--settings", SETTINGS];
        let starting = binary.start("simulate-llm", directory.path(), &[], &arguments);
        Ok(Self {
            server: starting.await?,
            _directory: directory,
        })
    }

    /// `http://ADDRESS:PORT`.
    pub(crate) fn url(&self) -> &str {
        &self.server.url
    }

    /// The configuration of servers whose default model asks this provider.
    pub(crate) fn settings(&self) -> String {
        let url = &self.server.url;
        format!(
            "[models.upstream]\nprovider = \"openai\"\nbase_url = \"{url}/v1\"\nupstream_model = \"simulated\"\n\
             backoff_initial = \"10ms\"\nbackoff_maximum = \"1s\"\n[runs]\ndefault_model = \"upstream\"\n"
        )
    }

    /// The calls so far, oldest first: `run`, `attempt`, `received_at_us`.
    pub(crate) async fn calls(&self) -> anyhow::Result<Vec<Value>> {
        let journal = self.client()?.get_raw("/journal").await?.success()?;
        Ok(journal["calls"].as_array().context("a journal without calls")?.clone())
    }

    /// Takes the key that ends in these four characters no more.
    pub(crate) async fn refuse_key(&self, ending: &str) -> anyhow::Result<()> {
        let path = format!("/admin/keys/{ending}");
        let changed = self.client()?.post_raw(&path, &json!({"refused": true})).await?;
        changed.success()?;
        Ok(())
    }

    /// Has these troubles from now on, instead of those it had.
    pub(crate) async fn set_troubles(&self, troubles: &Value) -> anyhow::Result<()> {
        self.client()?.post_raw("/admin/troubles", troubles).await?.success()?;
        Ok(())
    }

    /// How many calls are being answered.
    pub(crate) async fn open_calls(&self) -> anyhow::Result<u64> {
        let stats = self.client()?.get_raw("/stats").await?.success()?;
        stats["open"].as_u64().context("stats without open calls")
    }

    /// Waits until so many calls are being answered.
    pub(crate) async fn until_open(&self, count: u64) -> anyhow::Result<()> {
        let client = self.client()?;
        until_some("the provider's open calls", || async {
            let stats = client.get_raw("/stats").await.ok()?.success().ok()?;
            (stats["open"].as_u64() == Some(count)).then_some(())
        })
        .await
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.server.process.kill().await
    }

    fn client(&self) -> anyhow::Result<Client> {
        Client::new(&self.server.url, None)
    }
}
