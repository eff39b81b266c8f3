//! From the tree of all layers to a [`Config`]: what no single value can show to be wrong is found here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;

use super::layers::dotted;
use super::models::{ModelCallConfig, ModelConfig, ModelTable, ProviderConfig, ProviderName};
use super::sections::{
    CapacityConfig, EventsConfig, FleetConfig, LogConfig, QueueConfig, RunsConfig, ServerConfig, StoreConfig,
    TierConfig, ToolsConfig,
};
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
    model_defaults: ModelCallConfig,
    models: BTreeMap<String, ModelTable>,
    tools: ToolsConfig,
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
}

/// A mistake whose place is not known yet: the keys that could be changed, the likeliest first, and a sentence.
#[derive(Debug)]
pub(super) struct Contradiction {
    pub(super) keys: Vec<String>,
    pub(super) message: String,
}

type Contradictions = Vec<Contradiction>;

/// Puts models and tiers together and looks at how the values go together.
pub(super) fn resolve(written: WrittenConfig) -> Result<Config, Contradictions> {
    let mut wrong = Contradictions::new();
    check_pairs(&written, &mut wrong);
    check_texts(&written, &mut wrong);
    let models = resolve_models(&written.models, &written.model_defaults, &mut wrong);
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
        models,
        tools: written.tools,
        tiers,
        log: written.log,
    })
}

fn refuse(wrong: &mut Contradictions, keys: &[&str], message: impl Into<String>) {
    wrong.push(Contradiction {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        message: message.into(),
    });
}

fn check_pairs(written: &WrittenConfig, wrong: &mut Contradictions) {
    let WrittenConfig {
        server, runs, events, ..
    } = written;
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

fn resolve_models(
    tables: &BTreeMap<String, ModelTable>,
    defaults: &ModelCallConfig,
    wrong: &mut Contradictions,
) -> BTreeMap<String, ModelConfig> {
    let mut models = BTreeMap::new();
    for (name, table) in tables {
        let table_key = dotted(&["models".to_owned(), name.clone()]);
        if name.is_empty()
            || name.len() > 128
            || name.chars().any(|letter| letter.is_control() || letter.is_whitespace())
        {
            refuse(
                wrong,
                &[&table_key],
                "a model's name has 1 to 128 characters, and no spaces",
            );
        }
        let calls = table.calls_over(defaults);
        let default_order_holds = defaults.backoff_initial <= defaults.backoff_maximum;
        if calls.backoff_initial > calls.backoff_maximum && default_order_holds {
            let keys = [
                format!("{table_key}.backoff_initial"),
                format!("{table_key}.backoff_maximum"),
            ];
            refuse(
                wrong,
                &[&keys[0], &keys[1]],
                "backoff_initial must not be more than backoff_maximum",
            );
        }
        if let Some(provider) = resolve_provider(&table_key, name, table, wrong) {
            models.insert(name.clone(), ModelConfig { provider, calls });
        }
    }
    models
}

fn resolve_provider(
    table_key: &str,
    name: &str,
    table: &ModelTable,
    wrong: &mut Contradictions,
) -> Option<ProviderConfig> {
    let provider_key = format!("{table_key}.provider");
    match table.provider {
        None => {
            refuse(
                wrong,
                &[&provider_key],
                "is missing; it must be \"simulated\" or \"openai\"",
            );
            None
        }
        Some(ProviderName::Simulated) => {
            let upstream_keys = [
                ("base_url", table.base_url.is_some()),
                ("api_key_env", table.api_key_env.is_some()),
                ("upstream_model", table.upstream_model.is_some()),
            ];
            for (key, is_set) in upstream_keys {
                if is_set {
                    let message = "has no meaning for provider = \"simulated\"; did you mean provider = \"openai\"?";
                    refuse(wrong, &[&format!("{table_key}.{key}")], message);
                }
            }
            Some(ProviderConfig::Simulated)
        }
        Some(ProviderName::OpenAi) => {
            if let Some(variable) = &table.api_key_env
                && !is_variable_name(variable)
            {
                // The text is not repeated: it may be the key itself.
                let message = "must be the name of an environment variable that holds the key, such as \"OPENAI_API_KEY\"; \
                               the key itself never stands in the configuration";
                refuse(wrong, &[&format!("{table_key}.api_key_env")], message);
            }
            let url_key = format!("{table_key}.base_url");
            let Some(url) = &table.base_url else {
                refuse(wrong, &[&url_key], "is missing; provider = \"openai\" needs it");
                return None;
            };
            match check_base_url(url) {
                Ok(base_url) => Some(ProviderConfig::OpenAi {
                    base_url,
                    api_key_env: table.api_key_env.clone(),
                    upstream_model: table.upstream_model.clone().unwrap_or_else(|| name.to_owned()),
                }),
                Err(problem) => {
                    refuse(wrong, &[&url_key], problem);
                    None
                }
            }
        }
    }
}

/// Messages do not repeat the URL: it may have a password in it.
fn check_base_url(text: &str) -> Result<reqwest::Url, &'static str> {
    const EXAMPLE: &str = "must be a URL, such as \"https://api.openai.com/v1\"";
    let url = reqwest::Url::parse(text).map_err(|_| EXAMPLE)?;
    if !matches!(url.scheme(), "http" | "https") || url.cannot_be_a_base() {
        return Err("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not have a user name or a password in it; use api_key_env");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a '?' or '#' part: /chat/completions is appended to it");
    }
    Ok(url)
}

fn is_variable_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty() && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(allowed)
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

    #[test]
    fn base_urls_have_no_secrets_in_them() {
        assert!(check_base_url("http://127.0.0.1:9000/v1").is_ok());
        for wrong in [
            "",
            "example.com",
            "file:///etc",
            "https://me:secret@host/v1",
            "https://host/v1?key=1",
            "mailto:a@b",
        ] {
            let problem = check_base_url(wrong).expect_err(wrong);
            assert!(!problem.contains("secret"));
        }
    }
}
