//! API key secrets: made here, shown once, stored as a hash.

use std::fmt;

use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};

/// What every secret starts with, so that scanners for leaked secrets know it.
const PREFIX: &str = "ck_";

/// The secret of an API key: `ck_` and 64 hexadecimal digits, 256 random bits. `Debug` does not show it. That many bits
/// cannot be guessed, so a plain SHA-256 protects them as well as a slow hash would.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeySecret(String);

impl ApiKeySecret {
    /// A new secret from the operating system's random numbers.
    ///
    /// # Errors
    /// The operating system has none.
    pub fn generate() -> Result<Self, NoRandomNumbers> {
        let mut bytes = [0u8; 32];
        SysRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandomNumbers)?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("{PREFIX}{digits}")))
    }

    /// The secret, to be shown once.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What the store keeps: SHA-256 of the whole text, prefix included.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_bytes()).into()
    }

    /// The last four characters, to tell keys apart.
    pub fn last_four(&self) -> String {
        self.0[self.0.len() - 4..].to_owned()
    }
}

impl fmt::Debug for ApiKeySecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}…{}", self.last_four())
    }
}

/// The operating system gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random numbers, so no secret can be made")]
pub struct NoRandomNumbers;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same_and_debug_hides_them() {
        let (one, other) = (
            ApiKeySecret::generate().expect("random numbers"),
            ApiKeySecret::generate().expect("random numbers"),
        );
        assert_ne!(one, other);
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.reveal().len(), "ck_".len() + 64);
        assert!(one.reveal().starts_with("ck_") && one.reveal().ends_with(&one.last_four()));
        assert!(!format!("{one:?}").contains(&one.reveal()[3..20]));
    }
}
