//! What MCP servers there are, and how each is treated.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::RetryClass;
use reqwest::Url;

use super::stdio::ServerCommand;
use crate::outbound::{HeaderTemplates, OutboundOptions};

/// All that MCP servers need.
#[derive(Debug, Clone)]
pub struct McpOptions {
    /// Those of the configuration.
    pub servers: Vec<McpServerOptions>,
    /// How those are treated that clients name by address.
    pub usual: McpServerSettings,
    /// What is taken from any server.
    pub bounds: McpBounds,
    /// Servers that clients name by address: how many are remembered.
    pub max_client_servers: usize,
    /// How requests to servers of the configuration go out: the configuration may name any address.
    pub outbound: OutboundOptions,
}

/// A server of the configuration.
#[derive(Debug, Clone)]
pub struct McpServerOptions {
    /// What runs call it.
    pub name: String,
    /// Where it is.
    pub place: ServerPlace,
    /// How it is treated.
    pub settings: McpServerSettings,
    /// Every run has its tools, and not only those that name it.
    pub in_every_run: bool,
    /// The accounts whose runs may use it; `None` is all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// Where a server is.
#[derive(Debug, Clone)]
pub enum ServerPlace {
    /// In a process that is started here.
    Process(ServerCommand),
    /// At an address, over streamable HTTP.
    Address {
        /// Which.
        url: Url,
        /// What is sent along with each request.
        headers: HeaderTemplates,
    },
}

/// How a server is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpServerSettings {
    /// From the start to the list of its tools.
    pub setup_timeout: Duration,
    /// How long a call may take without a sign of progress.
    pub call_timeout: Duration,
    /// After how long without a call it is closed; `None` is never.
    pub idle_timeout: Option<Duration>,
    /// Calls under way, of all runs together.
    pub max_concurrent: usize,
    /// What may be done when it is not known what became of a call.
    pub retry: RetryClass,
    /// Whether its own word is taken for which of its tools change nothing or may be called twice.
    pub trust_annotations: bool,
}

/// What is taken from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct McpBounds {
    /// Bytes of a message.
    pub max_message: usize,
    /// Tools.
    pub max_tools: usize,
    /// Bytes of a tool's description; the rest is cut off.
    pub max_description: usize,
    /// Bytes of a tool's schema; a tool with a larger one is left out.
    pub max_schema: usize,
    /// How long a call may take, however much progress it makes.
    pub longest_call: Duration,
}
