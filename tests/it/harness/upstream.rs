//! `callboard simulate-llm`: a provider in a process of its own.

use serde_json::Value;
use tempfile::TempDir;

use super::process::Process;
use super::{Client, until_some};

/// A simulated provider over HTTP.
pub(crate) struct Upstream {
    process: Process,
    _directory: TempDir,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::start(directory.path(), &[], &["simulate-llm", "--port", "0"]).await;
        Self {
            process,
            _directory: directory,
        }
    }

    /// The configuration of a server whose default model asks this provider.
    pub(crate) fn settings(&self) -> String {
        let url = &self.process.url;
        format!(
            "[models.upstream]\nprovider = \"openai\"\nbase_url = \"{url}/v1\"\nupstream_model = \"simulated\"\n\
             backoff_initial = \"10ms\"\nbackoff_maximum = \"1s\"\n[runs]\ndefault_model = \"upstream\"\n"
        )
    }

    fn client(&self) -> Client {
        Client::new(&self.process.url, None)
    }

    /// The calls so far, oldest first: `run`, `attempt`, `received_at_us`.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        let journal = self.client().get("/journal").await.expect_status(200);
        journal["calls"].as_array().unwrap().clone()
    }

    /// Waits until so many calls are being answered.
    pub(crate) async fn until_open(&self, count: u64) {
        let client = self.client();
        until_some("the provider's open calls", || async {
            let stats = client.get("/stats").await.expect_status(200);
            (stats["open"].as_u64() == Some(count)).then_some(())
        })
        .await;
    }

    pub(crate) async fn stop(self) {
        self.process.kill().await;
    }
}
