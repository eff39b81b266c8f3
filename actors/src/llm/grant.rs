//! Room for a call, held for as long as the call takes: it is settled exactly once, whatever becomes of the call.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::line::CallLine;
use super::route::Provider;
use crate::ports::RateLimits;
use crate::ports::model::LimitHints;
use crate::ports::rate_limits::{CallEnd, Grant};

/// A grant that is settled when it is dropped, if it was not before: as a call that was not made, or as one that broke off.
pub(super) struct GrantHold {
    line: Arc<CallLine>,
    key_name: Arc<str>,
    limits: Arc<dyn RateLimits>,
    /// Whose circuit is told if no call comes of this.
    provider: Arc<Provider>,
    grant: Option<Grant>,
    io: Handle,
    is_sent: bool,
    /// What tells the limits that the answer has begun: before they are told that it is over.
    answered: Option<JoinHandle<()>>,
}

impl GrantHold {
    /// Called on the I/O runtime.
    pub(super) fn new(line: Arc<CallLine>, limits: Arc<dyn RateLimits>, provider: Arc<Provider>, grant: Grant) -> Self {
        Self {
            line,
            limits,
            key_name: grant.key_name.clone(),
            provider,
            grant: Some(grant),
            io: Handle::current(),
            is_sent: false,
            answered: None,
        }
    }

    /// The name of the key.
    pub(super) const fn key_name(&self) -> &Arc<str> {
        &self.key_name
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
        if self.grant.is_some() {
            // Nothing was learnt of the provider: another call may try it.
            self.provider.circuit.not_tried();
        }
        self.settle_as(end);
    }
}
