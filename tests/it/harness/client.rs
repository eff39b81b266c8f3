//! An HTTP client of the API.

use reqwest::header::HeaderMap;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::reader::EventReader;
use super::{patiently, until_some};

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
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.text))
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub(crate) fn expect_status(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.json()
    }

    /// The error, if it has this status and code. Checks what every error has.
    #[track_caller]
    pub(crate) fn expect_error(&self, status: u16, code: &str) -> Value {
        let error = self.expect_status(status)["error"].clone();
        assert_eq!(error["code"], code, "{error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{error}");
        let request_id = self.header("x-request-id");
        assert_eq!(error["request_id"].as_str(), request_id, "{error}");
        assert!(request_id.is_some(), "{error}");
        error
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Client {
    pub(crate) fn new(url: &str, key: Option<&str>) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
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
        let whole = async {
            let response = request.send().await?;
            Ok(Reply {
                status: response.status(),
                headers: response.headers().clone(),
                text: response.text().await?,
            })
        };
        patiently("an answer", whole).await
    }

    pub(crate) async fn get_raw(&self, path: &str) -> reqwest::Result<Reply> {
        Self::send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.get_raw(path).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        Self::send(self.request(Method::POST, path).json(body)).await.unwrap()
    }

    /// Posts a run and gives the answer, whatever it is.
    pub(crate) async fn try_start(&self, body: &Value) -> Reply {
        self.post("/api/v1/runs", body).await
    }

    /// Starts or queues a run of the simulated model and gives its id.
    pub(crate) async fn start_simulated(&self, simulate: Value) -> String {
        self.start_run(&json!({"input": "Go.", "model_options": {"simulate": simulate}}))
            .await
    }

    /// Starts or queues a run and gives its id.
    pub(crate) async fn start_run(&self, body: &Value) -> String {
        let run = self.try_start(body).await.expect_status(201);
        run["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn run(&self, run: &str) -> Value {
        self.get(&format!("/api/v1/runs/{run}")).await.expect_status(200)
    }

    pub(crate) async fn cancel(&self, run: &str) -> Value {
        self.post(&format!("/api/v1/runs/{run}/cancel"), &json!({}))
            .await
            .expect_status(200)
    }

    /// The run once it has ended.
    pub(crate) async fn run_when_ended(&self, run: &str) -> Value {
        until_some("the run to end", || async {
            let run = self
                .get(&format!("/api/v1/runs/{run}?wait=30"))
                .await
                .expect_status(200);
            is_terminal(&run).then_some(run)
        })
        .await
    }

    /// All entries of a list, page by page.
    pub(crate) async fn all_of(&self, path: &str) -> Vec<Value> {
        let mut entries = Vec::new();
        let mut cursor = String::new();
        loop {
            let separator = if path.contains('?') { '&' } else { '?' };
            let page = self
                .get(&format!("{path}{separator}limit=100{cursor}"))
                .await
                .expect_status(200);
            entries.extend(page["data"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return entries,
            }
        }
    }

    pub(crate) async fn items(&self, run: &str) -> Vec<Value> {
        self.all_of(&format!("/api/v1/runs/{run}/items")).await
    }

    /// Opens the run's event stream. `None` if there is nothing more to read (204).
    pub(crate) async fn events(&self, run: &str, after: Option<u64>) -> Option<EventReader> {
        self.try_events(run, after).await.expect("the server answers")
    }

    /// The same, for servers that may be gone.
    pub(crate) async fn try_events(&self, run: &str, after: Option<u64>) -> reqwest::Result<Option<EventReader>> {
        let mut request = self.request(Method::GET, &format!("/api/v1/runs/{run}/events"));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = patiently("an event stream", request.send()).await?;
        if response.status() == 204 {
            return Ok(None);
        }
        let status = response.status();
        if status != 200 {
            panic!("{status}: {}", response.text().await?);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Ok(Some(EventReader::new(response)))
    }
}

pub(crate) fn is_terminal(run: &Value) -> bool {
    matches!(run["state"].as_str(), Some("completed" | "failed" | "cancelled"))
}
