//! How a run enters a thread: `on_busy` and `history`.

use callboard_actors::event::MAX_SEQ;
use callboard_actors::ids::ThreadId;
use callboard_actors::ports::threads::{EnterThread, OnBusy};
use callboard_actors::spec::{HistoryPolicy, HistorySettings, LEAST_SUMMARIZED_TOKENS};
use serde::Serialize;

use crate::http::error::ApiError;
use crate::http::extract::fields::{Fields, invalid_value};

/// The fields that [`read_thread`] reads.
pub(super) const THREAD_FIELDS: &[&str] = &["on_busy", "history"];

/// The thread that a run is to go on with, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RequestedThread {
    thread: ThreadId,
    pub(super) on_busy: OnBusy,
    pub(super) history: HistorySettings,
}

impl RequestedThread {
    pub(super) const fn enter(&self) -> EnterThread {
        EnterThread {
            thread: self.thread,
            on_busy: self.on_busy,
        }
    }
}

/// Reads what a request says of the thread that its path names.
pub(super) fn read_thread(fields: &Fields<'_>, thread: ThreadId) -> Result<RequestedThread, ApiError> {
    let on_busy = match fields.optional_text("on_busy")? {
        None => OnBusy::default(),
        Some(name) => named("on_busy", name, &OnBusy::ALL.map(|policy| (policy.as_str(), policy)))?,
    };
    Ok(RequestedThread {
        thread,
        on_busy,
        history: read_history(fields)?,
    })
}

fn read_history(fields: &Fields<'_>) -> Result<HistorySettings, ApiError> {
    let Some(value) = fields.optional("history") else {
        return Ok(HistorySettings::default());
    };
    let history = Fields::of(value, "history", &["policy", "max_tokens", "summary_model"])?;
    let policies = HistoryPolicy::ALL.map(|policy| (policy.as_str(), policy));
    let settings = HistorySettings {
        policy: match history.optional_text("policy")? {
            None => HistoryPolicy::default(),
            Some(name) => named("history.policy", name, &policies)?,
        },
        max_tokens: history.optional_count("max_tokens", 1, MAX_SEQ)?,
        summary_model: history.optional_text("summary_model")?.map(str::to_owned),
    };
    let summarizes = settings.policy == HistoryPolicy::SummarizeOldestTurns;
    if settings.summary_model.is_some() && !summarizes {
        let message = "`history.summary_model` has no meaning without the policy \"summarize_oldest_turns\"";
        return Err(invalid_value("history.summary_model", message));
    }
    if summarizes
        && settings
            .max_tokens
            .is_some_and(|tokens| tokens < LEAST_SUMMARIZED_TOKENS)
    {
        let message = format!(
            "`history.max_tokens` must be at least {LEAST_SUMMARIZED_TOKENS} with the policy \"summarize_oldest_turns\": less has no room \
             for a summary"
        );
        return Err(invalid_value("history.max_tokens", &message));
    }
    if settings.policy == HistoryPolicy::None && settings.max_tokens.is_some() {
        let message = "`history.max_tokens` has no meaning with the policy \"none\", which leaves nothing out";
        return Err(invalid_value("history.max_tokens", message));
    }
    Ok(settings)
}

/// The value with this name.
fn named<T: Copy>(field: &str, name: &str, known: &[(&str, T)]) -> Result<T, ApiError> {
    let found = known.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = known.iter().map(|(known, _)| *known).collect();
        invalid_value(field, &format!("`{field}` must be one of {}", names.join(", ")))
    })
}
