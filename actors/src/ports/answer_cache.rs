//! Port `AnswerCache`: whole answers of model calls that would be answered the same again.

use std::sync::Arc;
use std::time::Duration;

use crate::ports::ModelDelta;

/// Whole answers, bounded in bytes, each for as long as its route says.
pub trait AnswerCache: Send + Sync + 'static {
    /// The answer to this call, if it is there and not too old.
    fn get(&self, call: &CallFingerprint) -> Option<Arc<CachedAnswer>>;

    /// Keeps an answer for this long, if there is room.
    fn put(&self, call: CallFingerprint, answer: Arc<CachedAnswer>, time_to_live: Duration);
}

/// SHA-256 of everything that makes a call what it is: account, model, instructions, conversation, tools, options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallFingerprint(pub [u8; 32]);

/// An answer as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct CachedAnswer {
    /// Who answered.
    pub provider: Arc<str>,
    /// Whether that was no real model.
    pub is_simulated: bool,
    /// All pieces; the last is [`ModelDelta::Finished`].
    pub pieces: Vec<ModelDelta>,
    /// About how much memory it takes.
    pub bytes: usize,
}
