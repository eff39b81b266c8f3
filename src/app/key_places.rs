//! Reads keys, secrets and addresses from where the configuration says. They are never logged, printed or written.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use secrecy::SecretString;

use crate::config::KeyPlace;

/// No key is as long as this; whoever names such a file means another.
const LONGEST_KEY: usize = 8 * 1024;

/// What is wrong with something that the configuration names and that is not in it. Says nothing of what is in there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutsideProblem {
    /// The dotted key that names it.
    pub key: String,
    /// What is wrong, in words that go on after the key: `names the environment variable …`.
    pub message: String,
}

/// All that the configuration names and that is not where it should be, or is not what it should be; never empty. `Display` lists it, one a
/// line. One alone is all there is to say.
#[derive(Debug, thiserror::Error)]
pub struct OutsideErrors(pub(super) Vec<OutsideProblem>);

impl OutsideErrors {
    /// With one thing in it.
    pub(super) fn one(key: &str, message: impl Into<String>) -> Self {
        let key = key.to_owned();
        let message = message.into();
        Self(vec![OutsideProblem { key, message }])
    }

    /// `Ok` if there is nothing wrong.
    pub(super) fn of(problems: Vec<OutsideProblem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }
}

impl fmt::Display for OutsideErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |problem: &OutsideProblem| format!("{} {}", problem.key, problem.message);
        match self.0.as_slice() {
            [only] => formatter.write_str(&line(only)),
            all => {
                let count = all.len();
                write!(
                    formatter,
                    "{count} things that the configuration names are missing or wrong:"
                )?;
                all.iter()
                    .try_for_each(|problem| write!(formatter, "\n  {}", line(problem)))
            }
        }
    }
}

pub(super) fn described(place: &KeyPlace) -> String {
    match place {
        KeyPlace::Environment(variable) => format!("environment variable {variable}"),
        KeyPlace::File(path) => format!("file {}", path.display()),
    }
}

/// The key that `named_by` says is there.
pub(super) fn read_key(named_by: &str, place: &KeyPlace) -> Result<SecretString, OutsideProblem> {
    key_at(place).map_err(|problem| OutsideProblem {
        key: named_by.to_owned(),
        message: format!("names the {}, which {problem}", described(place)),
    })
}

/// What the configuration's key says is in this variable: an address, or a key of which nobody knows the form.
pub(super) fn read_variable(key: &str, name: &str) -> Result<SecretString, OutsideErrors> {
    match std::env::var(name) {
        Ok(secret) if !secret.trim().is_empty() => Ok(secret.trim().to_owned().into()),
        _ => Err(wrong_variable(key, name, "is not set or empty")),
    }
}

/// `problem` fits after "which".
pub(super) fn wrong_variable(key: &str, name: &str, problem: &str) -> OutsideErrors {
    OutsideErrors::one(key, format!("names the environment variable {name}, which {problem}"))
}

/// The error fits after "which".
fn key_at(place: &KeyPlace) -> Result<SecretString, String> {
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
    use secrecy::ExposeSecret;

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
}
