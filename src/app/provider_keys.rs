//! The keys of providers, read once at the start from where the configuration says. They are never logged, printed or written.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::key_places::{OutsideErrors, OutsideProblem, described, read_key};
use crate::config::{Config, ProviderService};

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
    /// The text is ASCII.
    fn new(provider: &str, secret: SecretString) -> Self {
        let text = secret.expose_secret();
        let mut digest = Sha256::new();
        for part in ["callboard key of a provider", provider, text] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let is_long = text.len() >= LEAST_LENGTH_TO_SHOW;
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
/// All keys that are not where they should be, cannot be keys, or are there twice.
pub(super) fn read_provider_keys(config: &Config) -> Result<BTreeMap<String, Vec<ProviderKey>>, OutsideErrors> {
    let mut keys = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, provider) in &config.providers {
        let sources = match &provider.service {
            ProviderService::Simulated => &[],
            ProviderService::Remote { keys, .. } => keys.as_slice(),
        };
        let mut own: Vec<(String, ProviderKey)> = Vec::new();
        for source in sources {
            let named_by = source.named_by.as_str();
            let place = described(&source.place);
            let secret = match read_key(named_by, &source.place) {
                Ok(secret) => secret,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            let is_same = |key: &ProviderKey| key.secret.expose_secret() == secret.expose_secret();
            match own.iter().find(|(_, key)| is_same(key)) {
                Some((first, _)) => problems.push(OutsideProblem {
                    key: named_by.to_owned(),
                    message: format!(
                        "names a key of {name} for the second time: the {place} has the same as the {first}; its limits count once"
                    ),
                }),
                None => own.push((place, ProviderKey::new(name, secret))),
            }
        }
        keys.insert(name.clone(), own.into_iter().map(|(_, key)| key).collect());
    }
    OutsideErrors::of(problems)?;
    Ok(keys)
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
