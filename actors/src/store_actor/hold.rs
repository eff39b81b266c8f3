//! What a run, its writer and its model share: whether the run is still this instance's, and how much of it waits to be written.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::WriteLoss;

/// Whether this instance has the run. Once it has let go of it, nothing more is written: another may have it.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    is_let_go: AtomicBool,
}

impl Hold {
    pub(crate) fn let_go(&self) {
        self.is_let_go.store(true, Ordering::Release);
    }

    pub(super) fn check(&self) -> Result<(), WriteLoss> {
        if self.is_let_go.load(Ordering::Acquire) {
            return Err(WriteLoss::Fenced);
        }
        Ok(())
    }
}

/// Bytes of events that wait for their commit. Whoever produces them waits while there are too many.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    shrunk: Notify,
}

impl Backlog {
    pub(super) fn set(&self, bytes: usize) {
        if self.bytes.swap(bytes, Ordering::AcqRel) > bytes {
            self.shrunk.notify_waiters();
        }
    }

    /// Returns when at most `limit` bytes wait.
    pub(crate) async fn at_most(&self, limit: usize) {
        loop {
            let shrunk = self.shrunk.notified();
            if self.bytes.load(Ordering::Acquire) <= limit {
                return;
            }
            shrunk.await;
        }
    }
}
