//! An HTTP client of the API of one server.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::reader::EventReader;
use super::{PATIENCE, patiently};

/// A client of one server, perhaps with a key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Reply {
    /// The body, if the status is one of success.
    pub(crate) fn success(&self) -> anyhow::Result<Value> {
        if !self.status.is_success() {
            bail!("{}: {}", self.status, self.text);
        }
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {:?}", self.text))
    }

    /// `error.code`; nothing if it is no error.
    pub(crate) fn error_code(&self) -> Option<String> {
        let body: Value = serde_json::from_str(&self.text).ok()?;
        Some(body["error"]["code"].as_str()?.to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Client {
    pub(crate) fn new(url: &str, key: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self::sharing(http_client()?, url, key))
    }

    /// One that uses the connections of another.
    pub(super) fn sharing(http: reqwest::Client, url: &str, key: Option<&str>) -> Self {
        Self {
            http,
            url: url.to_owned(),
            key: key.map(str::to_owned),
        }
    }

    /// A request that is not sent yet.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<Reply> {
        let response = request.timeout(PATIENCE).send().await?;
        Ok(Reply {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await?,
        })
    }

    /// Asks for something.
    pub(crate) async fn get_raw(&self, path: &str) -> reqwest::Result<Reply> {
        Self::send(self.request(Method::GET, path)).await
    }

    /// Posts a body.
    pub(crate) async fn post_raw(&self, path: &str, body: &Value) -> reqwest::Result<Reply> {
        Self::send(self.request(Method::POST, path).json(body)).await
    }

    /// Asks for a run to be cancelled.
    pub(crate) async fn cancel_raw(&self, run: &str) -> reqwest::Result<Reply> {
        self.post_raw(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await
    }

    /// Opens the run's event stream above `after`; one that is silent for so long is an error. `None` if there is nothing more to read
    /// (204); an error status is an [`OpenError::Refused`].
    pub(crate) async fn open_events(
        &self,
        run: &str,
        after: Option<u64>,
        longest_silence: Duration,
    ) -> Result<Option<EventReader>, OpenError> {
        let mut request = self.request(Method::GET, &format!("/api/v1/runs/{run}/events"));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = tokio::time::timeout(longest_silence, request.send()).await;
        let response = response.map_err(|_| OpenError::Silent(longest_silence))??;
        match response.status().as_u16() {
            200 => Ok(Some(EventReader::new(response, longest_silence))),
            204 => Ok(None),
            status => Err(OpenError::Refused(status, response.text().await?)),
        }
    }
}

/// Why an event stream did not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// No connection, or it broke.
    #[error("no answer: {0}")]
    Unreachable(#[from] reqwest::Error),
    /// No answer came.
    #[error("no answer for {0:?}")]
    Silent(Duration),
    /// An answer with this status and text.
    #[error("refused with {0}: {1}")]
    Refused(u16, String),
}

/// Connections to servers of this machine, whatever proxies the environment names.
pub(super) fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build().context("no HTTP client")
}

pub(crate) fn is_terminal(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("completed" | "failed" | "cancelled"))
}

/// Asks until the answer is `Some`. For what no event tells of; each question is a request, so this does not spin.
pub(crate) async fn until_some<T, Asking>(what: &str, mut ask: impl FnMut() -> Asking) -> anyhow::Result<T>
where
    Asking: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    patiently(what, asking).await
}
