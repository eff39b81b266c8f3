//! npm `@copilotkit/aimock`: somebody else's idea of the providers' dialects, in a process of its own.

use std::path::PathBuf;
use std::time::Duration;

use callboard::llm::anthropic::AnthropicModel;
use callboard::llm::openai::OpenAiModel;
use callboard::llm::openai_responses::OpenAiResponsesModel;
use callboard::llm::upstream::{ProviderClient, UpstreamOptions};
use callboard_actors::ports::Model;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::Client;
use crate::rig::Process;

/// The variable that names the program: `scripts/test` installs it and sets this.
const PROGRAM_VARIABLE: &str = "CALLBOARD_TEST_AIMOCK";

/// The key that models are called with. Nothing may ever show it.
pub(crate) const SECRET_KEY: &str = "sk-never-to-be-seen";

/// What a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    ChatCompletions,
    Responses,
    Messages,
}

impl Dialect {
    pub(crate) const ALL: [Self; 3] = [Self::ChatCompletions, Self::Responses, Self::Messages];
}

/// A provider that answers as it was told. It ends with this value.
pub(crate) struct Aimock {
    process: Process,
    url: String,
    _directory: TempDir,
}

impl Aimock {
    /// `fixtures` is a list of what to answer to which message, in the program's own form.
    pub(crate) async fn start(fixtures: Value) -> Self {
        let program = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
        let program = program.unwrap_or_else(|| panic!("{PROGRAM_VARIABLE} is not set: run `scripts/test aimock`"));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("fixtures.json");
        std::fs::write(&file, serde_json::json!({"fixtures": fixtures}).to_string()).unwrap();
        let mut command = Command::new("node");
        command
            .arg(program)
            .args(["--port", "0", "--validate-on-load", "--fixtures"])
            .arg(file);
        let mut process = Process::start("aimock", command).unwrap();
        let url = |printed: &str| {
            let (_, url) = printed.split_once("listening on ")?;
            url.split_once('\n').map(|(url, _)| url.to_owned())
        };
        let url = process.until_printed("its address", url).await.unwrap();
        Self {
            process,
            url,
            _directory: directory,
        }
    }

    /// A model of it.
    pub(crate) fn model(&self, dialect: Dialect) -> Box<dyn Model> {
        let base_url = format!("{}/v1", self.url);
        let options = UpstreamOptions {
            client: ProviderClient::new(&base_url, Duration::from_secs(10), 8).unwrap(),
            base_url,
            api_key: Some(SECRET_KEY.to_owned().into()),
            upstream_model: "gpt-5-mini".into(),
            max_event_size: 1 << 20,
        };
        match dialect {
            Dialect::ChatCompletions => Box::new(OpenAiModel::new(options).unwrap()),
            Dialect::Responses => Box::new(OpenAiResponsesModel::new(options).unwrap()),
            Dialect::Messages => Box::new(AnthropicModel::new(options, 1000).unwrap()),
        }
    }

    /// The calls so far, oldest first: `path`, `headers`, and `body`, whatever the dialect, as a chat completion.
    pub(crate) async fn calls(&self) -> Vec<Value> {
        let journal = Client::new(&self.url, None)
            .unwrap()
            .get_raw("/__aimock/journal")
            .await
            .unwrap();
        journal.expect_status(200).as_array().unwrap().clone()
    }

    pub(crate) async fn stop(mut self) {
        self.process.kill().await.unwrap();
    }
}
