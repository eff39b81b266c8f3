//! Where a server is, with all that it takes to go there.

use std::sync::Arc;

use callboard_actors::ids::AccountId;
use reqwest::Url;
use secrecy::SecretString;

use super::connection::Endpoint;
use super::http::{GuardedHttp, TokenSource};
use super::stdio::ServerCommand;
use super::unavailable::Unavailable;
use crate::outbound::{HeaderTemplates, Outbound};
use crate::secrets::{HiddenSecrets, SecretRefused, Secrets};

/// Where a server is.
pub(super) enum Place {
    Process(ServerCommand),
    Address(Box<Address>),
}

/// A server at an address.
pub(super) struct Address {
    pub(super) url: Url,
    pub(super) headers: HeaderTemplates,
    pub(super) tokens: Option<TokenSource>,
    pub(super) outbound: Outbound,
    pub(super) secrets: Arc<Secrets>,
    /// Whose secrets may go along; `None` is a server of the configuration.
    pub(super) account: Option<AccountId>,
}

impl Address {
    fn secret(&self, name: &str) -> Result<&SecretString, SecretRefused> {
        match &self.account {
            Some(account) => self.secrets.reveal(name, account, &self.url),
            None => self.secrets.reveal_to_server(name, &self.url),
        }
    }
}

impl Place {
    /// What a server here is told and must not give away.
    pub(super) fn hidden(&self) -> HiddenSecrets {
        match self {
            Self::Process(command) => HiddenSecrets::new(command.secret_environment.values()),
            Self::Address(address) => {
                let names = address.headers.secrets().map(|(_, name)| name);
                HiddenSecrets::new(names.filter_map(|name| address.secret(name).ok()))
            }
        }
    }

    /// What to connect to. `longest` is in bytes of a message.
    ///
    /// # Errors
    /// A header cannot be sent.
    pub(super) fn endpoint(&self, longest: usize) -> Result<Endpoint<'_>, Unavailable> {
        match self {
            Self::Process(command) => Ok(Endpoint::Process(command)),
            Self::Address(address) => {
                let Address {
                    url,
                    headers,
                    tokens,
                    outbound,
                    ..
                } = &**address;
                let filled = headers
                    .fill(|_| None, |name| address.secret(name))
                    .map_err(|wrong| Unavailable::Headers(format!("the header {}: {}", wrong.name, wrong.problem)))?;
                Ok(Endpoint::Http(GuardedHttp::new(
                    outbound.clone(),
                    url.clone(),
                    filled,
                    tokens.clone(),
                    longest,
                )))
            }
        }
    }
}
