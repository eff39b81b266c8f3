//! What tests ask of a server through the API, where anything but the answer they want fails the test.

use serde_json::{Value, json};

use super::{PATIENCE, until_some};
use crate::rig::{Client, EventReader, OpenError, Reply, is_terminal};

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
}

impl Client {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.get_raw(path).await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.post_raw(path, body).await.unwrap()
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
            if run["state"] == "waiting" {
                // A long poll does not wait on while the run waits for somebody. Its log ends with it.
                let seen = run["next_seq"].as_u64().map(|next| next - 1);
                if let Some(events) = self.events(run["id"].as_str()?, seen).await {
                    events.rest().await;
                }
            }
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

    /// The same, for servers that may be gone. A refusal still fails the test.
    pub(crate) async fn try_events(&self, run: &str, after: Option<u64>) -> Result<Option<EventReader>, OpenError> {
        match self.open_events(run, after, PATIENCE).await {
            Err(OpenError::Refused(status, text)) => panic!("{status}: {text}"),
            opened => opened,
        }
    }
}
