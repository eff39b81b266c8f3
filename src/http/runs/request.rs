//! The body of `POST /runs`: JSON → [`RunRequest`] (what was said) → [`RunSpec`] (what will be done).

use std::collections::BTreeMap;

use callboard_actors::agent::{AgentPin, VariableError};
use callboard_actors::ids::{AccountId, ThreadId};
use callboard_actors::item::{ContentPart, ImageSource, ItemContent};
use callboard_actors::ports::agents::AgentRecord;
use callboard_actors::ports::threads::{EnterThread, OnBusy};
use callboard_actors::spec::{HistorySettings, RunSettings, RunSpec};
use callboard_actors::supervisor::messages::OnLimit;
use callboard_actors::tool_use::ToolUse;
use serde::Serialize;
use serde_json::Value;

use super::agent::{RequestedAgent, read_agent, read_variables};
use super::input_items::read_input;
use super::settings::{SETTINGS_FIELDS, at_most, check_model, check_settings, limits_of, model_of, read_settings};
use super::thread::{RequestedThread, THREAD_FIELDS, read_thread};
use crate::http::error::ApiError;
use crate::http::extract::fields::{Fields, invalid_value};
use crate::http::metadata::read_metadata;
use crate::http::options::RunRequestLimits;
use crate::http::state::Catalog;

/// Those beside [`SETTINGS_FIELDS`].
const OWN_FIELDS: &[&str] = &["input", "agent", "variables", "metadata", "on_limit", "stream"];

/// What a client asked for, nothing filled in. Its serialised form decides whether two requests are the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunRequest {
    pub(super) input: Vec<ItemContent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<RequestedAgent>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
    #[serde(flatten)]
    settings: RunSettings,
    metadata: BTreeMap<String, String>,
    refuse_at_limit: bool,
    /// The thread that the path names.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<RequestedThread>,
    /// How to answer; no part of what was asked for.
    #[serde(skip)]
    pub(super) stream: bool,
}

impl RunRequest {
    /// Reads the body. Every error names the field.
    pub(super) fn read(body: &Value, bounds: &RunRequestLimits, thread: Option<ThreadId>) -> Result<Self, ApiError> {
        let of_thread = if thread.is_some() { THREAD_FIELDS } else { &[] };
        let fields = Fields::of(body, "", &[OWN_FIELDS, SETTINGS_FIELDS, of_thread].concat())?;
        let agent = fields.optional("agent").map(read_agent).transpose()?;
        let variables = read_variables(&fields, bounds)?;
        if agent.is_none() && !variables.is_empty() {
            return Err(invalid_value(
                "variables",
                "`variables` are those of an `agent`, and there is none",
            ));
        }
        let input = read_input(fields.required("input")?, bounds)?;
        at_most("input", input.iter().map(text_bytes).sum(), bounds.max_input_bytes)?;
        let mut settings = read_settings(&fields, bounds)?;
        if agent.is_none() {
            // An empty list is nothing, where nobody else says anything.
            settings.fallback_models = settings.fallback_models.filter(|models| !models.is_empty());
            settings.tools = settings.tools.filter(|tools| !tools.is_empty());
            settings.model_options = settings.model_options.filter(|options| !options.is_empty());
        }
        let refuse_at_limit = read_on_limit(&fields)? == OnLimit::Refuse;
        let thread = thread.map(|thread| read_thread(&fields, thread)).transpose()?;
        if refuse_at_limit && thread.as_ref().is_some_and(|thread| thread.on_busy != OnBusy::Refuse) {
            let message =
                "`on_limit` cannot be \"refuse\" with this `on_busy`, by which the run may have to wait for its thread";
            return Err(invalid_value("on_limit", message));
        }
        Ok(Self {
            input,
            agent,
            variables,
            settings,
            metadata: read_metadata(&fields, bounds)?,
            refuse_at_limit,
            thread,
            stream: fields.optional_bool("stream")?.unwrap_or(false),
        })
    }

    /// Whether tools come with it that have to be taken apart first.
    pub(super) fn declares_tools(&self, agent: Option<&AgentRecord>) -> bool {
        let of_agent = || agent.and_then(|agent| agent.settings.run.tools.as_ref());
        let tools = self.settings.tools.as_ref().or_else(of_agent);
        tools.is_some_and(|tools| tools.iter().any(|tool| !matches!(tool, ToolUse::Server(_))))
    }

    /// What to do when the run cannot start at once.
    pub(super) fn on_limit(&self) -> OnLimit {
        if self.refuse_at_limit {
            OnLimit::Refuse
        } else {
            OnLimit::Queue
        }
    }

    /// The thread that it goes on with, and how.
    pub(super) fn enter_thread(&self) -> Option<EnterThread> {
        self.thread.as_ref().map(RequestedThread::enter)
    }

    fn history(&self) -> HistorySettings {
        let thread = self.thread.as_ref();
        thread.map(|thread| thread.history.clone()).unwrap_or_default()
    }

    /// The stored agent that the run is to be made of.
    pub(super) const fn agent(&self) -> Option<&RequestedAgent> {
        self.agent.as_ref()
    }

    /// Fills in what the client left open, from its agent if it named one, and checks names against what this server has.
    pub(super) fn resolve(
        &self,
        agent: Option<&AgentRecord>,
        account: &AccountId,
        catalog: &Catalog,
        bounds: &RunRequestLimits,
    ) -> Result<RunSpec, ApiError> {
        let settings = match agent {
            None => self.settings.clone(),
            Some(agent) => self.settings_over(agent, bounds)?,
        };
        check_settings(&settings, account, catalog, bounds).map_err(|error| self.blame(error))?;
        let summary_model = self
            .thread
            .as_ref()
            .and_then(|thread| thread.history.summary_model.as_deref());
        if let Some(model) = summary_model {
            check_model(catalog, model, None, "history.summary_model")?;
        }
        Ok(RunSpec {
            agent: agent.map(|agent| AgentPin {
                id: agent.id,
                version: agent.version,
            }),
            model: model_of(&settings, bounds).to_owned(),
            limits: limits_of(&settings, bounds),
            fallback_models: settings.fallback_models.unwrap_or_default(),
            instructions: settings.instructions,
            tools: settings.tools.unwrap_or_default(),
            model_options: settings.model_options.unwrap_or_default(),
            metadata: self.metadata.clone(),
            history: self.history(),
        })
    }

    /// What the request says, and where it says nothing, the agent.
    fn settings_over(&self, agent: &AgentRecord, bounds: &RunRequestLimits) -> Result<RunSettings, ApiError> {
        let mut base = agent.settings.run.clone();
        if self.settings.instructions.is_none() {
            let most = bounds.max_instructions_bytes;
            let written = agent.settings.instructions_with(&self.variables, most);
            base.instructions = written.map_err(|error| match &error {
                VariableError::Unknown(name) | VariableError::Missing(name) => {
                    invalid_value(&format!("variables.{name}"), &error.to_string())
                }
                VariableError::TooLong(_) => invalid_value("variables", &error.to_string()),
                VariableError::NotDeclared(_) => invalid_value("agent", &error.to_string()),
            })?;
        } else if !self.variables.is_empty() {
            let message = "`variables` are for the agent's instructions, and the run has `instructions` of its own";
            return Err(invalid_value("variables", message));
        }
        Ok(self.settings.clone().over(base))
    }

    /// What is wrong with something that the request does not say is wrong with its agent.
    fn blame(&self, error: ApiError) -> ApiError {
        let field = error.param().unwrap_or_default();
        let field = field.split(['.', '[']).next().unwrap_or_default();
        let settings = &self.settings;
        let is_said = match field {
            "model" => settings.model.is_some(),
            "fallback_models" => settings.fallback_models.is_some(),
            "tools" => settings.tools.is_some(),
            "model_options" => settings.model_options.is_some(),
            _ => true,
        };
        // Who names another model answers for the options that it does not take.
        if is_said || self.agent.is_none() || (field == "model_options" && settings.model.is_some()) {
            return error;
        }
        error.of_agent()
    }
}

/// Bytes of what an item says.
pub(crate) fn text_bytes(content: &ItemContent) -> usize {
    match content {
        ItemContent::Message { content, .. } => content.iter().map(part_bytes).sum(),
        ItemContent::Reasoning { text, .. } => text.len(),
        ItemContent::ToolCall {
            call_id,
            name,
            arguments,
        } => call_id.len() + name.len() + arguments.len(),
        ItemContent::ToolResult { call_id, output, .. } => call_id.len() + output.len(),
        ItemContent::Summary { text, .. } => text.len(),
    }
}

fn part_bytes(part: &ContentPart) -> usize {
    match part {
        ContentPart::Text { text, .. } => text.len(),
        ContentPart::Image {
            source: ImageSource::Url { url },
            ..
        } => url.len(),
        ContentPart::Image { .. } => 0,
    }
}

fn read_on_limit(fields: &Fields<'_>) -> Result<OnLimit, ApiError> {
    match fields.optional_text("on_limit")? {
        None | Some("queue") => Ok(OnLimit::Queue),
        Some("refuse") => Ok(OnLimit::Refuse),
        Some(_) => Err(invalid_value(
            "on_limit",
            "`on_limit` must be \"queue\" (wait for a place) or \"refuse\" (answer with an error)",
        )),
    }
}
