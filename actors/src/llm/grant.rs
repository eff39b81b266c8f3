//! Room for a call, held for as long as the call takes: it is settled exactly once, whatever becomes of the call.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::line::CallLine;
use crate::ports::RateLimits;
use crate::ports::model::LimitHints;
use crate::ports::rate_limits::{CallEnd, Grant};

/// A grant that is settled when it is dropped, if it was not before: as a call that was not made, or as one that broke off.
pub(super) struct GrantHold {
    line: Arc<CallLine>,
    limits: Arc<dyn RateLimits>,
    grant: Option<Grant>,
    key: usize,
    io: Handle,
    is_sent: bool,
    /// What tells the limits that the answer has begun: before they are told that it is over.
    answered: Option<JoinHandle<()>>,
}

impl GrantHold {
    /// Called on the I/O runtime.
    pub(super) fn new(line: Arc<CallLine>, limits: Arc<dyn RateLimits>, grant: Grant) -> Self {
        Self {
            line,
            limits,
            key: grant.key,
            grant: Some(grant),
            io: Handle::current(),
            is_sent: false,
            answered: None,
        }
    }

    /// The key, as a place among its target's.
    pub(super) const fn key(&self) -> usize {
        self.key
    }

    /// The call is on its way: from here on the provider may have counted it.
    pub(super) const fn sent(&mut self) {
        self.is_sent = true;
    }

    /// The provider has begun to answer. Nobody waits for the limits to know it.
    pub(super) fn answered(&mut self, hints: LimitHints) {
        if let Some(grant) = self.grant.clone() {
            let limits = self.limits.clone();
            let telling = async move { limits.answered(&grant, hints).await };
            self.answered = Some(self.io.spawn(telling));
        }
    }

    /// The call is over. Whoever needs the limits to know it before going on waits for what this gives; it happens anyway.
    pub(super) fn settle(mut self, end: CallEnd) -> Option<JoinHandle<()>> {
        self.settle_as(end)
    }

    fn settle_as(&mut self, end: CallEnd) -> Option<JoinHandle<()>> {
        let grant = self.grant.take()?;
        let (limits, line) = (self.limits.clone(), self.line.clone());
        let answered = self.answered.take();
        Some(self.io.spawn(async move {
            if let Some(answered) = answered {
                // If it panicked it has said so; the end counts all the same.
                let _ = answered.await;
            }
            limits.settle(&grant, end).await;
            line.room.notify_one();
        }))
    }
}

impl Drop for GrantHold {
    fn drop(&mut self) {
        let end = if self.is_sent {
            CallEnd::Unknown
        } else {
            CallEnd::NotMade
        };
        self.settle_as(end);
    }
}
