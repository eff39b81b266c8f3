//! `[outbound]` and `[secrets.<name>]`: requests to addresses that clients, models and other servers choose.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use serde::Deserialize;

use super::layers::dotted;
use super::providers::KeyPlace;
use super::resolve::{Contradictions, WrittenConfig, refuse};
use super::values;
use super::variable_names::is_variable_name;
use crate::outbound::{AllowedNetwork, PortRange};
use crate::secrets::Destination;

/// `[outbound]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Networks beside the public internet.
    pub allow: Vec<AllowedNetwork>,
    /// Ports that may be asked.
    pub ports: Vec<PortRange>,
    /// What requests say they come from.
    pub user_agent: String,
    /// Bytes of an answer.
    pub max_response: usize,
    /// To a connection.
    pub connect_timeout: Duration,
    /// From a request to the end of its answer.
    pub timeout: Duration,
    /// Answers in a row that say to go elsewhere.
    pub max_redirects: usize,
}

/// `[outbound]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutboundTable {
    allow: Vec<String>,
    ports: Vec<String>,
    user_agent: String,
    #[serde(deserialize_with = "values::memory_size")]
    max_response: usize,
    #[serde(deserialize_with = "values::duration")]
    connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    timeout: Duration,
    max_redirects: usize,
}

/// A secret, which is not read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// Where it stands.
    pub place: KeyPlace,
    /// The only places that it may be sent to.
    pub hosts: Vec<Destination>,
    /// The accounts that may use it; `None` is all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// A secret's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SecretTable {
    env: Option<String>,
    file: Option<PathBuf>,
    #[serde(deserialize_with = "values::text_or_list")]
    hosts: Vec<String>,
    accounts: Option<Vec<String>>,
}

/// `[outbound]`, and what is wrong with it.
pub(super) fn resolve_outbound(table: &OutboundTable, wrong: &mut Contradictions) -> OutboundConfig {
    let mut parse = Parsing(wrong);
    let config = OutboundConfig {
        allow: parse.list("outbound.allow", &table.allow),
        ports: parse.list("outbound.ports", &table.ports),
        user_agent: table.user_agent.clone(),
        max_response: table.max_response,
        connect_timeout: table.connect_timeout,
        timeout: table.timeout,
        max_redirects: table.max_redirects,
    };
    let is_sent = reqwest::header::HeaderValue::from_str(&table.user_agent).is_ok();
    if !is_sent || table.user_agent.trim().is_empty() {
        refuse(
            wrong,
            &["outbound.user_agent"],
            "must be printable ASCII, and not empty",
        );
    }
    config
}

/// Those of `[secrets]`, by name, and what is wrong with them.
pub(super) fn resolve_secrets(written: &WrittenConfig, wrong: &mut Contradictions) -> Vec<(String, SecretConfig)> {
    let mut secrets = Vec::new();
    for (name, table) in &written.secrets {
        let table_key = dotted(&["secrets".to_owned(), name.clone()]);
        let key = |name: &str| format!("{table_key}.{name}");
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(allowed) {
            let message = "a secret's name is 1 to 64 letters, digits, '-' or '_'";
            refuse(wrong, &[&table_key], message);
        }
        let hosts = Parsing(wrong).list(&key("hosts"), &table.hosts);
        if table.hosts.is_empty() {
            let message = "is missing: which hosts may the secret be sent to? For example [\"api.example.com\"]";
            refuse(wrong, &[&key("hosts")], message);
        }
        let accounts = table.accounts.as_ref().map(|accounts| {
            let accounts: Vec<AccountId> = Parsing(wrong).list(&key("accounts"), accounts);
            accounts.into_iter().collect()
        });
        let place = match (&table.env, &table.file) {
            (Some(variable), None) if is_variable_name(variable) => KeyPlace::Environment(variable.clone()),
            // The text is not repeated: it may be the secret itself.
            (Some(_), None) => {
                let message = "must be the name of an environment variable that holds the secret; the secret itself never stands in the \
                               configuration";
                refuse(wrong, &[&key("env")], message);
                continue;
            }
            (None, Some(path)) if !path.as_os_str().is_empty() => KeyPlace::File(path.clone()),
            (None, Some(_)) => {
                refuse(
                    wrong,
                    &[&key("file")],
                    "must be the path of a file that holds the secret",
                );
                continue;
            }
            (Some(_), Some(_)) => {
                refuse(
                    wrong,
                    &[&key("env"), &key("file")],
                    "a secret has either env or file, not both",
                );
                continue;
            }
            (None, None) => {
                let message = "is missing: where does the secret stand? Set env or file";
                refuse(wrong, &[&key("env")], message);
                continue;
            }
        };
        let secret = SecretConfig { place, hosts, accounts };
        secrets.push((name.clone(), secret));
    }
    secrets
}

struct Parsing<'a>(&'a mut Contradictions);

impl Parsing<'_> {
    /// The list, without what cannot be read.
    fn list<T>(&mut self, key: &str, texts: &[String]) -> Vec<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        let mut parsed = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match text.parse() {
                Ok(value) => parsed.push(value),
                Err(problem) => refuse(self.0, &[key], format!("entry {}: {problem}", index + 1)),
            }
        }
        parsed
    }
}
