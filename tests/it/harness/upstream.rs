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

    /// One that keeps to these settings (TOML): keys, limits, troubles.
    pub(crate) async fn start_as(settings: &str) -> Self {
        Self(rig::Upstream::start_as(&binary(), settings).await.unwrap())
    }

    /// `[providers.NAME]` that is this one, with these keys beside its address.
    pub(crate) fn as_provider(&self, name: &str, dialect: &str, more: &str) -> String {
        let url = self.0.url();
        format!("[providers.{name}]\ndialect = \"{dialect}\"\nbase_url = \"{url}/v1\"\n{more}\n")
    }

    /// Takes the key that ends in these four characters no more.
    pub(crate) async fn refuse_key(&self, ending: &str) {
        self.0.refuse_key(ending).await.unwrap();
    }

    /// Has these troubles from now on, instead of those it had.
    pub(crate) async fn set_troubles(&self, troubles: Value) {
        self.0.set_troubles(&troubles).await.unwrap();
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
