//! The keys of providers, read once at the start from where the configuration says. They are never logged, printed or written.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::config::{Config, KeyPlace, ProviderService};

/// Of a shorter key not even the end is shown.
const LEAST_LENGTH_TO_SHOW: usize = 16;

/// No provider has keys as long as this; whoever names such a file means another.
const LONGEST_KEY: usize = 8 * 1024;

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

/// All keys that are not where they should be, cannot be keys, or are there twice; never empty. `Display` lists them, one a line, and says
/// nothing of what is in them.
#[derive(Debug, thiserror::Error)]
pub struct ProviderKeyErrors(Vec<String>);

impl fmt::Display for ProviderKeyErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [only] => formatter.write_str(only),
            all => write!(
                formatter,
                "{} keys of providers are missing or wrong:\n  {}",
                all.len(),
                all.join("\n  ")
            ),
        }
    }
}

/// Keys by provider, in the order of the configuration. A provider that asks for none has none.
///
/// # Errors
/// What is wrong with any of them.
pub(super) fn read_provider_keys(config: &Config) -> Result<BTreeMap<String, Vec<ProviderKey>>, ProviderKeyErrors> {
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
            let secret = match read_key(&source.place) {
                Ok(secret) => secret,
                Err(problem) => {
                    problems.push(format!("{named_by} names the {place}, which {problem}"));
                    continue;
                }
            };
            let is_same = |key: &ProviderKey| key.secret.expose_secret() == secret.expose_secret();
            match own.iter().find(|(_, key)| is_same(key)) {
                Some((first, _)) => problems.push(format!(
                    "{named_by} names a key of {name} for the second time: the {place} has the same as the {first}; its limits count once"
                )),
                None => own.push((place, ProviderKey::new(name, secret))),
            }
        }
        keys.insert(name.clone(), own.into_iter().map(|(_, key)| key).collect());
    }
    if problems.is_empty() {
        Ok(keys)
    } else {
        Err(ProviderKeyErrors(problems))
    }
}

fn described(place: &KeyPlace) -> String {
    match place {
        KeyPlace::Environment(variable) => format!("environment variable {variable}"),
        KeyPlace::File(path) => format!("file {}", path.display()),
    }
}

/// The error fits after "which".
fn read_key(place: &KeyPlace) -> Result<SecretString, String> {
    match place {
        KeyPlace::Environment(variable) => {
            let value = std::env::var_os(variable).unwrap_or_default();
            key_of(value.as_encoded_bytes(), "is not set or empty")
        }
        KeyPlace::File(path) => {
            // The error has the system's words and nothing of the file.
            let bytes = beginning_of(path).map_err(|error| format!("cannot be read: {error}"))?;
            key_of(&bytes, "is empty")
        }
    }
}

/// Enough to see whether there is more than a key.
fn beginning_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let enough = LONGEST_KEY as u64 + 1;
    File::open(path)?.take(enough).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The key without white space around it, if it can be one: it is sent as a header of HTTP.
fn key_of(bytes: &[u8], if_empty: &str) -> Result<SecretString, String> {
    if bytes.len() > LONGEST_KEY {
        return Err(format!("has more than {LONGEST_KEY} bytes: that is no key"));
    }
    let key = bytes.trim_ascii();
    if key.is_empty() {
        return Err(if_empty.to_owned());
    }
    if key.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return Err("has several lines: it must hold one key".to_owned());
    }
    match std::str::from_utf8(key) {
        Ok(text) if key.iter().all(|byte| matches!(byte, b' '..=b'~')) => Ok(text.to_owned().into()),
        _ => Err("has characters that no key has: it must be printable ASCII, without a byte order mark".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_printable_ascii_on_one_line() {
        let longest = "k".repeat(LONGEST_KEY);
        for right in ["k", " sk-1234\r\n", "\tsk-a b~", longest.as_str()] {
            let key = key_of(right.as_bytes(), "").expect("it can be a key");
            assert_eq!(key.expose_secret(), right.trim());
        }
        let too_long = format!("{longest}k");
        for (wrong, said) in [
            (&b""[..], "is empty"),
            (b" \n", "is empty"),
            (b"sk-1\nsk-2", "has several lines"),
            (b"sk-1\rsk-2", "has several lines"),
            (b"sk\x071", "has characters that no key has"),
            (b"sk\t1", "has characters that no key has"),
            (b"\xef\xbb\xbfsk-1", "has characters that no key has"),
            ("sk-ü".as_bytes(), "has characters that no key has"),
            (b"sk-\xff", "has characters that no key has"),
            (too_long.as_bytes(), "has more than 8192 bytes"),
        ] {
            let problem = key_of(wrong, "is empty").expect_err("it cannot be a key");
            assert!(problem.starts_with(said) && !problem.contains("sk"), "{problem}");
        }
    }

    #[test]
    fn no_more_of_a_file_is_read_than_a_key_may_have() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        std::fs::write(&path, vec![b'k'; 3 * LONGEST_KEY]).expect("written");
        assert_eq!(beginning_of(&path).expect("it is read").len(), LONGEST_KEY + 1);
    }

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
