//! What MCP servers there are, and how each is treated.

use std::collections::BTreeSet;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::ports::RetryClass;
use reqwest::Url;
use serde::Deserialize;

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
        /// How to get access tokens for it, if it wants them.
        oauth: Option<Box<OauthClient>>,
    },
}

/// Callboard as a client of an authorization server, which gives it access tokens for an MCP server by the client credentials grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthClient {
    /// The token endpoint.
    pub token_url: Url,
    /// What the authorization server calls this client.
    pub client_id: String,
    /// The name of the secret that proves it. It has to be for `token_url`.
    pub client_secret: String,
    /// How the client says who it is.
    pub authentication: ClientAuthentication,
    /// What the token is to allow.
    pub scopes: Vec<String>,
    /// What the token is for (RFC 8707).
    pub resource: String,
    /// The same, for authorization servers that call it so.
    pub audience: Option<String>,
}

/// How a client says who it is at a token endpoint. The names are those of OAuth's registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum ClientAuthentication {
    /// In the `authorization` header.
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// In the body of the request.
    #[serde(rename = "client_secret_post")]
    Post,
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
