//! Port `RateLimits`: how much of each key's limits is in use, counted in this process or for the whole fleet.
//!
//! Contract (the conformance suite tries to break each line):
//! - A grant is atomic: it counts its call and its tokens on exactly one key, or on none. However many ask at once, what is granted on a key
//!   within any [`WINDOW`] never exceeds the key's limits per minute, nor what is under way its limit of concurrent calls.
//! - A call counts from its grant on. Its minute begins when the provider answers ([`RateLimits::answered`]): whatever the way to the
//!   provider takes, the provider's own minute is over by then. A call that ends without an answer counts from its end.
//! - What was reserved is corrected to what was used when the call is settled. A grant that nobody settles (the instance died) stops
//!   counting as concurrent after [`Wanted::lease`], and counts as a call that was made.
//! - A key that cools down is granted to nobody until that is over; nor is one that was refused, for [`REFUSED_KEY_REST`].
//! - A key that has cooled down is tried: one call may be under way on it until one that was granted since has been answered, and with each
//!   such answer one more. So what may be under way doubles with each round of answers, and not all who wait meet the next 429 together.
//! - A key that meets 429 again without an answer in between cools down twice as long each time, up to [`LONGEST_USUAL_COOLING`], where the
//!   provider does not say for how long.
//! - A call that is too large for the whole limit of every key that can be used is not granted, and does not wait: [`Admission::NeverFits`].
//! - What a provider says of its limits is believed: a lower limit than ours counts instead of ours; less room than we know of is
//!   somebody else's use of the key, and counts until the provider says otherwise, at most for a [`WINDOW`].
//! - Which key: the one with the largest share of room left, so that all are used evenly.
//! - Nothing here fails. An adapter that loses what it shares goes on with its share of each limit, and says so in [`RateLimits::reach`].

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::event::ModelWaitingReason;
use crate::ports::model::LimitHints;

/// What "per minute" means: no window of this length sees more than the limit, wherever it begins.
pub const WINDOW: Duration = Duration::from_secs(60);

/// How long a key that was refused (401, 403) is not used; then one call tries it again.
pub const REFUSED_KEY_REST: Duration = Duration::from_secs(60);

/// How long a key that met a 429 is not used if the provider does not say, at first.
pub const USUAL_COOLING: Duration = Duration::from_secs(5);

/// How long it is not used at most if the provider does not say, however often that was not enough.
pub const LONGEST_USUAL_COOLING: Duration = Duration::from_secs(60);

/// For how long a limit that only the provider told of rules out calls that are larger. After that such a call is made, to hear what the limit
/// is now: it would never change if nobody asked.
pub const TOLD_LIMIT_RULES_OUT_FOR: Duration = Duration::from_secs(600);

/// Whether a call that is estimated at so many tokens may be made at all under a limit of so many a minute: a tenth more is within the error
/// of an estimate.
pub const fn may_fit(tokens: u64, limit: u64) -> bool {
    tokens <= limit.saturating_add(limit / 10)
}

/// How much of each key's limits is in use.
#[async_trait]
pub trait RateLimits: Send + Sync + 'static {
    /// Takes room for one call on one of these keys, or says when to ask again.
    async fn admit(&self, wanted: &Wanted) -> Admission;

    /// The provider has taken the call and begun to answer.
    async fn answered(&self, grant: &Grant, hints: LimitHints);

    /// The call is over. Once per grant.
    async fn settle(&self, grant: &Grant, end: CallEnd);

    /// How things stand with these keys, in their order.
    async fn usage(&self, keys: &[LimitedKey]) -> Vec<KeyUsage>;

    /// Whom the counts are shared with.
    fn reach(&self) -> LimitsReach;
}

/// A key of a provider and its limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedKey {
    /// The same in the whole installation, another one for another secret, and no secret itself: `provider/fingerprint`, and `/model` behind it
    /// where each model has limits of its own.
    pub name: Arc<str>,
    /// The provider: its keys can be looked at together.
    pub provider: Arc<str>,
    /// What the operator set.
    pub limits: KeyLimits,
}

/// Limits of one key; `None` is none but what the provider says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Calls in any minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens, read and written, in any minute.
    pub tokens_per_minute: Option<u64>,
    /// Calls under way.
    pub concurrent_calls: Option<u64>,
}

/// One call that wants to be made.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The keys that may be used for it: of one provider, at least one.
    pub keys: Arc<[LimitedKey]>,
    /// Tokens it may use, as an estimate. A little more than a key's whole limit (see [`may_fit`]) counts as that limit: it waits for an empty
    /// minute.
    pub tokens: u64,
    /// How long a grant that is never settled counts as under way.
    pub lease: Duration,
}

impl Wanted {
    /// The largest of the limits of tokens that the operator set, if none of them [may fit](may_fit) it: whatever providers say, it will not be
    /// granted.
    pub fn limit_that_rules_out(&self) -> Option<u64> {
        let limits = self.keys.iter().map(|key| key.limits.tokens_per_minute);
        let largest = limits.collect::<Option<Vec<_>>>()?.into_iter().max()?;
        (!may_fit(self.tokens, largest)).then_some(largest)
    }
}

/// What became of a [`Wanted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may be made now.
    Granted(Grant),
    /// Not now.
    NotYet {
        /// When there may be room; never zero, and never longer than a key rests.
        wait: Duration,
        /// What there is too little of, on the key that would have room first.
        reason: ModelWaitingReason,
    },
    /// No minute of any key that can be used has room for so many tokens (see [`may_fit`]).
    NeverFits {
        /// Tokens a minute of the key that has most.
        limit: u64,
    },
    /// Every key was refused by the provider.
    AllKeysRefused,
}

/// Room for one call on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Tells grants apart.
    pub id: Uuid,
    /// The key, as a place in [`Wanted::keys`].
    pub key: usize,
    /// Its name.
    pub key_name: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// Tokens it holds.
    pub tokens: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// With an answer that used so many tokens.
    Used {
        /// Read and written.
        tokens: u64,
    },
    /// Broken off, or without saying what it used: what was reserved counts.
    Unknown,
    /// It never reached the provider: it counts for nothing.
    NotMade,
    /// The provider said 429. The key cools down, its other calls go on. Only the call counts, not its tokens.
    RateLimited {
        /// What the provider asked for.
        retry_after: Option<Duration>,
        /// What it said of its limits.
        hints: LimitHints,
    },
    /// The provider said 429, and that no minute has room for this call. The key does not cool down: others can be made with it. Only the call
    /// counts, not its tokens.
    TooLarge {
        /// What the provider said of its limits.
        hints: LimitHints,
    },
    /// The provider does not take the key.
    KeyRefused,
}

/// How things stand with a key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyUsage {
    /// The limits that count: the operator's, or the provider's where they are lower.
    pub limits: KeyLimits,
    /// Calls of the last minute and those on their way, others' use of the key included.
    pub requests: u64,
    /// Tokens of the last minute and those on their way, others' use of the key included.
    pub tokens: u64,
    /// Calls under way.
    pub concurrent_calls: u64,
    /// How long it still cools down.
    pub cooling_for: Option<Duration>,
    /// How long it is still set aside because the provider refused it.
    pub refused_for: Option<Duration>,
}

/// Whom the counts are shared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitsReach {
    /// Nobody: there is one instance, or each has limits of its own.
    Instance,
    /// All instances.
    Fleet,
    /// All instances usually, but what they share cannot be reached: this one keeps to its share.
    Share {
        /// How many share the limits.
        instances: u32,
    },
}
