//! Secrets that go out with requests: tokens of web endpoints and MCP servers, keys that requests are signed with.
//!
//! Clients name a secret and never see it. As they also say where a request goes, each secret has the list of places that it may be sent to,
//! and nothing reveals it for another one.

mod destination;
mod hidden;

use std::collections::{BTreeMap, BTreeSet};

use callboard_actors::ids::AccountId;
use reqwest::Url;
use secrecy::SecretString;

pub use destination::Destination;
pub use hidden::HiddenSecrets;

/// A secret, and what it is for.
#[derive(Debug)]
pub struct Secret {
    /// Sent as a part of a header field, or signed with.
    pub value: SecretString,
    /// The only places that it may be sent to.
    pub destinations: Vec<Destination>,
    /// The accounts whose runs may use it; `None` is all.
    pub accounts: Option<BTreeSet<AccountId>>,
}

/// The secrets of this server, by name.
#[derive(Debug, Default)]
pub struct Secrets(BTreeMap<String, Secret>);

/// Why a secret is not to be had. Fit for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretRefused {
    /// There is none of this name, or not for this account: one who may not use it need not know of it.
    #[error("there is no secret `{0}` here")]
    Unknown(String),
    /// It may not be sent there.
    #[error("the secret `{0}` may not be sent to this address")]
    NotForThisAddress(String),
}

impl Secrets {
    /// These, by name.
    pub fn new(secrets: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self(secrets.into_iter().collect())
    }

    /// The secret for a request of this account to `url`.
    ///
    /// # Errors
    /// It does not exist, not for this account, or not for this place.
    pub fn reveal(&self, name: &str, account: &AccountId, url: &Url) -> Result<&SecretString, SecretRefused> {
        let is_theirs = |secret: &Secret| match &secret.accounts {
            Some(accounts) => accounts.contains(account),
            None => true,
        };
        self.reveal_if(name, is_theirs, url)
    }

    /// The secret for a request that the configuration itself makes, whoever's run it is for.
    ///
    /// # Errors
    /// It does not exist, or not for this place.
    pub fn reveal_to_server(&self, name: &str, url: &Url) -> Result<&SecretString, SecretRefused> {
        self.reveal_if(name, |_| true, url)
    }

    fn reveal_if(
        &self,
        name: &str,
        may_use: impl FnOnce(&Secret) -> bool,
        url: &Url,
    ) -> Result<&SecretString, SecretRefused> {
        match self.0.get(name) {
            Some(secret) if may_use(secret) => {
                let is_for_it = secret.destinations.iter().any(|destination| destination.is_of(url));
                let refused = || SecretRefused::NotForThisAddress(name.to_owned());
                is_for_it.then_some(&secret.value).ok_or_else(refused)
            }
            _ => Err(SecretRefused::Unknown(name.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn secrets() -> Secrets {
        let secret = |value: &str, accounts: Option<&[&str]>| Secret {
            value: value.into(),
            destinations: vec!["api.example.com".parse().expect("a destination")],
            accounts: accounts.map(|accounts| {
                let accounts = accounts.iter().map(|account| account.parse().expect("an account"));
                accounts.collect()
            }),
        };
        Secrets::new([
            ("open".to_owned(), secret("hidden-1", None)),
            ("acme_only".to_owned(), secret("hidden-2", Some(&["acme"]))),
        ])
    }

    #[test]
    fn a_secret_is_for_its_places_and_accounts_only() {
        let secrets = secrets();
        let (acme, other) = (
            "acme".parse().expect("an account"),
            "other".parse().expect("an account"),
        );
        let right: Url = "https://api.example.com/v1?x=1".parse().expect("a URL");
        let revealed = |name: &str, account: &AccountId, url: &Url| {
            let secret = secrets.reveal(name, account, url);
            secret.map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(revealed("open", &other, &right).as_deref(), Ok("hidden-1"));
        assert_eq!(revealed("acme_only", &acme, &right).as_deref(), Ok("hidden-2"));
        // Whoever may not use it hears the same as of one that does not exist.
        assert_eq!(
            revealed("acme_only", &other, &right),
            Err(SecretRefused::Unknown("acme_only".into()))
        );
        assert_eq!(
            revealed("none", &acme, &right),
            Err(SecretRefused::Unknown("none".into()))
        );
        let elsewhere = "https://evil.example/".parse().expect("a URL");
        assert_eq!(
            revealed("open", &acme, &elsewhere),
            Err(SecretRefused::NotForThisAddress("open".into()))
        );
        assert!(secrets.reveal_to_server("acme_only", &right).is_ok());
        assert!(secrets.reveal_to_server("acme_only", &elsewhere).is_err());
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let shown = format!("{:?}", secrets());
        assert!(shown.contains("acme_only") && !shown.contains("hidden"), "{shown}");
    }
}
