//! Who uses a connection, and until when it is kept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Connection;

/// A connection, and who uses it.
pub(super) struct Held {
    pub(super) connection: Connection,
    uses: Mutex<Uses>,
    /// Somebody has begun or ended to use it, or it is to be closed.
    changed: Notify,
}

struct Uses {
    now: usize,
    last: Instant,
    is_dismissed: bool,
}

/// The use of a connection: it is not closed while this lives.
pub(super) struct InUse(pub(super) Arc<Held>);

impl Held {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            uses: Mutex::new(Uses {
                now: 0,
                last: Instant::now(),
                is_dismissed: false,
            }),
            changed: Notify::new(),
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.uses().now > 0
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is closed as soon as nobody uses it.
    pub(super) fn dismiss(&self) {
        self.uses().is_dismissed = true;
        self.changed.notify_one();
    }

    pub(super) fn begin_use(self: &Arc<Self>) -> InUse {
        self.uses().now += 1;
        InUse(self.clone())
    }

    /// Waits until it is to be closed: nobody has used it for this long, or it was dismissed and is not used any more.
    pub(super) async fn is_done(&self, idle_timeout: Option<Duration>) {
        loop {
            let changed = self.changed.notified();
            let (is_used, is_dismissed, last) = {
                let uses = self.uses();
                (uses.now > 0, uses.is_dismissed, uses.last)
            };
            if is_used {
                changed.await;
                continue;
            }
            let closes_at = idle_timeout.map(|idle| last + idle);
            if is_dismissed || closes_at.is_some_and(|at| at <= Instant::now()) {
                return;
            }
            match closes_at {
                Some(at) => drop(tokio::time::timeout_at(at, changed).await),
                None => changed.await,
            }
        }
    }
}

impl std::ops::Deref for InUse {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0.connection
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        {
            let mut uses = self.0.uses();
            uses.now -= 1;
            uses.last = Instant::now();
        }
        self.0.changed.notify_one();
    }
}
