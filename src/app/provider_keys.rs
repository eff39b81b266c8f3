//! The keys of providers, read once at the start from where the configuration says. They are never logged, printed or written.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::parts::secret_from_env;
use crate::config::{Config, KeyPlace, ProviderService};

/// Of a shorter key not even the end is shown.
const LEAST_LENGTH_TO_SHOW: usize = 16;

/// A key of a provider.
pub(super) struct ProviderKey {
    pub(super) secret: SecretString,
    /// Its last four characters, for people to tell keys apart.
    pub(super) last_four: Option<String>,
    /// What its use is counted under, shared by a fleet: the same for the same secret of a provider, wherever it stands in the configuration,
    /// and another for another. 32 bits tell the keys of a provider apart, and nothing of a secret.
    pub(super) fingerprint: String,
}

impl ProviderKey {
    fn new(provider: &str, secret: SecretString) -> Self {
        let text = secret.expose_secret();
        let mut digest = Sha256::new();
        for part in ["callboard key of a provider", provider, text] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let is_long = text.len() >= LEAST_LENGTH_TO_SHOW && text.is_ascii();
        Self {
            last_four: is_long.then(|| text[text.len() - 4..].to_owned()),
            fingerprint: digest.finalize()[..4]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            secret,
        }
    }
}

/// Keys by provider, in the order of the configuration. A provider that asks for none has none.
///
/// # Errors
/// All keys that are not where they should be, and those that are there twice.
pub(super) fn read_provider_keys(config: &Config) -> anyhow::Result<BTreeMap<String, Vec<ProviderKey>>> {
    let mut keys = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, provider) in &config.providers {
        let sources = match &provider.service {
            ProviderService::Simulated => &[],
            ProviderService::Remote { keys, .. } => keys.as_slice(),
        };
        let mut own: Vec<ProviderKey> = Vec::new();
        for source in sources {
            let key = source.named_by.as_str();
            let read = match &source.place {
                KeyPlace::Environment(variable) => secret_from_env(key, variable),
                KeyPlace::File(path) => secret_from_file(key, path),
            };
            match read {
                Ok(secret) if own.iter().any(|other| is_same(&other.secret, &secret)) => {
                    problems.push(format!(
                        "{key} names a key of {name} for the second time; its limits count once"
                    ));
                }
                Ok(secret) => own.push(ProviderKey::new(name, secret)),
                Err(problem) => problems.push(problem.to_string()),
            }
        }
        keys.insert(name.clone(), own);
    }
    match problems.len() {
        0 => Ok(keys),
        1 => bail!("{}", problems[0]),
        count => bail!(
            "{count} keys of providers are missing or wrong:\n  {}",
            problems.join("\n  ")
        ),
    }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}

fn secret_from_file(key: &str, path: &Path) -> anyhow::Result<SecretString> {
    match std::fs::read_to_string(path) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned().into()),
        Ok(_) => bail!("{key} names the file {}, which is empty", path.display()),
        // The error has the system's words and nothing of the file.
        Err(error) => bail!("{key} names the file {}, which cannot be read: {error}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_secret_and_shows_none_of_it() {
        let of = |provider: &str, secret: &str| ProviderKey::new(provider, secret.into()).fingerprint;
        let one = of("east", "sk-simulated-0001");
        assert_eq!(one, of("east", "sk-simulated-0001"));
        assert_eq!(one.len(), 8);
        for other in [
            of("west", "sk-simulated-0001"),
            of("east", "sk-simulated-0002"),
            of("east", ""),
        ] {
            assert_ne!(one, other);
        }
    }
}
