//! What tests want of event streams, where anything else fails the test.

use serde_json::Value;

use crate::rig::{EventReader, Seen, SeenEvent, problems_of_log};

impl EventReader {
    /// The next event; `None` at the clean end of the stream.
    pub(crate) async fn next(&mut self) -> Option<SeenEvent> {
        super::patiently("an event", self.read())
            .await
            .expect("the stream does not break")
    }

    /// Reads until an event of this kind has come, and gives all.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<SeenEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            let found = event.kind == kind;
            seen.push(event);
            if found {
                return seen;
            }
        }
        panic!("the stream ended without {kind}: {seen:#?}");
    }

    /// Reads to the end.
    pub(crate) async fn rest(mut self) -> Vec<SeenEvent> {
        let mut seen = Vec::new();
        while let Some(event) = self.next().await {
            seen.push(event);
        }
        seen
    }
}

impl Seen {
    /// Panics unless everything that was seen is in this log.
    #[track_caller]
    pub(crate) fn check_kept_in(&self, log: &[SeenEvent]) {
        assert_eq!(self.missing_from(log), Vec::<String>::new());
    }
}

/// Panics unless the whole log is as it must be: see [`problems_of_log`].
#[track_caller]
pub(crate) fn check_whole_log(log: &[SeenEvent], run: &Value) {
    let problems = problems_of_log(log, run);
    assert!(problems.is_empty(), "{problems:#?}\nof {run}\n{log:#?}");
}
