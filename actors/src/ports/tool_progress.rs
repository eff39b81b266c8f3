//! How far a tool call is, as the tool says.

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Bytes of a message that are kept.
const LONGEST_MESSAGE: usize = 500;

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolProgress {
    /// Grows, in a measure of the tool's own.
    pub progress: f64,
    /// What it grows to, if the tool knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<f64>,
    /// What is being done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Takes what a call says of itself. Only the latest is kept until somebody looks, so a tool may say as much as it likes.
#[derive(Debug, Clone)]
pub struct ProgressReporter(watch::Sender<Option<ToolProgress>>);

impl ProgressReporter {
    /// One, and where what it takes can be heard.
    pub fn new() -> (Self, watch::Receiver<Option<ToolProgress>>) {
        let (said, heard) = watch::channel(None);
        (Self(said), heard)
    }

    /// Says how far the call is. What is no number is not passed on.
    pub fn report(&self, mut progress: ToolProgress) {
        if !progress.progress.is_finite() {
            return;
        }
        progress.total = progress.total.filter(|total| total.is_finite());
        if let Some(message) = &mut progress.message {
            message.truncate(message.floor_char_boundary(LONGEST_MESSAGE));
        }
        self.0.send_replace(Some(progress));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_heard_bounded_and_as_numbers_only() {
        let (reporter, mut heard) = ProgressReporter::new();
        let said = |progress, total, message: &str| ToolProgress {
            progress,
            total,
            message: Some(message.to_owned()),
        };
        reporter.report(said(1.0, Some(f64::INFINITY), "first"));
        reporter.report(said(2.0, Some(f64::NAN), &"é".repeat(400)));
        reporter.report(said(f64::NAN, None, "no number"));
        let latest = heard.borrow_and_update().clone().expect("something was said");
        assert_eq!((latest.progress, latest.total), (2.0, None));
        assert_eq!(latest.message.map(|message| message.len()), Some(LONGEST_MESSAGE));
    }
}
