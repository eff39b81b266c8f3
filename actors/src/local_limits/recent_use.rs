//! What was used within the last window, in sums of short parts: memory does not grow with the number of calls.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Parts of a window. What falls into a part counts until all of the part is older than the window: at most 1/120 too long.
const PARTS: u32 = 120;

/// So much of a key's limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) calls: u64,
    pub(super) tokens: u64,
}

/// Which part something was counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PartNumber(u64);

/// Which of the two limits per minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PerMinute {
    Calls,
    Tokens,
}

/// The use of the last window.
#[derive(Debug)]
pub(super) struct RecentUse {
    began: Instant,
    window: Duration,
    part_nanos: u64,
    /// Parts in which there was something, oldest first: never more than [`PARTS`] and the one that is being filled.
    parts: VecDeque<(PartNumber, Amount)>,
    sum: Amount,
}

impl Amount {
    pub(super) const fn of_call(tokens: u64) -> Self {
        Self { calls: 1, tokens }
    }

    pub(super) const fn of(self, limit: PerMinute) -> u64 {
        match limit {
            PerMinute::Calls => self.calls,
            PerMinute::Tokens => self.tokens,
        }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_add(other.calls),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            calls: self.calls.saturating_sub(other.calls),
            tokens: self.tokens.saturating_sub(other.tokens),
        }
    }
}

impl RecentUse {
    pub(super) fn new(now: Instant, window: Duration) -> Self {
        Self {
            began: now,
            window,
            part_nanos: nanos(window / PARTS).max(1),
            parts: VecDeque::new(),
            sum: Amount::default(),
        }
    }

    pub(super) const fn sum(&self) -> Amount {
        self.sum
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Leaves out what is older than the window.
    pub(super) fn forget_old(&mut self, now: Instant) {
        while let Some((number, amount)) = self.parts.front().copied() {
            if self.expiry(number) > now {
                return;
            }
            self.parts.pop_front();
            self.sum = self.sum.minus(amount);
        }
    }

    pub(super) fn add(&mut self, now: Instant, amount: Amount) -> PartNumber {
        let number = PartNumber(nanos(now.saturating_duration_since(self.began)) / self.part_nanos);
        self.sum = self.sum.plus(amount);
        match self.parts.back_mut() {
            Some((last, there)) if *last >= number => *there = there.plus(amount),
            _ => self.parts.push_back((number, amount)),
        }
        number
    }

    /// Something counted in this part was another amount than was thought. Of no effect once the part is older than the window.
    pub(super) fn correct(&mut self, number: PartNumber, thought: Amount, was: Amount) {
        let Ok(place) = self.parts.binary_search_by_key(&number, |(number, _)| *number) else {
            return;
        };
        let there = &mut self.parts[place].1;
        *there = there.plus(was).minus(thought);
        self.sum = self.sum.plus(was).minus(thought);
    }

    /// How long until so much of it is older than the window; `None` if there is less than that.
    pub(super) fn gone_in(&self, now: Instant, limit: PerMinute, amount: u64) -> Option<Duration> {
        if amount == 0 {
            return Some(Duration::ZERO);
        }
        let mut gone = 0_u64;
        for (number, there) in &self.parts {
            gone = gone.saturating_add(there.of(limit));
            if gone >= amount {
                return Some(self.expiry(*number).saturating_duration_since(now));
            }
        }
        None
    }

    fn expiry(&self, number: PartNumber) -> Instant {
        let end = self.part_nanos.saturating_mul(number.0 + 1);
        self.began + Duration::from_nanos(end) + self.window
    }
}

/// 584 years fit.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
