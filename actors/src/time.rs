//! Points in time as stores keep them: microseconds since 1970 in UTC. JSON shows them as RFC 3339.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The store's time at [`ORIGIN`], microseconds; [`NOT_SET`] while this machine's clock counts.
static STORE_TIME_AT_ORIGIN: AtomicI64 = AtomicI64::new(NOT_SET);
const NOT_SET: i64 = i64::MIN;
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Timestamp {
    /// What the clock says: this machine's, or the store's once it is known ([`Timestamp::set_by_store`]).
    pub fn now() -> Self {
        match STORE_TIME_AT_ORIGIN.load(Ordering::Relaxed) {
            NOT_SET => Self(jiff::Timestamp::now().as_microsecond()),
            at_origin => Self(at_origin.saturating_add(since_origin(Instant::now()))),
        }
    }

    /// From now on time is the store's, so that all instances of a fleet agree on it, whatever the clocks of their machines do. The store
    /// said `store_now` at some moment between `asked` and `answered`.
    pub fn set_by_store(store_now: Self, asked: Instant, answered: Instant) {
        LazyLock::force(&ORIGIN);
        let latest = store_now.0.saturating_sub(since_origin(asked));
        let earliest = store_now.0.saturating_sub(since_origin(answered)).min(latest);
        let known = match STORE_TIME_AT_ORIGIN.load(Ordering::Relaxed) {
            NOT_SET => earliest.midpoint(latest),
            known => known,
        };
        // As little change as agrees with what the store said.
        STORE_TIME_AT_ORIGIN.store(known.clamp(earliest, latest), Ordering::Relaxed);
    }

    /// The point in time this many microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// The day in UTC (at the ends of time: the first or last one there is).
    pub fn utc_day(self) -> Date {
        self.in_calendar().to_zoned(TimeZone::UTC).date()
    }

    /// This point in time, or the first or last one that has a date of four digits.
    fn in_calendar(self) -> jiff::Timestamp {
        let bound = if self.0 < 0 {
            jiff::Timestamp::MIN
        } else {
            jiff::Timestamp::MAX
        };
        jiff::Timestamp::from_microsecond(self.0).unwrap_or(bound)
    }

    /// This point in time and `duration` more (at the end of time, which is in the year 9999: the end of time).
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(jiff::Timestamp::MAX.as_microsecond()))
    }

    /// How long ago `earlier` was; zero if it is still to come.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:.6}", self.in_calendar())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        // As times beyond the calendar were written once.
        if let Some(Ok(micros)) = text.strip_suffix("us").map(str::parse) {
            return Ok(Self(micros));
        }
        let time: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
        Ok(Self(time.as_microsecond()))
    }
}

/// Microseconds from [`ORIGIN`] to this moment; negative before it.
fn since_origin(moment: Instant) -> i64 {
    let micros = |duration: Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match moment.checked_duration_since(*ORIGIN) {
        Some(after) => micros(after),
        None => -micros(ORIGIN.duration_since(moment)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_the_stores_once_it_is_known() {
        let asked = Instant::now();
        // Not far: all tests of this process share the clock.
        let ahead = Timestamp::now().after(Duration::from_millis(100));
        Timestamp::set_by_store(ahead, asked, Instant::now());
        assert!(Timestamp::now() >= ahead);
        // A slow answer that agrees changes nothing.
        let before = STORE_TIME_AT_ORIGIN.load(Ordering::Relaxed);
        Timestamp::set_by_store(ahead, asked, Instant::now() + Duration::from_secs(3600));
        assert_eq!(STORE_TIME_AT_ORIGIN.load(Ordering::Relaxed), before);
    }

    #[test]
    fn json_is_rfc_3339_and_reads_back() {
        let time = Timestamp::from_micros(1_763_910_191_000_250);
        let json = serde_json::to_string(&time).expect("a timestamp is a string");
        assert_eq!(json, "\"2025-11-23T15:03:11.000250Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("reads back"), time);
    }

    #[test]
    fn what_lies_beyond_the_calendar_reads_back_too() {
        let last = Timestamp::now().after(Duration::from_secs(252_000_000_000));
        assert_eq!(last, Timestamp::now().after(Duration::MAX));
        let json = serde_json::to_string(&last).expect("a timestamp is a string");
        assert!(json.starts_with("\"9999-12-30T"), "{json}");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("reads back"), last);
        for micros in [i64::MIN, i64::MAX] {
            let json = serde_json::to_string(&Timestamp::from_micros(micros)).expect("a timestamp is a string");
            serde_json::from_str::<Timestamp>(&json).expect("reads back");
        }
        let once = serde_json::from_str::<Timestamp>("\"253785000000000000us\"").expect("reads back");
        assert_eq!(once, Timestamp::from_micros(253_785_000_000_000_000));
    }
}
