//! The secrets of `[secrets]`, read once at the start.

use super::key_places::{OutsideErrors, read_key};
use crate::config::Config;
use crate::secrets::{Secret, Secrets};

/// By name.
///
/// # Errors
/// All secrets that are not where they should be or cannot be sent.
pub(super) fn read_secrets(config: &Config) -> Result<Secrets, OutsideErrors> {
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
    OutsideErrors::of(problems)?;
    Ok(Secrets::new(secrets))
}
