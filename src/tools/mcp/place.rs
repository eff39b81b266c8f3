//! Where a server is, with all that it takes to go there.

use std::sync::Arc;

use callboard_actors::ids::AccountId;
use reqwest::Url;

use super::connection::Endpoint;
use super::http::GuardedHttp;
use super::stdio::ServerCommand;
use super::unavailable::Unavailable;
use crate::outbound::{HeaderTemplates, Outbound};
use crate::secrets::Secrets;

/// Where a server is.
pub(super) enum Place {
    Process(ServerCommand),
    Address(Box<Address>),
}

/// A server at an address.
pub(super) struct Address {
    pub(super) url: Url,
    pub(super) headers: HeaderTemplates,
    pub(super) outbound: Outbound,
    pub(super) secrets: Arc<Secrets>,
    /// Whose secrets may go along; `None` is a server of the configuration.
    pub(super) account: Option<AccountId>,
}

impl Place {
    /// What to connect to. `longest` is in bytes of a message.
    ///
    /// # Errors
    /// A header cannot be sent.
    pub(super) fn endpoint(&self, longest: usize) -> Result<Endpoint<'_>, Unavailable> {
        match self {
            Self::Process(command) => Ok(Endpoint::Process(command)),
            Self::Address(address) => {
                let Address {
                    url, headers, outbound, ..
                } = &**address;
                let secret = |name: &str| match &address.account {
                    Some(account) => address.secrets.reveal(name, account, url),
                    None => address.secrets.reveal_to_server(name, url),
                };
                let filled = headers
                    .fill(|_| None, secret)
                    .map_err(|wrong| Unavailable::Headers(format!("the header {}: {}", wrong.name, wrong.problem)))?;
                Ok(Endpoint::Http(GuardedHttp::new(
                    outbound.clone(),
                    url.clone(),
                    filled,
                    longest,
                )))
            }
        }
    }
}
