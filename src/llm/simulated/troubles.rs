//! What goes wrong at a simulated provider without being asked for: outages, slow starts, answers that break off. Each is drawn from a
//! seed and the number of the call, so the same calls in the same order meet the same troubles.

use std::time::Duration;

use callboard_actors::ports::model::InvalidOption;
use serde::{Deserialize, Serialize};

use super::options::SimulateOptions;
use super::random::{normal, uniform};

/// How many deviations the slowest hundredth lies above the middle of a bell.
const DEVIATIONS_OF_P99: f64 = 2.326_347_9;

/// Each sort of trouble draws from a seed of its own, so that changing one leaves the others as they were.
const OF_OUTAGES: u64 = 0x6F75_7461_6765;
const OF_SLOW_STARTS: u64 = 0x736C_6F77;
const OF_DELAYS: u64 = 0x6465_6C61_7973;
const OF_BREAKS: u64 = 0x6272_6561_6B73;
const OF_PLACES: u64 = 0x706C_6163_6573;

/// The troubles of a provider. Shares are from 0 to 1; times count from the moment these troubles were put in force.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Troubles {
    /// Chooses which calls it hits.
    pub seed: u64,
    /// Calls that get no answer. The first one that hits a call counts.
    pub outages: Vec<Outage>,
    /// Answers that begin late.
    pub slow_start: Option<SlowStart>,
    /// The share of answers that break off, anywhere between their first and last token.
    pub break_share: f64,
}

/// A time in which calls get an error, or nothing, instead of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// The share of calls that it hits; all if left out.
    #[serde(default = "all")]
    pub share: f64,
    /// When it begins, ms.
    #[serde(default)]
    pub from_ms: u64,
    /// When it is over, ms; never if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// The HTTP status that calls get; without it their connection is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// How much later than usual answers begin: half of the slow ones by less than the median, and one in a hundred by more than the p99. The
/// delays are spread log-normally, which is how the time to the first token is spread at real providers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlowStart {
    /// The share of calls that it hits; all if left out.
    #[serde(default = "all")]
    pub share: f64,
    /// Milliseconds; more than 0.
    pub median_ms: u64,
    /// Milliseconds; at least the median.
    pub p99_ms: u64,
}

const fn all() -> f64 {
    1.0
}

/// What hits a call that gets an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct AnswerTrouble {
    /// How much later it begins.
    pub delay: Duration,
    /// After which share of its tokens it breaks off.
    pub breaks_at: Option<f64>,
}

impl AnswerTrouble {
    /// What this call meets, by chance.
    pub fn drawn(slow_start: Option<&SlowStart>, break_share: f64, seed: u64, call: u64) -> Self {
        let slow = slow_start.filter(|slow| uniform(seed ^ OF_SLOW_STARTS, call) < slow.share);
        let breaks = uniform(seed ^ OF_BREAKS, call) < break_share;
        Self {
            delay: slow.map_or(Duration::ZERO, |slow| slow.delay(seed ^ OF_DELAYS, call)),
            breaks_at: breaks.then(|| uniform(seed ^ OF_PLACES, call)),
        }
    }

    /// Both: the delays one after the other, the earlier break.
    pub fn and(self, other: Self) -> Self {
        let breaks_at = match (self.breaks_at, other.breaks_at) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        Self {
            delay: self.delay + other.delay,
            breaks_at,
        }
    }
}

impl SlowStart {
    fn delay(&self, seed: u64, call: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "delays are hours at most")]
        let (median, p99) = (self.median_ms as f64, self.p99_ms as f64);
        let deviation = (p99 / median).ln() / DEVIATIONS_OF_P99;
        let millis = median * (deviation * normal(seed, call)).exp();
        #[expect(clippy::cast_precision_loss, reason = "an hour")]
        let longest = SimulateOptions::MAX_FIRST_TOKEN_MS as f64;
        Duration::from_secs_f64(millis.min(longest) / 1000.0)
    }

    pub(super) fn check(&self, key: &str) -> Result<(), InvalidOption> {
        check_share(&format!("{key}.share"), self.share)?;
        if self.median_ms == 0 || self.p99_ms < self.median_ms {
            return Err(wrong(key, "needs 0 < median_ms <= p99_ms"));
        }
        if self.p99_ms > SimulateOptions::MAX_FIRST_TOKEN_MS {
            return Err(wrong(&format!("{key}.p99_ms"), "is more than an hour"));
        }
        Ok(())
    }
}

impl Outage {
    fn hits(&self, at: Duration, seed: u64, call: u64) -> bool {
        at >= Duration::from_millis(self.from_ms)
            && self.until_ms.is_none_or(|until| at < Duration::from_millis(until))
            && uniform(seed, call) < self.share
    }
}

impl Troubles {
    /// The most outages.
    pub const MAX_OUTAGES: usize = 1_000;

    /// The outage that hits the call of this number at this time.
    pub fn outage(&self, at: Duration, call: u64) -> Option<&Outage> {
        let numbered = (0_u64..).zip(&self.outages);
        numbered
            .filter(|(index, outage)| outage.hits(at, self.seed ^ OF_OUTAGES.wrapping_add(*index), call))
            .map(|(_, outage)| outage)
            .next()
    }

    /// What hits the answer to the call of this number.
    pub fn of_answer(&self, call: u64) -> AnswerTrouble {
        AnswerTrouble::drawn(self.slow_start.as_ref(), self.break_share, self.seed, call)
    }

    /// Checks the figures. `Err` has the key below `troubles`.
    pub fn check(&self) -> Result<(), InvalidOption> {
        check_share("troubles.break_share", self.break_share)?;
        if let Some(slow_start) = &self.slow_start {
            slow_start.check("troubles.slow_start")?;
        }
        if self.outages.len() > Self::MAX_OUTAGES {
            return Err(wrong("troubles.outages", "has more than 1000"));
        }
        for (index, outage) in self.outages.iter().enumerate() {
            let key = format!("troubles.outages[{index}]");
            check_share(&format!("{key}.share"), outage.share)?;
            if outage.until_ms.is_some_and(|until| until <= outage.from_ms) {
                return Err(wrong(&format!("{key}.until_ms"), "is not after from_ms"));
            }
            if outage.status.is_some_and(|status| !(500..600).contains(&status)) {
                return Err(wrong(&format!("{key}.status"), "is not from 500 to 599"));
            }
        }
        Ok(())
    }
}

pub(super) fn check_share(key: &str, share: f64) -> Result<(), InvalidOption> {
    if (0.0..=1.0).contains(&share) {
        return Ok(());
    }
    Err(wrong(key, "is not from 0 to 1"))
}

fn wrong(key: &str, problem: &str) -> InvalidOption {
    InvalidOption {
        key: key.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn troubles(value: serde_json::Value) -> Troubles {
        let read: Troubles = serde_json::from_value(value).expect("the right form");
        read.check().expect("good figures");
        read
    }

    #[test]
    fn the_same_seed_hits_the_same_calls() {
        let settings = |seed: u64| {
            troubles(
                json!({"seed": seed, "break_share": 0.2, "outages": [{"share": 0.1, "status": 503}],
                "slow_start": {"share": 0.5, "median_ms": 100, "p99_ms": 2000}}),
            )
        };
        let all = |troubles: &Troubles| {
            let each = |call| {
                (
                    troubles.outage(Duration::ZERO, call).is_some(),
                    troubles.of_answer(call),
                )
            };
            (0..1_000).map(each).collect::<Vec<_>>()
        };
        let one = all(&settings(1));
        assert_eq!(one, all(&settings(1)));
        assert_ne!(one, all(&settings(2)));
        let outages = one.iter().filter(|(outage, _)| *outage).count();
        let breaks = one.iter().filter(|(_, trouble)| trouble.breaks_at.is_some()).count();
        let slow = one.iter().filter(|(_, trouble)| !trouble.delay.is_zero()).count();
        assert!(
            (70..130).contains(&outages) && (150..250).contains(&breaks) && (430..570).contains(&slow),
            "{outages} {breaks} {slow}"
        );
    }

    #[test]
    fn slow_starts_are_as_slow_as_they_were_told() {
        let troubles = troubles(json!({"slow_start": {"median_ms": 200, "p99_ms": 3000}}));
        let mut delays: Vec<_> = (0..10_000).map(|call| troubles.of_answer(call).delay).collect();
        delays.sort();
        let (median, p99) = (delays[5_000].as_millis(), delays[9_900].as_millis());
        assert!(
            (180..220).contains(&median) && (2_500..3_600).contains(&p99),
            "{median} {p99}"
        );
    }

    #[test]
    fn an_outage_has_its_time() {
        let troubles = troubles(json!({"outages": [
            {"from_ms": 1000, "until_ms": 2000, "status": 529}, {"from_ms": 1500}
        ]}));
        let status_at = |millis| {
            let outage = troubles.outage(Duration::from_millis(millis), 7);
            outage.map(|outage| outage.status)
        };
        assert_eq!(
            [999, 1000, 1999, 2000].map(status_at),
            [None, Some(Some(529)), Some(Some(529)), Some(None)]
        );
    }

    #[test]
    fn mistakes_are_named_by_their_key() {
        for (value, key) in [
            (json!({"break_share": 1.5}), "troubles.break_share"),
            (
                json!({"slow_start": {"median_ms": 9, "p99_ms": 8}}),
                "troubles.slow_start",
            ),
            (json!({"outages": [{"status": 200}]}), "troubles.outages[0].status"),
            (json!({"outages": [{"share": -1.0}]}), "troubles.outages[0].share"),
        ] {
            let read: Troubles = serde_json::from_value(value).expect("the right form");
            assert_eq!(read.check().expect_err("a mistake").key, key);
        }
    }
}
