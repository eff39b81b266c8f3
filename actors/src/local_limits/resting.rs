//! Why a key is not used for a while, or with care: the provider said 429, or does not take it.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::LimitTimes;

/// A provider that asks for less is left alone for so long all the same: whoever waits would ask it again and again.
pub const LEAST_COOLING: Duration = Duration::from_millis(250);

/// A provider that asks for more is asked again after this.
pub const LONGEST_COOLING: Duration = Duration::from_secs(24 * 3600);

/// Until when a key rests, and how careful one has to be with it after that.
#[derive(Debug, Default)]
pub(super) struct Resting {
    cooling_until: Option<Instant>,
    coolings: CoolingNumber,
    /// 429s, of which each met a call that was granted after the one before; none was answered in between.
    in_a_row: u32,
    /// Calls under way that were granted since it last began to cool down.
    since: u64,
    /// How many those may be, of a key that has cooled down; `None` is as many as its limits allow.
    at_once: Option<u64>,
    refused: Option<Refused>,
}

/// How often a key had begun to cool down when a call was granted: what meets calls that were granted before says nothing of now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CoolingNumber(u64);

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

    /// A call is granted, with this number.
    pub(super) const fn number_a_call(&mut self) -> CoolingNumber {
        self.since = self.since.saturating_add(1);
        self.coolings
    }

    /// A call that was granted with this number is not under way any more.
    pub(super) fn ended(&mut self, granted_at: CoolingNumber) {
        if granted_at == self.coolings {
            self.since = self.since.saturating_sub(1);
        }
    }

    /// Whether as many calls are under way as may be on a key that has just cooled down.
    pub(super) fn is_careful(&self) -> bool {
        self.at_once.is_some_and(|calls| self.since >= calls)
    }

    /// A call that was granted with this number met a 429; `said` is how long the provider wants to be left alone.
    pub(super) fn cool_down(
        &mut self,
        now: Instant,
        granted_at: Option<CoolingNumber>,
        said: Option<Duration>,
        times: &LimitTimes,
    ) {
        if granted_at == Some(self.coolings) {
            self.coolings.0 += 1;
            self.in_a_row = self.in_a_row.saturating_add(1);
            self.since = 0;
        }
        self.at_once = Some(1);
        let time = said.unwrap_or_else(|| usual_cooling(self.in_a_row, times));
        let until = now + time.clamp(LEAST_COOLING, LONGEST_COOLING);
        self.cooling_until = self.cooling_until.max(Some(until));
    }

    /// The provider answered a call that was granted with this number.
    pub(super) fn was_answered(&mut self, granted_at: CoolingNumber) {
        if granted_at == self.coolings {
            self.in_a_row = 0;
            self.at_once = self.at_once.map(|calls| calls.saturating_add(1));
        }
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

fn usual_cooling(in_a_row: u32, times: &LimitTimes) -> Duration {
    let doublings = in_a_row.saturating_sub(1).min(31);
    let time = times.usual_cooling.saturating_mul(1 << doublings);
    time.min(times.longest_usual_cooling.max(times.usual_cooling))
}
