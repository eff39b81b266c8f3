//! `[tools.search]` and `[tools.databases.<name>]`: what built-in tools need to work.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::tool_use::HttpMethod;
use reqwest::Url;
use serde::Deserialize;

use super::layers::dotted;
use super::load::LoadedConfig;
use super::outbound::SecretConfig;
use super::problem::Problem;
use super::resolve::{Contradictions, refuse};
use super::sections::ToolsConfig;
use super::values;
use super::variable_names::is_variable_name;
use crate::tools::SearchOptions;

const SEARCH_RESULTS: usize = 5;
const DATABASE_ROWS: usize = 200;
const DATABASE_TIME: Duration = Duration::from_secs(10);
const DATABASE_STATEMENTS: usize = 4;

/// `[tools.search]` as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SearchTable {
    url: Option<String>,
    method: HttpMethodName,
    headers: BTreeMap<String, String>,
    body: Option<toml::Table>,
    results: Option<String>,
    title: Option<String>,
    link: Option<String>,
    snippet: Option<String>,
    max_results: Option<usize>,
}

/// How a search endpoint is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
enum HttpMethodName {
    #[default]
    #[serde(rename = "GET")]
    Get,
    #[serde(rename = "POST")]
    Post,
}

/// `[tools.databases.<name>]` as it is written, likewise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseTable {
    postgres_url_env: Option<String>,
    sqlite_path: Option<PathBuf>,
    max_rows: Option<usize>,
    #[serde(deserialize_with = "values::optional_duration")]
    timeout: Option<Duration>,
    max_concurrent: Option<usize>,
}

/// A database that may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Which.
    pub place: DatabasePlaceConfig,
    /// Rows of an answer.
    pub max_rows: usize,
    /// How long a statement may take.
    pub timeout: Duration,
    /// Statements at once.
    pub max_concurrent: usize,
}

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabasePlaceConfig {
    /// A PostgreSQL whose URL is in an environment variable of this name.
    PostgresUrlIn(String),
    /// A file of SQLite.
    Sqlite(PathBuf),
}

impl LoadedConfig {
    /// Those of `[tools.limits]` that are of no tool of a server whose tools are those in `tools.enabled` and no others.
    pub fn tool_limit_problems(&self) -> Vec<Problem> {
        let tools = &self.config.tools;
        let mut problems = Vec::new();
        for name in tools.limits.keys().filter(|name| !tools.enabled.contains(name)) {
            let key = dotted(&["tools".to_owned(), "limits".to_owned(), name.clone()]);
            problems.push(self.problem(&key, format!("there is no tool {name:?} in tools.enabled")));
        }
        problems
    }
}

/// The search endpoint, and what is wrong with it.
pub(super) fn resolve_search(
    tools: &ToolsConfig,
    secrets: &[(String, SecretConfig)],
    wrong: &mut Contradictions,
) -> Option<SearchOptions> {
    let is_enabled = tools.enabled.iter().any(|name| name == "search");
    let Some(table) = &tools.search else {
        if is_enabled {
            let message = "\"search\" needs [tools.search]: which endpoint is to be asked?";
            refuse(wrong, &["tools.enabled"], message);
        }
        return None;
    };
    let (Some(url), Some(results)) = (&table.url, &table.results) else {
        for (key, is_set) in [("url", table.url.is_some()), ("results", table.results.is_some())] {
            if !is_set {
                refuse(wrong, &[&format!("tools.search.{key}")], "is missing");
            }
        }
        return None;
    };
    if has_user_info(url) {
        // The text is not repeated: there may be a password in it.
        let message = "must not have a user name or a password in it; use headers";
        refuse(wrong, &["tools.search.url"], message);
        return None;
    }
    let or = |pointer: &Option<String>, usual: &str| pointer.clone().unwrap_or_else(|| usual.to_owned());
    let options = SearchOptions {
        url: url.clone(),
        method: match table.method {
            HttpMethodName::Get => HttpMethod::Get,
            HttpMethodName::Post => HttpMethod::Post,
        },
        headers: table.headers.clone(),
        body: table.body.as_ref().and_then(|body| serde_json::to_value(body).ok()),
        results: results.clone(),
        title: or(&table.title, "/title"),
        link: or(&table.link, "/url"),
        snippet: or(&table.snippet, "/snippet"),
        max_results: table.max_results.unwrap_or(SEARCH_RESULTS),
    };
    let allows = |name: &str, url: &Url| match secrets.iter().find(|(known, _)| known == name) {
        None => Err(format!("there is no secret {name:?} in [secrets]")),
        Some((_, secret)) if !secret.hosts.iter().any(|host| host.is_of(url)) => {
            Err(format!("secrets.{name}.hosts does not allow this url"))
        }
        Some(_) => Ok(()),
    };
    if let Err(invalid) = options.check().and_then(|()| options.check_secrets(allows)) {
        refuse(
            wrong,
            &[&format!("tools.search.{}", invalid.key), "tools.search"],
            invalid.problem,
        );
        return None;
    }
    Some(options)
}

/// Whether something stands before the host of a URL that may have placeholders in it.
fn has_user_info(url: &str) -> bool {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    authority.contains('@')
}

/// The databases by name, and what is wrong with them.
pub(super) fn resolve_databases(tools: &ToolsConfig, wrong: &mut Contradictions) -> BTreeMap<String, DatabaseConfig> {
    if tools.databases.is_empty() && tools.enabled.iter().any(|name| name == "sql_query") {
        let message = "\"sql_query\" needs a [tools.databases.NAME]: which database is to be read?";
        refuse(wrong, &["tools.enabled"], message);
    }
    let mut databases = BTreeMap::new();
    for (name, table) in &tools.databases {
        let table_key = dotted(&["tools".to_owned(), "databases".to_owned(), name.clone()]);
        let key = |name: &str| format!("{table_key}.{name}");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            let message = "a database's name is 1 to 64 letters, digits, '-' or '_'";
            refuse(wrong, &[&table_key], message);
        }
        let place = match (&table.postgres_url_env, &table.sqlite_path) {
            (Some(variable), None) if is_variable_name(variable) => {
                DatabasePlaceConfig::PostgresUrlIn(variable.clone())
            }
            // The text is not repeated: it may be a URL with a password in it.
            (Some(_), None) => {
                let message = "must be the name of an environment variable that holds the URL";
                refuse(wrong, &[&key("postgres_url_env")], message);
                continue;
            }
            (None, Some(path)) if !path.as_os_str().is_empty() => DatabasePlaceConfig::Sqlite(path.clone()),
            _ => {
                let message = "a database has either postgres_url_env or sqlite_path";
                refuse(wrong, &[&key("postgres_url_env"), &key("sqlite_path")], message);
                continue;
            }
        };
        let database = DatabaseConfig {
            place,
            max_rows: table.max_rows.unwrap_or(DATABASE_ROWS),
            timeout: table.timeout.unwrap_or(DATABASE_TIME),
            max_concurrent: table.max_concurrent.unwrap_or(DATABASE_STATEMENTS),
        };
        databases.insert(name.clone(), database);
    }
    databases
}
