//! How large a call is, as an estimate, and what is said of one that is too large for the limits of its keys.

use crate::ports::rate_limits::may_fit;
use crate::ports::{ModelError, ModelErrorKind};

/// Tokens that a call counts for before it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallSize {
    /// What the model reads.
    pub(super) input: u64,
    /// What it may write at most, where it is told; else what it usually writes.
    pub(super) output: u64,
}

impl CallSize {
    pub(super) const fn total(self) -> u64 {
        self.input.saturating_add(self.output)
    }

    /// No key allows more than so many tokens in a minute.
    pub(super) fn too_large_for(self, limit: u64) -> ModelError {
        let message = format!(
            "the call needs about {} tokens ({} to read, {} to write), and the keys that there are for it allow no more than {limit} in a minute; \
             make its input shorter, or lower limits.max_output_tokens",
            self.total(),
            self.input,
            self.output
        );
        ModelError::new(ModelErrorKind::Status(413), message)
    }

    /// The error of a call of this size, with the call's fault told from the key's: a key whose whole limit is lower has not met it.
    pub(super) fn blame(self, error: ModelError) -> ModelError {
        let limit = error.hints.tokens.limit.filter(|limit| *limit > 0);
        match limit {
            Some(limit) if (error.is_rate_limited() || error.is_too_large()) && !may_fit(self.total(), limit) => {
                ModelError {
                    hints: error.hints,
                    ..self.too_large_for(limit)
                }
            }
            _ => error,
        }
    }
}
