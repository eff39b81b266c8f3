//! Use of a key by somebody else, as far as the provider's word on what is left tells of it.
//!
//! What a provider says is a little behind: of our calls under way it has counted some. If it has counted all of them, the least is left to
//! have been used by others; if none, the most. So each word gives a least and a most, and only what is certain makes the view change: it
//! does not flap with the calls under way, and none of them is counted twice.

use std::time::Duration;

use tokio::time::Instant;

/// What others have used of one limit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OthersUse {
    /// The most that was certain within the last window, and that no later word has ruled out.
    peak: Option<Sighting>,
    latest: Option<Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    amount: u64,
    until: Instant,
}

impl OthersUse {
    /// The provider's word: others have used at least and at most so much, which is forgotten after this time.
    pub(super) fn heard(&mut self, now: Instant, least: u64, most: u64, forgotten_in: Duration) {
        let latest = Sighting {
            amount: least,
            until: now + forgotten_in,
        };
        self.latest = Some(latest);
        let peak = self
            .peak
            .filter(|peak| peak.until > now && peak.amount.min(most) > least);
        self.peak = Some(peak.map_or(latest, |peak| Sighting {
            amount: peak.amount.min(most),
            ..peak
        }));
    }

    pub(super) fn amount(&self, now: Instant) -> u64 {
        self.current(now).map_or(0, |sighting| sighting.amount)
    }

    /// How long it still counts.
    pub(super) fn gone_in(&self, now: Instant) -> Duration {
        self.current(now)
            .map_or(Duration::ZERO, |sighting| sighting.until - now)
    }

    fn current(&self, now: Instant) -> Option<Sighting> {
        let mut sightings = [self.peak, self.latest].into_iter().flatten();
        sightings.find(|sighting| sighting.until > now)
    }
}
