//! Why a call cannot be made on a key now, and what that makes of all the keys that it could be made on.

use std::time::Duration;

use super::key::SHORT_WAIT;
use super::resting::LONGEST_COOLING;
use crate::event::ModelWaitingReason;
use crate::ports::rate_limits::Admission;

/// [`Admission::NotYet`] never says zero.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// Why a call cannot be made on a key now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no room, or the key cools down.
    NotYet {
        /// When there may be room.
        wait: Duration,
        /// What there is too little of.
        reason: ModelWaitingReason,
    },
    /// No minute has room for it.
    NeverFits {
        /// Tokens a minute.
        limit: u64,
    },
    /// The provider does not take the key.
    KeyRefused {
        /// When a call may try it again.
        until_retried: Duration,
    },
}

impl Obstacle {
    /// What [`RateLimits::admit`](crate::ports::RateLimits::admit) says if these are in the way, one for each key.
    pub fn refusal(obstacles: &[Self]) -> Admission {
        if obstacles
            .iter()
            .all(|obstacle| matches!(obstacle, Self::KeyRefused { .. }))
        {
            return Admission::AllKeysRefused;
        }
        let usable = obstacles
            .iter()
            .filter(|obstacle| !matches!(obstacle, Self::KeyRefused { .. }));
        let limits = usable.map(|obstacle| match *obstacle {
            Self::NeverFits { limit } => Some(limit),
            _ => None,
        });
        if let Some(limits) = limits.collect::<Option<Vec<_>>>() {
            let limit = limits.into_iter().max().unwrap_or(0);
            return Admission::NeverFits { limit };
        }
        let waits = obstacles.iter().filter_map(|obstacle| match *obstacle {
            Self::NotYet { wait, reason } => Some((wait, reason)),
            Self::KeyRefused { until_retried } => Some((until_retried, ModelWaitingReason::CoolingDown)),
            Self::NeverFits { .. } => None,
        });
        let soonest = waits.min_by_key(|(wait, _)| *wait);
        let (wait, reason) = soonest.unwrap_or((SHORT_WAIT, ModelWaitingReason::Line));
        Admission::NotYet {
            wait: wait.clamp(LEAST_WAIT, LONGEST_COOLING),
            reason,
        }
    }
}
