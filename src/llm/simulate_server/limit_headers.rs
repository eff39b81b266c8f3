//! What headers say of the limits: those of the key that was used, after the call was counted, and when to come back.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use callboard_actors::time::Timestamp;

use super::dialects::HeaderStyle;
use super::limiter::{LimitReached, Standing, Used};

/// When to come back if all places are taken: nobody knows when one of those calls ends.
const WAIT_FOR_A_PLACE: Duration = Duration::from_secs(1);

/// Says how things stand with the key. Limits that there are not are not spoken of.
pub(super) fn write_standing(style: HeaderStyle, standing: &Standing, headers: &mut HeaderMap) {
    let limits = standing.limits;
    for (what, limit, used) in [
        ("requests", limits.requests_per_minute, standing.requests),
        ("tokens", limits.tokens_per_minute, standing.tokens),
    ] {
        let Some(limit) = limit else { continue };
        for (field, value) in [
            ("limit", limit.to_string()),
            ("remaining", used.remaining(limit).to_string()),
            ("reset", reset(style, used)),
        ] {
            let name = match style {
                HeaderStyle::OpenAi => format!("x-ratelimit-{field}-{what}"),
                HeaderStyle::Anthropic => format!("anthropic-ratelimit-{what}-{field}"),
            };
            write(&name, &value, headers);
        }
    }
}

/// Says when a call that was refused may be made.
pub(super) fn write_limit_reached(reached: LimitReached, headers: &mut HeaderMap) {
    match reached {
        LimitReached::Requests { wait } | LimitReached::Tokens { wait } => write_retry_after(wait, headers),
        LimitReached::ConcurrentCalls => write_retry_after(WAIT_FOR_A_PLACE, headers),
        LimitReached::TooLarge => write("x-should-retry", "false", headers),
    }
}

/// When to come back, rounded up: seconds for everybody, milliseconds for those who know them.
pub(super) fn write_retry_after(wait: Duration, headers: &mut HeaderMap) {
    write("retry-after", &rounded_up(wait, 1_000_000_000).to_string(), headers);
    write("retry-after-ms", &rounded_up(wait, 1_000_000).to_string(), headers);
}

pub(super) fn write(name: &str, value: &str, headers: &mut HeaderMap) {
    let name = HeaderName::try_from(name);
    if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn reset(style: HeaderStyle, used: Used) -> String {
    match style {
        HeaderStyle::OpenAi => span(used.resets_in),
        HeaderStyle::Anthropic => moment(Timestamp::now(), used.resets_in),
    }
}

/// A moment in RFC 3339, in whole seconds as Anthropic has it, rounded up.
fn moment(now: Timestamp, wait: Duration) -> String {
    let micros = now.as_micros() + i64::try_from(wait.as_micros()).unwrap_or(i64::MAX / 2);
    let seconds = micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) > 0);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| String::new(), |moment| moment.to_string())
}

/// A time as OpenAI has it: `120ms`, `8.64s`, `6m0s`; rounded up to milliseconds.
pub(super) fn span(wait: Duration) -> String {
    let millis = rounded_up(wait, 1_000_000);
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
    let fraction = format!("{:03}", millis % 1_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    let seconds = format!("{}{dot}{fraction}s", millis / 1_000 % 60);
    match (hours, minutes) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

fn rounded_up(wait: Duration, nanos: u128) -> u128 {
    wait.as_nanos().div_ceil(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_openai_writes_them() {
        for (micros, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (120_000, "120ms"),
            (1_000_000, "1s"),
            (8_640_000, "8.64s"),
            (59_999_001, "1m0s"),
            (360_000_000, "6m0s"),
            (3_661_005_000, "1h1m1.005s"),
        ] {
            assert_eq!(span(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn moments_are_whole_seconds_and_not_too_early() {
        let now = Timestamp::from_micros(1_700_000_000_200_000);
        assert_eq!(moment(now, Duration::from_millis(800)), "2023-11-14T22:13:21Z");
        assert_eq!(moment(now, Duration::from_millis(801)), "2023-11-14T22:13:22Z");
    }

    #[test]
    fn waits_are_rounded_up() {
        let mut headers = HeaderMap::new();
        write_retry_after(Duration::from_micros(1_000_001), &mut headers);
        let value = |name| headers.get(name).and_then(|value| value.to_str().ok());
        assert_eq!(
            (value("retry-after"), value("retry-after-ms")),
            (Some("2"), Some("1001"))
        );
    }
}
