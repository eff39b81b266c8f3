//! A client of a fleet: asks one instance, and another if that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::addresses::{Address, Addresses};
use super::client::{Client, Reply, http_client, is_terminal};
use super::follower::Follower;
use super::patiently;

/// How long one instance may take to answer before another is asked.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// A client of whatever instance answers, as one behind a load balancer. It asks again what was refused for a reason that passes (5xx,
/// 429) or not answered at all, and gives starts an idempotency key so that it may. Cheap to clone.
#[derive(Clone)]
pub(crate) struct FleetClient {
    addresses: Addresses,
    http: reqwest::Client,
    key: Option<String>,
    turn: Arc<AtomicUsize>,
}

impl FleetClient {
    pub(super) fn new(addresses: Addresses, key: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            addresses,
            http: http_client()?,
            key: key.map(str::to_owned),
            turn: Arc::default(),
        })
    }

    /// Starts or queues a run and gives its id. Asked again or not, it is one run.
    pub(crate) async fn start(&self, body: &Value) -> anyhow::Result<String> {
        let key = uuid::Uuid::now_v7().to_string();
        self.start_as(&key, body).await
    }

    /// The same, under an idempotency key of the caller's.
    pub(crate) async fn start_as(&self, idempotency_key: &str, body: &Value) -> anyhow::Result<String> {
        let asking = |client: &Client| {
            let request = client.request(Method::POST, "/api/v1/runs").json(body);
            request
                .header("idempotency-key", idempotency_key)
                .timeout(LONGEST_ANSWER)
        };
        let run = self.until_answered("a run to be taken", asking).await?;
        Ok(run["id"].as_str().context("a run without an id")?.to_owned())
    }

    /// Starts or queues a run of the simulated model and gives its id.
    pub(crate) async fn start_simulated(&self, simulate: Value) -> anyhow::Result<String> {
        let body = json!({"input": "Go.", "model_options": {"simulate": simulate}});
        self.start(&body).await
    }

    /// The run as it is now.
    pub(crate) async fn run(&self, run: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/runs/{run}");
        self.get(&path).await
    }

    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let asking = |client: &Client| client.request(Method::GET, path).timeout(LONGEST_ANSWER);
        self.until_answered(path, asking).await
    }

    /// Posts a body. Asked again or not, it must come to the same.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let asking = |client: &Client| {
            let request = client.request(Method::POST, path).json(body);
            request.timeout(LONGEST_ANSWER)
        };
        self.until_answered(path, asking).await
    }

    /// The run once it has ended.
    pub(crate) async fn run_when_ended(&self, run: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/runs/{run}?wait=3");
        let waiting = async {
            loop {
                let run = self.get(&path).await?;
                if is_terminal(&run) {
                    return anyhow::Ok(run);
                }
            }
        };
        patiently(&format!("the end of {run}"), waiting).await?
    }

    /// Ends a run, and gives it as it is then.
    pub(crate) async fn cancel(&self, run: &str) -> anyhow::Result<Value> {
        let path = format!("/api/v1/runs/{run}/cancel");
        self.post(&path, &json!({})).await
    }

    /// The run's items, input first, of one page.
    pub(crate) async fn items(&self, run: &str) -> anyhow::Result<Vec<Value>> {
        let page = self.get(&format!("/api/v1/runs/{run}/items?limit=1000")).await?;
        Ok(page["data"].as_array().context("a page without data")?.clone())
    }

    /// Follows a run to its end, across instances.
    pub(crate) fn follower(&self, run: &str) -> Follower {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        Follower::new(self.clone(), run, turn)
    }

    pub(super) const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// A client of one instance.
    pub(super) fn client_of(&self, address: &Address) -> Client {
        Client::sharing(self.http.clone(), &address.url, self.key.as_deref())
    }

    /// Asks the instances in turn until one says yes; an error if one says no for good.
    async fn until_answered(&self, what: &str, asking: impl Fn(&Client) -> RequestBuilder) -> anyhow::Result<Value> {
        let mut last_refusal = String::from("nobody listened");
        let asked = async {
            loop {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let Some(address) = self.addresses.in_turn(turn) else {
                    self.addresses.pause().await;
                    continue;
                };
                match Client::send(asking(&self.client_of(&address))).await {
                    Ok(reply) if may_pass(&reply) => last_refusal = format!("{}: {}", address.name, reply.text),
                    Ok(reply) => return reply.success().with_context(|| format!("{what}, of {}", address.name)),
                    Err(error) => last_refusal = format!("{}: {error:?}", address.name),
                }
                self.addresses.pause().await;
            }
        };
        match patiently(what, asked).await {
            Ok(answered) => answered,
            Err(error) => bail!("{error}; the last answer: {last_refusal}"),
        }
    }
}

fn may_pass(reply: &Reply) -> bool {
    reply.status.is_server_error() || matches!(reply.status.as_u16(), 408 | 429)
}
