//! `[tools]`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::config::tools::{DatabaseTable, SearchTable};
use crate::config::values;

/// `[tools]`: tool calls.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolsConfig {
    /// Names of the tools that runs may name.
    pub enabled: Vec<String>,
    /// How long a call may take.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
    /// How long a person may take to approve a call; `None` is as long as the run may take.
    #[serde(deserialize_with = "values::duration_or_none")]
    pub approval_deadline: Option<Duration>,
    /// Bytes of an output that are kept.
    #[serde(deserialize_with = "values::memory_size")]
    pub max_output: usize,
    /// Calls of one run that run at once.
    pub max_parallel: usize,
    /// Calls that one answer of a model may ask for.
    pub max_calls_per_answer: usize,
    /// Bytes of memory for declared tools that are kept ready.
    #[serde(deserialize_with = "values::memory_size")]
    pub declared_cache: usize,
    /// Text of documents.
    pub documents: DocumentsConfig,
    /// Limits of the server's own tools, by name.
    #[serde(default)]
    pub limits: BTreeMap<String, ToolLimitsConfig>,
    /// The search endpoint as it is written; [`crate::config::Config::search`] is what it comes to.
    #[serde(default)]
    pub search: Option<SearchTable>,
    /// Databases as they are written; [`crate::config::Config::databases`] is what they come to.
    #[serde(default)]
    pub databases: BTreeMap<String, DatabaseTable>,
}

/// `[tools.limits.<name>]`: what a tool of the server keeps to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolLimitsConfig {
    /// How long a call may take, if less than [`ToolsConfig::timeout`].
    #[serde(deserialize_with = "values::optional_duration")]
    pub timeout: Option<Duration>,
    /// Calls that are made at once, of all runs of this instance.
    pub max_concurrent: Option<u32>,
}

/// `[tools.documents]`: text of documents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DocumentsConfig {
    /// Bytes of a document.
    #[serde(deserialize_with = "values::size")]
    pub max_size: u64,
    /// Bytes of memory of the process that reads one.
    #[serde(deserialize_with = "values::size")]
    pub max_memory: u64,
    /// How long it may take.
    #[serde(deserialize_with = "values::duration")]
    pub timeout: Duration,
}
