//! The fields `agent` and `variables` of a run: the stored agent that it is made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use callboard_actors::ids::AgentId;
use callboard_actors::ports::agents::AgentRecord;
use serde::Serialize;
use serde_json::Value;

use super::settings::at_most;
use crate::auth::Caller;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::fields::{Fields, invalid_value, wrong_type};
use crate::http::options::RunRequestLimits;
use crate::http::state::HttpState;

/// The stored agent that a request names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct RequestedAgent {
    #[serde(flatten)]
    which: WhichAgent,
    /// `None` is the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum WhichAgent {
    Id(AgentId),
    Name(String),
}

impl WhichAgent {
    /// No name looks like an id.
    fn read(text: &str) -> Self {
        match text.parse() {
            Ok(id) => Self::Id(id),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}

pub(super) fn read_agent(value: &Value) -> Result<RequestedAgent, ApiError> {
    if let Value::String(text) = value {
        return Ok(RequestedAgent {
            which: WhichAgent::read(text),
            version: None,
        });
    }
    if !value.is_object() {
        return Err(wrong_type(
            "agent",
            "the id or the name of an agent, or an object",
            value,
        ));
    }
    let fields = Fields::of(value, "agent", &["id", "name", "version"])?;
    let (id, name) = (fields.optional_text("id")?, fields.optional_text("name")?);
    let which = match (id, name) {
        (Some(id), None) => WhichAgent::Id(id.parse().map_err(|_| ApiError::unknown_agent("agent.id", id))?),
        (None, Some(name)) => WhichAgent::Name(name.to_owned()),
        _ => return Err(invalid_value("agent", "`agent` has either an `id` or a `name`")),
    };
    let version = fields.optional_count("version", 1, u32::MAX.into())?;
    Ok(RequestedAgent {
        which,
        version: version.and_then(|version| u32::try_from(version).ok()),
    })
}

/// Values of an agent's variables, as text. None of them fits into instructions that is longer than these may be.
pub(super) fn read_variables(
    fields: &Fields<'_>,
    bounds: &RunRequestLimits,
) -> Result<BTreeMap<String, String>, ApiError> {
    let given = fields.optional_object("variables")?.into_iter().flatten();
    let read = |(name, value): (&String, &Value)| {
        let path = format!("variables.{name}");
        let text = variable_text(value, &path)?;
        at_most(&path, text.len(), bounds.max_instructions_bytes)?;
        Ok((name.clone(), text))
    };
    given.map(read).collect()
}

/// The value of a variable, as it stands in instructions.
pub(in crate::http) fn variable_text(value: &Value, path: &str) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(wrong_type(path, "a string, a number, true or false", value)),
    }
}

/// The agent that was named, if it is the caller's.
pub(super) async fn find_agent(
    state: &HttpState,
    caller: &Caller,
    asked: &RequestedAgent,
) -> Result<Arc<AgentRecord>, ApiError> {
    let directory = state.parts.agents.clone();
    let (which, account) = (asked.which.clone(), caller.account.clone());
    let newest = state.on_io(async move {
        match which {
            WhichAgent::Id(id) => directory.newest(id).await,
            WhichAgent::Name(name) => directory.named(&account, &name).await,
        }
    });
    let unknown = || match &asked.which {
        WhichAgent::Id(id) => ApiError::unknown_agent("agent", &id.to_string()),
        WhichAgent::Name(name) => ApiError::unknown_agent("agent", name),
    };
    let newest = newest.await??.filter(|agent| agent.account == caller.account);
    let newest = newest.ok_or_else(unknown)?;
    let Some(version) = asked.version.filter(|version| *version != newest.version) else {
        return Ok(newest);
    };
    let stored = state.parts.agents.stored().clone();
    let id = newest.id;
    let found = state
        .on_io(async move { stored.agent(id, Some(version)).await })
        .await??;
    found.map(Arc::new).ok_or_else(|| {
        let message = format!(
            "the agent `{}` has no version {version}; its newest is {}",
            newest.name, newest.version
        );
        ApiError::new(ErrorCode::UnknownAgent, message).with_param("agent.version")
    })
}
