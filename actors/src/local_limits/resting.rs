//! Why a key is not used for a while: the provider said 429, or does not take it.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

/// A provider that asks for more is asked again after this.
pub const LONGEST_COOLING: Duration = Duration::from_secs(24 * 3600);

/// Until when a key rests.
#[derive(Debug, Default)]
pub(super) struct Resting {
    cooling_until: Option<Instant>,
    refused: Option<Refused>,
}

/// The provider does not take the key. After its rest one call tries it, and the others wait for what that finds out.
#[derive(Debug)]
struct Refused {
    until: Instant,
    tried_by: Option<Uuid>,
}

impl Resting {
    pub(super) fn cooling_for(&self, now: Instant) -> Option<Duration> {
        let until = self.cooling_until.filter(|until| *until > now)?;
        Some(until - now)
    }

    pub(super) fn refused_for(&self, now: Instant) -> Option<Duration> {
        let refused = self.refused.as_ref().filter(|refused| refused.until > now)?;
        Some(refused.until - now)
    }

    /// Whether a call is under way that tries a refused key.
    pub(super) fn is_tried(&self) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.tried_by.is_some())
    }

    pub(super) fn cool_down(&mut self, now: Instant, time: Duration) {
        let until = now + time.min(LONGEST_COOLING);
        self.cooling_until = self.cooling_until.max(Some(until));
    }

    pub(super) fn refuse(&mut self, now: Instant, rest: Duration) {
        let until = now + rest;
        self.refused = Some(Refused { until, tried_by: None });
    }

    /// A call is made. If the key was refused, this is the one that tries it.
    pub(super) fn granted(&mut self, id: Uuid) {
        if let Some(refused) = &mut self.refused {
            refused.tried_by = Some(id);
        }
    }

    /// The provider has taken the key for this call.
    pub(super) fn key_was_taken(&mut self, id: Uuid) {
        self.refused.take_if(|refused| refused.tried_by == Some(id));
    }

    /// This call has ended without finding out whether the provider takes the key.
    pub(super) fn nothing_found_out(&mut self, id: Uuid) {
        if let Some(refused) = &mut self.refused {
            refused.tried_by = refused.tried_by.filter(|tried_by| *tried_by != id);
        }
    }
}
