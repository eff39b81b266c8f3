//! Where a server is, with all that it takes to go there.

use std::sync::Arc;

use callboard_actors::ids::AccountId;
use reqwest::Url;
use secrecy::SecretString;

use super::connection::Endpoint;
use super::http::{GuardedHttp, TokenSource};
use super::options::OauthClient;
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
    url: Url,
    headers: HeaderTemplates,
    tokens: Option<TokenSource>,
    outbound: Outbound,
    secrets: Arc<Secrets>,
    account: Option<AccountId>,
    hidden: HiddenSecrets,
}

impl Address {
    /// Without access tokens. `account` is whose secrets may go along; `None` is a server of the configuration.
    pub(super) fn new(
        url: Url,
        headers: HeaderTemplates,
        outbound: Outbound,
        secrets: Arc<Secrets>,
        account: Option<AccountId>,
    ) -> Self {
        let mut address = Self {
            url,
            headers,
            tokens: None,
            outbound,
            secrets,
            account,
            hidden: HiddenSecrets::default(),
        };
        let names = address.headers.secrets().map(|(_, name)| name);
        let known: Vec<SecretString> = names.filter_map(|name| address.secret(name).ok().cloned()).collect();
        address.hidden = HiddenSecrets::new(&known);
        address
    }

    /// With access tokens for this client. `server` is what logs call the server.
    pub(super) fn with_tokens(mut self, server: &str, client: OauthClient) -> Self {
        self.tokens = Some(TokenSource::new(
            server.to_owned(),
            client,
            self.secrets.clone(),
            self.outbound.clone(),
            self.hidden.clone(),
        ));
        self
    }

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
            Self::Address(address) => address.hidden.clone(),
        }
    }

    /// Whether it is there for one account and no other.
    pub(super) fn is_of_one_account(&self) -> bool {
        matches!(self, Self::Address(address) if address.account.is_some())
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
