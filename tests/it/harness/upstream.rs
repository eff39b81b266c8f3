//! `callboard simulate-llm`: a provider in a process of its own.

use serde_json::Value;

use super::binary;
use crate::rig;

/// A simulated provider over HTTP.
pub(crate) struct Upstream(rig::Upstream);

impl Upstream {
    pub(crate) async fn start() -> Self {
        Self(rig::Upstream::start(&binary()).await.unwrap())
    }

    /// The configuration of a server whose default model asks this provider.
    pub(crate) fn settings(&self) -> String {
        self.0.settings()
    }

    /// The calls so far, oldest first: `run`, `attempt`, `received_at_us`.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        self.0.calls().await.unwrap()
    }

    /// Waits until so many calls are being answered.
    pub(crate) async fn until_open(&self, count: u64) {
        self.0.until_open(count).await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.0.stop().await.unwrap();
    }
}
