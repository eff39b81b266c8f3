//! What the log says of a database that is in trouble: one line when that begins, with the reason, and one when it is over, however many
//! runs and requests notice. What each of them has to say is for the level `debug`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After this time of trouble nobody is kept waiting for its end who asks only now.
const LONG: Duration = Duration::from_secs(5);

/// Trouble that comes and goes is told no more often.
const TELL_AGAIN: Duration = Duration::from_secs(10);

/// Watches for one kind of trouble of a store.
#[derive(Debug)]
pub(super) struct Watch {
    /// What is logged when it begins.
    begins: &'static str,
    /// What is logged when it is over.
    ends: &'static str,
    /// Whether there is any, for those who have nothing to say but that all is well.
    is_in_trouble: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Option<Trouble>,
    last_told: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    reason: String,
    since: Instant,
    is_told: bool,
}

impl Watch {
    pub(super) const fn new(begins: &'static str, ends: &'static str) -> Self {
        Self {
            begins,
            ends,
            is_in_trouble: AtomicBool::new(false),
            state: Mutex::new(State {
                now: None,
                last_told: None,
            }),
        }
    }

    /// It went wrong.
    pub(super) fn fails(&self, reason: &str) {
        let mut state = self.state();
        let now = Instant::now();
        let may_tell = state.last_told.is_none_or(|told| now - told >= TELL_AGAIN);
        let trouble = state.now.get_or_insert_with(|| Trouble {
            reason: String::new(),
            since: now,
            is_told: false,
        });
        reason.clone_into(&mut trouble.reason);
        let tells = may_tell && !trouble.is_told;
        trouble.is_told |= tells;
        self.is_in_trouble.store(true, Ordering::Relaxed);
        if tells {
            state.last_told = Some(now);
            tracing::warn!(reason, "{}", self.begins);
        }
    }

    /// It went well.
    pub(super) fn succeeds(&self) {
        if !self.is_in_trouble.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state();
        self.is_in_trouble.store(false, Ordering::Relaxed);
        if let Some(trouble) = state.now.take().filter(|trouble| trouble.is_told) {
            tracing::info!(after = ?trouble.since.elapsed(), "{}", self.ends);
        }
    }

    /// What is wrong, if anything is.
    pub(super) fn reason(&self) -> Option<String> {
        self.state().now.as_ref().map(|trouble| trouble.reason.clone())
    }

    /// What is wrong, if that has been so for a while.
    pub(super) fn reason_of_long_trouble(&self) -> Option<String> {
        if !self.is_in_trouble.load(Ordering::Relaxed) {
            return None;
        }
        let state = self.state();
        let trouble = state.now.as_ref().filter(|trouble| trouble.since.elapsed() >= LONG);
        trouble.map(|trouble| trouble.reason.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::LogCapture;

    fn watch() -> Watch {
        Watch::new("it is away", "it is back")
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_one_line_and_its_end_another() {
        let log = LogCapture::start("info");
        let watch = watch();
        watch.succeeds();
        for _ in 0..1000 {
            watch.fails("connection refused");
        }
        let text = log.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("WARN") && text.contains("it is away") && text.contains("connection refused"));
        watch.succeeds();
        watch.succeeds();
        let text = log.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("INFO") && text.contains("it is back"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_comes_and_goes_is_not_told_each_time() {
        let log = LogCapture::start("info");
        let watch = watch();
        for _ in 0..100 {
            watch.fails("full");
            watch.succeeds();
        }
        assert_eq!(log.text().lines().count(), 2);
        watch.fails("full");
        tokio::time::advance(TELL_AGAIN).await;
        watch.fails("full");
        assert_eq!(log.text().lines().count(), 3, "what goes on is told in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_kept_waiting_for_the_end_of_long_trouble() {
        let watch = watch();
        watch.fails("refused");
        assert_eq!(watch.reason_of_long_trouble(), None);
        tokio::time::advance(LONG).await;
        watch.fails("refused again");
        assert_eq!(watch.reason_of_long_trouble().as_deref(), Some("refused again"));
        watch.succeeds();
        assert_eq!((watch.reason(), watch.reason_of_long_trouble()), (None, None));
    }
}
