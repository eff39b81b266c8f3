//! `[mcp]` and `[mcp.servers.<name>]`: MCP servers whose tools runs may call.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::RetryClass;
use reqwest::Url;
use serde::Deserialize;

use super::layers::dotted;
use super::mcp_oauth::OauthTable;
use super::outbound::SecretConfig;
use super::resolve::{Contradictions, refuse};
use super::resolve_providers::check_url;
use super::values;
use super::variable_names::is_variable_name;
use crate::outbound::HeaderTemplates;
use crate::tools::mcp::OauthClient;

/// `[mcp]`, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpConfig {
    /// How servers are treated that say nothing else.
    pub usual: McpSettingsConfig,
    /// Bytes of a message of a server.
    pub max_message: usize,
    /// Tools of a server.
    pub max_tools: usize,
    /// Bytes of a tool's description.
    pub max_description: usize,
    /// Bytes of a tool's schema.
    pub max_schema: usize,
    /// Servers that clients name by address.
    pub max_client_servers: usize,
    /// Those of the configuration, by name.
    pub servers: BTreeMap<String, McpServerConfig>,
}

/// How a server is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpSettingsConfig {
    /// From its start to the list of its tools.
    pub setup_timeout: Duration,
    /// A call, without a sign of progress.
    pub call_timeout: Duration,
    /// After how long without a call it is closed; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// Calls under way.
    pub max_concurrent: usize,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct McpServerConfig {
    /// Where it is.
    pub place: McpPlace,
    /// How it is treated.
    pub settings: McpSettingsConfig,
    /// What may be done when it is not known what became of a call.
    pub retry: RetryClass,
    /// Whether its own word is taken for which of its tools change nothing.
    pub trust_annotations: bool,
    /// Every run has its tools.
    pub in_every_run: bool,
    /// The accounts whose runs may use it; `None` is all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum McpPlace {
    /// A process of this machine.
    Process {
        /// The program.
        command: String,
        /// What it is started with.
        args: Vec<String>,
        /// Variables of its environment.
        env: BTreeMap<String, String>,
        /// Variables of this server's own environment that it has too.
        env_from: Vec<String>,
        /// Variables whose values stand in files.
        env_files: BTreeMap<String, PathBuf>,
        /// Where it runs.
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP.
    Address {
        /// Where.
        url: Url,
        /// What is sent along.
        headers: HeaderTemplates,
        /// How to get access tokens for it.
        oauth: Option<Box<OauthClient>>,
    },
}

/// `[mcp]` as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct McpTable {
    #[serde(deserialize_with = "values::duration")]
    setup_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    call_timeout: Duration,
    #[serde(deserialize_with = "values::duration")]
    idle_timeout: Duration,
    max_concurrent: usize,
    #[serde(deserialize_with = "values::memory_size")]
    max_message: usize,
    max_tools: usize,
    #[serde(deserialize_with = "values::memory_size")]
    max_description: usize,
    #[serde(deserialize_with = "values::memory_size")]
    max_schema: usize,
    max_client_servers: usize,
    #[serde(default)]
    servers: BTreeMap<String, ServerTable>,
}

/// A server's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ServerTable {
    command: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    #[serde(deserialize_with = "values::text_or_list")]
    env_from: Vec<String>,
    env_files: BTreeMap<String, PathBuf>,
    cwd: Option<PathBuf>,
    url: Option<String>,
    headers: BTreeMap<String, String>,
    oauth: Option<OauthTable>,
    #[serde(deserialize_with = "values::optional_duration")]
    setup_timeout: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    call_timeout: Option<Duration>,
    #[serde(deserialize_with = "values::optional_duration")]
    idle_timeout: Option<Duration>,
    max_concurrent: Option<usize>,
    retry: Option<RetryClass>,
    trust_annotations: bool,
    in_every_run: bool,
    accounts: Option<Vec<String>>,
}

/// `[mcp]`, and what is wrong with it. `secrets` are those that headers may name.
pub(super) fn resolve_mcp(
    table: &McpTable,
    secrets: &[(String, SecretConfig)],
    wrong: &mut Contradictions,
) -> McpConfig {
    let or_none = |duration: Duration| Some(duration).filter(|duration| !duration.is_zero());
    let usual = McpSettingsConfig {
        setup_timeout: table.setup_timeout,
        call_timeout: table.call_timeout,
        idle_timeout: or_none(table.idle_timeout),
        max_concurrent: table.max_concurrent,
    };
    let mut servers = BTreeMap::new();
    for (name, server) in &table.servers {
        let mut resolving = Resolving {
            table_key: dotted(&["mcp".to_owned(), "servers".to_owned(), name.clone()]),
            server,
            secrets,
            wrong,
        };
        resolving.check_name(name);
        let accounts = resolving.accounts();
        let Some(place) = resolving.place() else { continue };
        let settings = McpSettingsConfig {
            setup_timeout: server.setup_timeout.unwrap_or(usual.setup_timeout),
            call_timeout: server.call_timeout.unwrap_or(usual.call_timeout),
            idle_timeout: server.idle_timeout.map_or(usual.idle_timeout, or_none),
            max_concurrent: server.max_concurrent.unwrap_or(usual.max_concurrent),
        };
        let resolved = McpServerConfig {
            place,
            settings,
            retry: server.retry.unwrap_or(RetryClass::Unsafe),
            trust_annotations: server.trust_annotations,
            in_every_run: server.in_every_run,
            accounts,
        };
        servers.insert(name.clone(), resolved);
    }
    McpConfig {
        usual,
        max_message: table.max_message,
        max_tools: table.max_tools,
        max_description: table.max_description,
        max_schema: table.max_schema,
        max_client_servers: table.max_client_servers,
        servers,
    }
}

/// One server's table, and what is wrong with it.
struct Resolving<'a> {
    table_key: String,
    server: &'a ServerTable,
    secrets: &'a [(String, SecretConfig)],
    wrong: &'a mut Contradictions,
}

impl Resolving<'_> {
    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        let key = format!("{}.{key}", self.table_key);
        refuse(self.wrong, &[&key], message);
    }

    fn check_name(&mut self, name: &str) {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > 32 || !name.bytes().all(allowed) {
            let message =
                "an MCP server's name is 1 to 32 letters, digits, '-' or '_': the names of its tools begin with it";
            refuse(self.wrong, &[&self.table_key], message);
        }
    }

    fn accounts(&mut self) -> Option<BTreeSet<AccountId>> {
        let mut accounts = BTreeSet::new();
        for (index, text) in self.server.accounts.as_ref()?.iter().enumerate() {
            match text.parse() {
                Ok(account) => drop(accounts.insert(account)),
                Err(problem) => self.refuse("accounts", format!("entry {}: {problem}", index + 1)),
            }
        }
        Some(accounts)
    }

    fn place(&mut self) -> Option<McpPlace> {
        let server = self.server;
        let of_process = [
            ("args", !server.args.is_empty()),
            ("env", !server.env.is_empty()),
            ("env_from", !server.env_from.is_empty()),
            ("env_files", !server.env_files.is_empty()),
            ("cwd", server.cwd.is_some()),
        ];
        match (&server.command, &server.url) {
            (Some(command), None) => {
                for (key, is_set) in [
                    ("headers", !server.headers.is_empty()),
                    ("oauth", server.oauth.is_some()),
                ] {
                    if is_set {
                        self.refuse(key, "has a meaning with url only");
                    }
                }
                self.process(command)
            }
            (None, Some(url)) => {
                for (key, _) in of_process.into_iter().filter(|(_, is_set)| *is_set) {
                    self.refuse(key, "has a meaning with command only");
                }
                self.address(url)
            }
            (Some(_), Some(_)) => {
                self.refuse("url", "a server has either command or url, not both");
                None
            }
            (None, None) => {
                self.refuse(
                    "command",
                    "is missing: what is started? Set command, or url for a server elsewhere",
                );
                None
            }
        }
    }

    fn process(&mut self, command: &str) -> Option<McpPlace> {
        let server = self.server;
        if command.trim().is_empty() {
            self.refuse("command", "must be the name or the path of a program");
        }
        for name in server.env.keys().chain(server.env_files.keys()) {
            if !is_variable_name(name) {
                self.refuse("env", format!("{name:?} is no name of an environment variable"));
            }
        }
        if !server.env_from.iter().all(|name| is_variable_name(name)) {
            // The text is not repeated: it may be a secret itself.
            let message = "must be names of environment variables of this server, which the MCP server is to have too; values never stand in \
                           the configuration";
            self.refuse("env_from", message);
        }
        Some(McpPlace::Process {
            command: command.to_owned(),
            args: server.args.clone(),
            env: server.env.clone(),
            env_from: server.env_from.clone(),
            env_files: server.env_files.clone(),
            cwd: server.cwd.clone(),
        })
    }

    fn address(&mut self, text: &str) -> Option<McpPlace> {
        let url = check_url(text, "headers")
            .map_err(|problem| self.refuse("url", problem))
            .ok();
        let headers = HeaderTemplates::parse(&self.server.headers);
        let headers = headers.map_err(|wrong| self.refuse("headers", format!("{}: {}", wrong.name, wrong.problem)));
        let (url, headers) = url.zip(headers.ok())?;
        if let Some((header, argument)) = headers.arguments().next() {
            self.refuse(
                "headers",
                format!("{header}: there is no argument {argument:?} to fill in"),
            );
        }
        for (header, name) in headers.secrets() {
            match self.secrets.iter().find(|(known, _)| known == name) {
                None => self.refuse("headers", format!("{header}: there is no secret {name:?} in [secrets]")),
                Some((_, secret)) if !secret.hosts.iter().any(|host| host.is_of(&url)) => {
                    self.refuse(
                        "headers",
                        format!("{header}: secrets.{name}.hosts does not allow this url"),
                    );
                }
                Some(_) => {}
            }
        }
        let oauth = self.server.oauth.as_ref().and_then(|oauth| {
            let secrets = self.secrets;
            oauth.resolve(&url, &headers, secrets, |key, message| {
                self.refuse(&format!("oauth.{key}"), message)
            })
        });
        Some(McpPlace::Address {
            url,
            headers,
            oauth: oauth.map(Box::new),
        })
    }
}
