//! The secrets of `[secrets]`, read once at the start.

use std::fmt;

use super::key_places::{read_key, write_problems};
use crate::config::Config;
use crate::secrets::{Secret, Secrets};

/// All secrets that are not where they should be or cannot be sent; never empty. `Display` lists them, one a line, and says nothing of what is
/// in them.
#[derive(Debug, thiserror::Error)]
pub struct SecretErrors(pub(super) Vec<String>);

impl fmt::Display for SecretErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_problems(formatter, "secrets", &self.0)
    }
}

/// By name.
///
/// # Errors
/// What is wrong with any of them.
pub(super) fn read_secrets(config: &Config) -> Result<Secrets, SecretErrors> {
    let mut secrets = Vec::new();
    let mut problems = Vec::new();
    for (name, secret) in &config.secrets {
        match read_key(&format!("secrets.{name}"), &secret.place) {
            Ok(value) => {
                let secret = Secret {
                    value,
                    destinations: secret.hosts.clone(),
                    accounts: secret.accounts.clone(),
                };
                secrets.push((name.clone(), secret));
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(Secrets::new(secrets))
    } else {
        Err(SecretErrors(problems))
    }
}
