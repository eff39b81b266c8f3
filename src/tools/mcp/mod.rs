//! MCP servers as sources of tools. The only place that knows the protocol's library (`rmcp`, which changes often).
//!
//! | file | what it has |
//! |---|---|
//! | `mod.rs`, `opened.rs` | [`McpServers`]: all servers, and what a run gets of them |
//! | `server.rs`, `in_use.rs` | one server, shared by all runs: started when needed, started anew, closed when idle |
//! | `connection.rs` | a server that runs and speaks: its tools, and calls of them |
//! | `catalog.rs`, `names.rs` | which of its tools are fit for models, and by what name |
//! | `tool.rs`, `results.rs` | a call, and its result as text |
//! | `screened.rs`, `throttle.rs` | what comes between a server and the library: nothing that it says unasked is queued |
//! | `stdio/`, `http/` | the two ways to speak to one, with bounds on what is read |
//!
//! A server is somebody else's program: whatever it says is bounded, checked, and never trusted more than the configuration says.

mod catalog;
mod connection;
mod http;
mod in_use;
mod names;
mod opened;
mod options;
mod place;
mod restarts;
mod results;
mod screened;
mod server;
mod stdio;
mod tasks;
mod throttle;
mod too_large;
mod tool;
mod unavailable;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::toolbox::{InvalidTool, OpenTools};
use callboard_actors::tool_use::McpToolUse;
use futures::future::join_all;
use reqwest::Url;
use tokio::runtime::Handle;

pub use options::{
    ClientAuthentication, McpBounds, McpOptions, McpServerOptions, McpServerSettings, OauthClient, ServerPlace,
};
pub use stdio::ServerCommand;

use super::reach::ToolReach;
use crate::blocking::BlockingPool;
use crate::outbound::{HeaderTemplates, Outbound};
use opened::{Wanted, add};
use place::{Address, Place};
use server::{McpServer, Surroundings};
use tasks::Tasks;
use unavailable::Unavailable;

/// What metrics call the servers that clients name by address.
const CLIENT_SERVER: &str = "(by address)";

/// What a server may be called. It becomes the beginning of its tools' names.
const LONGEST_NAME: usize = 32;

/// All MCP servers. Cheap to clone.
#[derive(Clone)]
pub struct McpServers(Arc<Inner>);

struct Inner {
    configured: BTreeMap<String, Configured>,
    by_address: Mutex<HashMap<AddressKey, Arc<McpServer>>>,
    usual: McpServerSettings,
    bounds: McpBounds,
    max_client_servers: usize,
    reach: ToolReach,
    surroundings: Surroundings,
}

struct Configured {
    server: Arc<McpServer>,
    in_every_run: bool,
    accounts: Option<BTreeSet<AccountId>>,
}

/// Runs of one account that name the same address with the same headers share a server.
#[derive(Clone, PartialEq, Eq, Hash)]
struct AddressKey {
    account: AccountId,
    url: String,
    headers: BTreeMap<String, String>,
}

impl McpServers {
    /// These. None of them is started yet.
    ///
    /// # Errors
    /// The TLS of this machine cannot be used.
    pub fn new(options: McpOptions, reach: ToolReach, io: Handle) -> anyhow::Result<Self> {
        let surroundings = Surroundings {
            tasks: Tasks::default(),
            pool: reach.blocking_pool.clone(),
            io,
        };
        let outbound = Outbound::new(options.outbound)?;
        let configured = options.servers.into_iter().map(|server| {
            let name = server.name;
            let place = match server.place {
                ServerPlace::Process(command) => Place::Process(command),
                ServerPlace::Address { url, headers, oauth } => {
                    let address = Address::new(url, headers, outbound.clone(), reach.secrets.clone(), None);
                    Place::Address(Box::new(match oauth {
                        Some(client) => address.with_tokens(&name, *client),
                        None => address,
                    }))
                }
            };
            let (settings, bounds) = (server.settings, options.bounds);
            let shared = McpServer::new(
                name.clone(),
                name.clone(),
                place,
                settings,
                bounds,
                surroundings.clone(),
            );
            let configured = Configured {
                server: shared,
                in_every_run: server.in_every_run,
                accounts: server.accounts,
            };
            (name, configured)
        });
        Ok(Self(Arc::new(Inner {
            configured: configured.collect(),
            by_address: Mutex::default(),
            usual: options.usual,
            bounds: options.bounds,
            max_client_servers: options.max_client_servers,
            reach,
            surroundings,
        })))
    }

    /// Checks what a client declares; `index` is its place in the list.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, account: &AccountId, wish: &McpToolUse, index: usize) -> Result<(), InvalidTool> {
        let invalid = |field: String, problem: String| InvalidTool {
            index,
            field: Some(field),
            is_unknown: false,
            problem,
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let name = &wish.server;
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(allowed) {
            let problem = format!("a server's name has 1 to {LONGEST_NAME} letters, digits, '_' or '-'");
            return Err(invalid("server".to_owned(), problem));
        }
        let Some(url) = &wish.url else {
            if !wish.headers.is_empty() {
                let problem =
                    "headers go with `url` only; those of the server's own MCP servers are in its configuration";
                return Err(invalid("headers".to_owned(), problem.to_owned()));
            }
            return match self.configured_for(account, name) {
                Some(_) => Ok(()),
                None => Err(invalid(
                    "server".to_owned(),
                    format!("there is no MCP server `{name}` here"),
                )),
            };
        };
        if self.0.max_client_servers == 0 {
            let problem = "MCP servers cannot be named by address here";
            return Err(invalid("url".to_owned(), problem.to_owned()));
        }
        if self.configured_for(account, name).is_some() {
            let problem =
                format!("`{name}` is an MCP server of this server's own: one with a `url` is called otherwise");
            return Err(invalid("server".to_owned(), problem));
        }
        let url: Url = url
            .parse()
            .map_err(|_| invalid("url".to_owned(), "this is no address".to_owned()))?;
        let reachable = self.0.reach.outbound.check(&url);
        reachable.map_err(|problem| invalid("url".to_owned(), problem.to_string()))?;
        let wrong_header = |name: &str, problem: String| invalid(format!("headers.{name}"), problem);
        let headers = HeaderTemplates::parse(&wish.headers);
        let headers = headers.map_err(|wrong| wrong_header(&wrong.name, wrong.problem))?;
        if let Some((header, argument)) = headers.arguments().next() {
            let problem = format!("there is no argument `{argument}`: these headers are the same for all calls");
            return Err(wrong_header(header, problem));
        }
        for (header, secret) in headers.secrets() {
            let revealed = self.0.reach.secrets.reveal(secret, account, &url);
            revealed.map_err(|refused| wrong_header(header, refused.to_string()))?;
        }
        Ok(())
    }

    fn configured_for(&self, account: &AccountId, name: &str) -> Option<&Configured> {
        let found = self.0.configured.get(name)?;
        let is_theirs = found
            .accounts
            .as_ref()
            .is_none_or(|accounts| accounts.contains(account));
        is_theirs.then_some(found)
    }

    /// The servers that a run of this account names, and those that it gets without naming them.
    pub fn with_those_of_every_run(&self, account: &AccountId, named: Vec<McpToolUse>) -> Vec<McpToolUse> {
        let mut wishes = named;
        for (name, configured) in &self.0.configured {
            let is_named = wishes.iter().any(|wish| wish.server == *name && wish.url.is_none());
            if configured.in_every_run && !is_named && self.configured_for(account, name).is_some() {
                wishes.push(McpToolUse {
                    server: name.clone(),
                    url: None,
                    headers: BTreeMap::new(),
                    allowed_tools: None,
                    requires_approval: false,
                });
            }
        }
        wishes
    }

    /// Adds the tools of these servers to a run's, if nobody has to be asked for them. Else `None`, and nothing is added.
    pub fn open_known(&self, account: &AccountId, wishes: &[McpToolUse], open: &mut OpenTools) -> Option<()> {
        if wishes.is_empty() {
            return Some(());
        }
        let wanted = self.wanted(account, wishes);
        let known = wanted.iter().map(|wanted| match &wanted.server {
            Ok(server) => server.known_tools().map(Ok),
            Err(reason) => Some(Err(reason.clone())),
        });
        let known = known.collect::<Option<Vec<_>>>()?;
        let pool = self.pool_for(account);
        for (wanted, catalog) in wanted.into_iter().zip(known) {
            add(wanted, &pool, catalog, open);
        }
        Some(())
    }

    /// Adds the tools of these servers to a run's. A server that does not answer in time takes away its tools and is told as missing.
    pub async fn open(&self, account: &AccountId, wishes: &[McpToolUse], open: &mut OpenTools) {
        let bounds = self.0.bounds;
        let asking = self.wanted(account, wishes).into_iter().map(|wanted| async move {
            let catalog = match &wanted.server {
                Err(reason) => Err(reason.clone()),
                Ok(server) => {
                    let longest = server.settings.setup_timeout;
                    let asking = async {
                        let connection = server.connect(longest).await?;
                        Ok(connection.tools(&server.name, &bounds, longest / 2).await)
                    };
                    // A start is bounded by itself; this is for those who wait for a server's rest to be over first.
                    let asked = tokio::time::timeout(longest + longest / 2, asking).await;
                    asked.unwrap_or(Err(Unavailable::Silent(longest)))
                }
            };
            (wanted, catalog)
        });
        let pool = self.pool_for(account);
        for (wanted, catalog) in join_all(asking).await {
            add(wanted, &pool, catalog, open);
        }
    }

    fn pool_for(&self, account: &AccountId) -> BlockingPool {
        self.0.reach.blocking_pool.for_account(account)
    }

    fn wanted(&self, account: &AccountId, wishes: &[McpToolUse]) -> Vec<Wanted> {
        let wanted = wishes.iter().map(|wish| Wanted {
            server: self.server_of(account, wish),
            wish: wish.clone(),
        });
        wanted.collect()
    }

    fn server_of(&self, account: &AccountId, wish: &McpToolUse) -> Result<Arc<McpServer>, Unavailable> {
        let Some(url) = &wish.url else {
            let found = self.configured_for(account, &wish.server);
            return found.map(|found| found.server.clone()).ok_or(Unavailable::Unknown);
        };
        let key = AddressKey {
            account: account.clone(),
            url: url.clone(),
            headers: wish.headers.clone(),
        };
        let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = by_address.get(&key) {
            return Ok(server.clone());
        }
        if !self.has_place_for(account, &by_address) {
            by_address.retain(|_, server| !server.is_down() || Arc::strong_count(server) > 1);
        }
        if !self.has_place_for(account, &by_address) {
            return Err(Unavailable::TooMany);
        }
        // They were checked when the run was taken on.
        let url = url.parse().map_err(|_| Unavailable::Unknown)?;
        let headers = HeaderTemplates::parse(&wish.headers).map_err(|wrong| Unavailable::Headers(wrong.problem))?;
        let (outbound, secrets) = (self.0.reach.outbound.clone(), self.0.reach.secrets.clone());
        let address = Address::new(url, headers, outbound, secrets, Some(account.clone()));
        let place = Place::Address(Box::new(address));
        let (settings, bounds) = (self.0.usual, self.0.bounds);
        let (name, label) = (wish.server.clone(), CLIENT_SERVER.to_owned());
        let server = McpServer::new(name, label, place, settings, bounds, self.0.surroundings.clone());
        by_address.insert(key, server.clone());
        Ok(server)
    }

    /// Whether this account may have one more server by address: only if it has fewer than there are places left. So one account alone gets
    /// half of them and two get a third each; none takes the last one from those who have none.
    fn has_place_for(&self, account: &AccountId, by_address: &HashMap<AddressKey, Arc<McpServer>>) -> bool {
        let left = self.0.max_client_servers.saturating_sub(by_address.len());
        let own = by_address.keys().filter(|key| key.account == *account).count();
        own < left
    }

    /// Ends all servers, within this time. None is started any more.
    pub async fn close(&self, longest: Duration) {
        for configured in self.0.configured.values() {
            configured.server.close();
        }
        let by_address: Vec<_> = {
            let mut by_address = self.0.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            by_address.drain().map(|(_, server)| server).collect()
        };
        for server in by_address {
            server.close();
        }
        self.0.surroundings.tasks.end(longest).await;
    }
}
