//! From the tree of all layers to a [`Config`]: what no single value can show to be wrong is found here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::budgets::BudgetTable;
use super::layers::dotted;
use super::mcp::{McpTable, resolve_mcp};
use super::models::{ModelCallConfig, ModelTable};
use super::outbound::{OutboundTable, SecretTable, resolve_outbound, resolve_secrets};
use super::providers::{ProviderLimitsConfig, ProviderTable};
use super::resolve_models::resolve_models;
use super::sections::{
    AnswerCacheConfig, CapacityConfig, EventsConfig, FilesConfig, FleetConfig, LogConfig, QueueConfig, RunsConfig,
    ServerConfig, StoreConfig, TierConfig, ToolsConfig,
};
use super::tools::{resolve_databases, resolve_search};
use super::variable_names::is_variable_name;
use super::{Config, values};

/// The tree as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenConfig {
    server: ServerConfig,
    capacity: CapacityConfig,
    queue: QueueConfig,
    runs: RunsConfig,
    store: StoreConfig,
    events: EventsConfig,
    fleet: FleetConfig,
    pub(super) provider_defaults: ProviderLimitsConfig,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderTable>,
    pub(super) model_defaults: ModelCallConfig,
    pub(super) models: BTreeMap<String, ModelTable>,
    answer_cache: AnswerCacheConfig,
    files: FilesConfig,
    tools: ToolsConfig,
    mcp: McpTable,
    outbound: OutboundTable,
    #[serde(default)]
    pub(super) secrets: BTreeMap<String, SecretTable>,
    tiers: BTreeMap<String, TierTable>,
    log: LogConfig,
}

/// A tier's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TierTable {
    concurrent_runs: Option<u32>,
    queued_runs: Option<u64>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    budget: Option<BudgetTable>,
}

/// A mistake whose place is not known yet: the keys that could be changed, the likeliest first, and a sentence.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) keys: Vec<String>,
    pub(super) message: String,
}

pub(super) type Contradictions = Vec<Contradiction>;

/// Puts models and tiers together and looks at how the values go together.
pub(super) fn resolve(written: WrittenConfig) -> Result<Config, Contradictions> {
    let mut wrong = Contradictions::new();
    check_pairs(&written, &mut wrong);
    check_texts(&written, &mut wrong);
    let (providers, models) = resolve_models(&written, &mut wrong);
    let databases = resolve_databases(&written.tools, &mut wrong);
    let outbound = resolve_outbound(&written.outbound, &mut wrong);
    let secrets = resolve_secrets(&written, &mut wrong);
    let search = resolve_search(&written.tools, &secrets, &mut wrong);
    let mcp = resolve_mcp(&written.mcp, &secrets, &mut wrong);
    let tiers = resolve_tiers(&written.tiers, &mut wrong);
    if !written.models.contains_key(&written.runs.default_model) {
        let names: Vec<&str> = written.models.keys().map(String::as_str).collect();
        refuse(
            &mut wrong,
            &["runs.default_model"],
            format!(
                "there is no model {:?}; there are {}",
                written.runs.default_model,
                names.join(", ")
            ),
        );
    }
    if !wrong.is_empty() {
        return Err(wrong);
    }
    Ok(Config {
        server: written.server,
        capacity: written.capacity,
        queue: written.queue,
        runs: written.runs,
        store: written.store,
        events: written.events,
        fleet: written.fleet,
        providers,
        answer_cache: written.answer_cache,
        models,
        files: written.files,
        tools: written.tools,
        mcp,
        search,
        databases,
        outbound,
        secrets: secrets.into_iter().collect(),
        tiers,
        log: written.log,
    })
}

pub(super) fn refuse(wrong: &mut Contradictions, keys: &[&str], message: impl Into<String>) {
    wrong.push(Contradiction {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        message: message.into(),
    });
}

fn check_pairs(written: &WrittenConfig, wrong: &mut Contradictions) {
    let WrittenConfig {
        server, runs, events, ..
    } = written;
    let documents = &written.tools.documents;
    let pairs = [
        (
            "server.page_default",
            "server.page_maximum",
            server.page_default > server.page_maximum,
        ),
        (
            "runs.max_steps_default",
            "runs.max_steps_maximum",
            runs.max_steps_default > runs.max_steps_maximum,
        ),
        (
            "runs.deadline_default",
            "runs.deadline_maximum",
            runs.deadline_default > runs.deadline_maximum,
        ),
        (
            "runs.max_output_tokens_default",
            "runs.max_output_tokens_maximum",
            runs.max_output_tokens_default
                .zip(runs.max_output_tokens_maximum)
                .is_some_and(|(default, maximum)| default > maximum),
        ),
        (
            "events.memory_per_run",
            "events.memory_total",
            events.memory_per_run > events.memory_total,
        ),
        (
            "tools.documents.max_size",
            "tools.documents.max_memory",
            documents.max_size > documents.max_memory,
        ),
    ];
    for (smaller, larger, are_swapped) in pairs {
        if are_swapped {
            refuse(
                wrong,
                &[smaller, larger],
                format!("{smaller} must not be more than {larger}"),
            );
        }
    }
    if written.fleet.lease < written.fleet.heartbeat * 3 {
        let keys = ["fleet.lease", "fleet.heartbeat"];
        refuse(wrong, &keys, "fleet.lease must be at least three times fleet.heartbeat");
    }
    let circuit = &written.provider_defaults;
    if circuit.circuit_rest > circuit.circuit_longest_rest {
        let keys = [
            "provider_defaults.circuit_rest",
            "provider_defaults.circuit_longest_rest",
        ];
        refuse(wrong, &keys, "circuit_rest must not be more than circuit_longest_rest");
    }
    let defaults = &written.model_defaults;
    if defaults.backoff_initial > defaults.backoff_maximum {
        let keys = ["model_defaults.backoff_initial", "model_defaults.backoff_maximum"];
        refuse(wrong, &keys, "backoff_initial must not be more than backoff_maximum");
    }
}

fn check_texts(written: &WrittenConfig, wrong: &mut Contradictions) {
    if let Err(problem) = check_store_path(&written.store.path) {
        refuse(wrong, &["store.path"], problem);
    }
    let variables = [
        ("store.postgres_url_env", &written.store.postgres_url_env),
        ("events.redis_url_env", &written.events.redis_url_env),
        ("files.s3_access_key_id_env", &written.files.s3_access_key_id_env),
        (
            "files.s3_secret_access_key_env",
            &written.files.s3_secret_access_key_env,
        ),
    ];
    for (key, variable) in variables {
        // What is written instead may be a URL with a password in it.
        if variable.as_ref().is_some_and(|name| !is_variable_name(name)) {
            refuse(
                wrong,
                &[key],
                "must be the name of an environment variable, such as \"DATABASE_URL\"",
            );
        }
    }
    if written.events.redis_url_env.is_some() && written.store.postgres_url_env.is_none() {
        let keys = ["events.redis_url_env", "store.postgres_url_env"];
        refuse(
            wrong,
            &keys,
            "Redis connects instances that share a PostgreSQL; set store.postgres_url_env as well",
        );
    }
    let files = &written.files;
    if files.s3_access_key_id_env.is_some() != files.s3_secret_access_key_env.is_some() {
        let keys = ["files.s3_access_key_id_env", "files.s3_secret_access_key_env"];
        refuse(wrong, &keys, "name both variables, or neither");
    }
    if files.s3_bucket.is_none() && files.path.as_os_str().is_empty() {
        refuse(
            wrong,
            &["files.path"],
            "is empty; name a folder, or a bucket in files.s3_bucket",
        );
    }
    if let Err(problem) = check_log_level(&written.log.level) {
        refuse(wrong, &["log.level"], problem);
    }
    let mut seen = BTreeSet::new();
    let known = crate::tools::builtin_names();
    for name in &written.tools.enabled {
        if !known.contains(&name.as_str()) {
            let problem = format!("there is no tool {name:?}; there are {}", known.join(", "));
            refuse(wrong, &["tools.enabled"], problem);
        }
        if !seen.insert(name) {
            refuse(wrong, &["tools.enabled"], format!("names {name:?} twice"));
        }
    }
}

/// SQLite has names that are no files, or other files than they say: what locks, watches and backs up the file would go by the name.
fn check_store_path(path: &Path) -> Result<(), &'static str> {
    if path.as_os_str().is_empty() {
        return Err("must be the path of a file, not empty");
    }
    if path.as_os_str() == ":memory:" {
        return Err(
            "must be the path of a file: runs survive a restart, and what is only in memory does not; for a server \
                    that is thrown away, name a file in a temporary directory",
        );
    }
    if path.as_os_str().as_encoded_bytes().starts_with(b"file:") {
        return Err("must be the path of a file, not a URI: leave out \"file:\" and what follows a '?'");
    }
    Ok(())
}

/// `EnvFilter` takes a misspelt level for the name of a module; an operator who writes `level = "inof"` means a level.
fn check_log_level(level: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    for directive in level.split(',').map(str::trim) {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level.trim());
        if !is_level(level) {
            return Err(format!("{level:?} is not a level; there are {}", LEVELS.join(", ")));
        }
    }
    tracing_subscriber::EnvFilter::try_new(level)
        .map(drop)
        .map_err(|error| format!("is not a log level or a list of part=level: {error}"))
}

fn resolve_tiers(tables: &BTreeMap<String, TierTable>, wrong: &mut Contradictions) -> BTreeMap<String, TierConfig> {
    let mut tiers = BTreeMap::new();
    for (name, table) in tables {
        let table_key = dotted(&["tiers".to_owned(), name.clone()]);
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            refuse(
                wrong,
                &[&table_key],
                "a tier's name is 1 to 64 letters, digits, '-' or '_'",
            );
        }
        let present = [
            ("concurrent_runs", table.concurrent_runs.is_some()),
            ("queued_runs", table.queued_runs.is_some()),
            ("requests_per_second", table.requests_per_second.is_some()),
            ("burst", table.burst.is_some()),
        ];
        for (key, _) in present.into_iter().filter(|(_, is_set)| !is_set) {
            refuse(
                wrong,
                &[&format!("{table_key}.{key}")],
                "is missing; a tier needs each of its four limits, 0 for none",
            );
        }
        let tier = TierConfig {
            concurrent_runs: values::none_if_zero(table.concurrent_runs),
            queued_runs: values::none_if_zero(table.queued_runs),
            requests_per_second: values::none_if_zero(table.requests_per_second),
            burst: table.burst.unwrap_or_default(),
            budget: table
                .budget
                .and_then(|budget| budget.resolve(&format!("{table_key}.budget"), wrong)),
        };
        if tier.requests_per_second.is_some() && table.burst == Some(0) {
            let message = "must be at least 1 where requests_per_second is set: else no request could ever come";
            refuse(wrong, &[&format!("{table_key}.burst")], message);
        }
        tiers.insert(name.clone(), tier);
    }
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_module() {
        for right in ["info", "WARN", "info,callboard::http=debug", "off"] {
            assert_eq!(check_log_level(right), Ok(()), "{right}");
        }
        for wrong in ["", "inof", "info,", "callboard=loud", "info;debug"] {
            assert!(check_log_level(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_that_only_sqlite_understands_are_no_paths() {
        for right in ["./data/callboard.db", "callboard.db", "./:memory:", "/srv/file:1"] {
            assert_eq!(check_store_path(Path::new(right)), Ok(()), "{right}");
        }
        for wrong in ["", ":memory:", "file:callboard.db", "file::memory:?cache=shared"] {
            assert!(check_store_path(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
