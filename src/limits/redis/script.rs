//! What is kept in Redis, and the scripts that change it: one for each question, so that each is answered as a whole or not at all.
//!
//! ```text
//! <prefix>{limits:<provider>}:clock                a hash: when counting began, and the last moment it was looked at
//! <prefix>{limits:<provider>}:<key name>:room      a hash: sums, limits, use by others, until when the key rests
//! <prefix>{limits:<provider>}:<key name>:parts     a hash: calls (c) and tokens (t) answered, by part of the window
//! <prefix>{limits:<provider>}:<key name>:calls     a hash: what each call under way holds
//! <prefix>{limits:<provider>}:<key name>:leases    a sorted set: until when each is believed to be under way
//! ```
//!
//! The braces keep all of a provider at one node of a Cluster. All times are the server's. Nothing here grows with the calls that were made.

use std::time::Duration;

use callboard_actors::event::ModelWaitingReason;
use callboard_actors::local_limits::{LEAST_COOLING, LONGEST_COOLING, LimitTimes, Obstacle, SHORT_WAIT};
use callboard_actors::ports::model::{LimitHints, WindowHint};
use callboard_actors::ports::rate_limits::{CallEnd, Grant, KeyLimits, KeyUsage, LimitedKey, Wanted};
use redis::{ErrorKind, RedisError, Script, ScriptInvocation};
use uuid::Uuid;

use super::options::RedisLimitsOptions;
use crate::redis_client::Connection;

const COMMON: &str = include_str!("lua/common.lua");
/// Beyond this a script's numbers are not exact, and no key has as many.
const MOST_TOKENS: u64 = 10_000_000_000_000;

/// What Redis says to a [`Wanted`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    Granted {
        place: usize,
        tokens: u64,
    },
    /// What is in the way on each of the keys, in their order.
    Refused(Vec<Obstacle>),
    /// Counting began less than a window ago, and there may be calls that were not counted.
    Young {
        until_old: Duration,
    },
}

/// The scripts, with the names of keys.
pub(super) struct Scripts {
    admit: Script,
    answered: Script,
    settle: Script,
    usage: Script,
    prefix: String,
    times: LimitTimes,
}

impl Scripts {
    pub(super) fn new(options: &RedisLimitsOptions) -> Self {
        let script = |own: &str| Script::new(&format!("{COMMON}\n{own}"));
        Self {
            admit: script(include_str!("lua/admit.lua")),
            answered: script(include_str!("lua/answered.lua")),
            settle: script(include_str!("lua/settle.lua")),
            usage: script(include_str!("lua/usage.lua")),
            prefix: options.key_prefix.clone(),
            times: options.times,
        }
    }

    /// Asks for room; the grant will have this id. `young_will_do` if counts that began less than a window ago are good enough.
    pub(super) async fn admit(
        &self,
        connection: &mut Connection,
        id: Uuid,
        wanted: &Wanted,
        young_will_do: bool,
    ) -> Result<Decision, RedisError> {
        let Some(first) = wanted.keys.first() else {
            return Ok(Decision::Refused(Vec::new()));
        };
        let names = wanted.keys.iter().map(|key| &*key.name);
        let mut call = self.about(&self.admit, &first.provider, names);
        call.arg(id.as_simple().to_string()).arg(wanted.tokens.min(MOST_TOKENS));
        call.arg(millis(wanted.lease))
            .arg(millis(SHORT_WAIT))
            .arg(u8::from(young_will_do))
            .arg(millis(self.times.told_limit_rules_out_for));
        for key in wanted.keys.iter() {
            let limits = &key.limits;
            for limit in [
                limits.requests_per_minute,
                limits.tokens_per_minute,
                limits.concurrent_calls,
            ] {
                call.arg(number_or_none(limit));
            }
        }
        let words: Vec<String> = call.invoke_async(connection).await?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        decision(&words, wanted.keys.len()).ok_or_else(unexpected)
    }

    pub(super) async fn answered(
        &self,
        connection: &mut Connection,
        grant: &Grant,
        hints: &LimitHints,
    ) -> Result<(), RedisError> {
        let mut call = self.about(&self.answered, &grant.provider, [&*grant.key_name]);
        call.arg(grant.id.as_simple().to_string());
        add_hints(&mut call, hints);
        call.invoke_async(connection).await
    }

    pub(super) async fn settle(
        &self,
        connection: &mut Connection,
        grant: &Grant,
        end: &CallEnd,
    ) -> Result<(), RedisError> {
        let mut call = self.about(&self.settle, &grant.provider, [&*grant.key_name]);
        call.arg(grant.id.as_simple().to_string());
        let nothing_said = LimitHints::default();
        let (how, amount, hints) = match end {
            CallEnd::Used { tokens } => ("used", (*tokens).min(MOST_TOKENS).to_string(), &nothing_said),
            CallEnd::Unknown => ("unknown", String::new(), &nothing_said),
            CallEnd::NotMade => ("not_made", String::new(), &nothing_said),
            CallEnd::RateLimited { retry_after, hints } => {
                let cooling = retry_after.map(|time| millis(time.clamp(LEAST_COOLING, LONGEST_COOLING)));
                ("rate_limited", cooling.unwrap_or_default(), hints)
            }
            CallEnd::TooLarge { hints } => ("too_large", String::new(), hints),
            CallEnd::KeyRefused => ("key_refused", String::new(), &nothing_said),
        };
        call.arg(how).arg(amount);
        call.arg(millis(self.times.usual_cooling))
            .arg(millis(self.times.longest_usual_cooling));
        add_hints(&mut call, hints);
        call.invoke_async(connection).await
    }

    /// How things stand with these keys of one provider.
    pub(super) async fn usage(
        &self,
        connection: &mut Connection,
        provider: &str,
        keys: &[&LimitedKey],
    ) -> Result<Vec<KeyUsage>, RedisError> {
        let call = self.about(&self.usage, provider, keys.iter().map(|key| &*key.name));
        let told: Vec<[i64; 7]> = call.invoke_async(connection).await?;
        if told.len() != keys.len() {
            return Err(unexpected());
        }
        let usage = keys.iter().zip(told).map(|(key, told)| key_usage(&key.limits, told));
        Ok(usage.collect())
    }

    fn about<'a>(
        &self,
        script: &'a Script,
        provider: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        let ours = format!("{}{{limits:{provider}}}", self.prefix);
        call.key(format!("{ours}:clock"));
        for name in names {
            for part in ["room", "parts", "calls", "leases"] {
                call.key(format!("{ours}:{name}:{part}"));
            }
        }
        let kept = (LONGEST_COOLING + self.times.window + self.times.refused_key_rest) * 2;
        call.arg(millis(self.times.window))
            .arg(millis(self.times.refused_key_rest));
        call.arg(kept.as_millis().to_string());
        call
    }
}

/// What the words of `admit.lua` mean, about so many keys.
fn decision(words: &[&str], keys: usize) -> Option<Decision> {
    match words {
        ["granted", place, tokens] => {
            let place = place.parse::<usize>().ok()?.checked_sub(1)?;
            let tokens = tokens.parse().ok()?;
            (place < keys).then_some(Decision::Granted { place, tokens })
        }
        ["young", until_old] => Some(Decision::Young {
            until_old: Duration::from_millis(until_old.parse().ok()?),
        }),
        ["obstacles", obstacles @ ..] => {
            let obstacles: Vec<Obstacle> = obstacles.chunks(3).map(obstacle).collect::<Option<_>>()?;
            (obstacles.len() == keys).then_some(Decision::Refused(obstacles))
        }
        _ => None,
    }
}

fn obstacle(words: &[&str]) -> Option<Obstacle> {
    let &[kind, number, detail] = words else {
        return None;
    };
    let number: u64 = number.parse().ok()?;
    Some(match kind {
        "not_yet" => Obstacle::NotYet {
            wait: Duration::from_millis(number),
            reason: reason(detail)?,
        },
        "never_fits" => Obstacle::NeverFits { limit: number },
        "refused" => Obstacle::KeyRefused {
            until_retried: Duration::from_millis(number),
        },
        _ => return None,
    })
}

fn key_usage(set: &KeyLimits, told: [i64; 7]) -> KeyUsage {
    let [
        told_calls,
        told_tokens,
        requests,
        tokens,
        concurrent_calls,
        cooling,
        refused,
    ] = told;
    let lower = |set: Option<u64>, told: i64| set.into_iter().chain(u64::try_from(told).ok()).min();
    let count = |number: i64| u64::try_from(number).unwrap_or(0);
    let time = |number: i64| (number > 0).then(|| Duration::from_millis(count(number)));
    KeyUsage {
        limits: KeyLimits {
            requests_per_minute: lower(set.requests_per_minute, told_calls),
            tokens_per_minute: lower(set.tokens_per_minute, told_tokens),
            concurrent_calls: set.concurrent_calls,
        },
        requests: count(requests),
        tokens: count(tokens),
        concurrent_calls: count(concurrent_calls),
        cooling_for: time(cooling),
        refused_for: time(refused),
    }
}

fn add_hints(call: &mut ScriptInvocation<'_>, hints: &LimitHints) {
    for WindowHint {
        limit,
        remaining,
        resets_in,
    } in [hints.requests, hints.tokens]
    {
        call.arg(number_or_none(limit)).arg(number_or_none(remaining));
        call.arg(resets_in.map(millis).unwrap_or_default());
    }
}

fn number_or_none(number: Option<u64>) -> String {
    number
        .map(|number| number.min(MOST_TOKENS).to_string())
        .unwrap_or_default()
}

/// With its parts of a millisecond.
fn millis(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}

fn reason(name: &str) -> Option<ModelWaitingReason> {
    let reasons = [
        ModelWaitingReason::RequestsPerMinute,
        ModelWaitingReason::TokensPerMinute,
        ModelWaitingReason::ConcurrentCalls,
        ModelWaitingReason::CoolingDown,
    ];
    reasons.into_iter().find(|reason| reason.as_str() == name)
}

fn unexpected() -> RedisError {
    RedisError::from((
        ErrorKind::UnexpectedReturnType,
        "an answer that no script of ours gives",
    ))
}
