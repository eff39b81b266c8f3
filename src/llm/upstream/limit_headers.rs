//! What a provider's headers say of its limits and of when to come back.
//!
//! `x-ratelimit-{limit,remaining,reset}-{requests,tokens}` (OpenAI and most others; a reset is a time like `6m0s` or `120ms`) and
//! `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}` (a reset is a moment of RFC 3339; `tokens` is read and written ones
//! together, or the narrowest limit in force). Both are looked for in every dialect: gateways mix them.

use std::time::Duration;

use callboard_actors::ports::model::{LimitHints, WindowHint};
use callboard_actors::time::Timestamp;
use reqwest::header::HeaderMap;

/// Resets beyond this are no times to wait but moments, or nonsense, s.
const LONGEST_RESET_SECONDS: f64 = 366.0 * 86_400.0;

/// What the headers say of the limits of the key.
pub(super) fn limit_hints(headers: &HeaderMap) -> LimitHints {
    LimitHints {
        requests: window(headers, "requests"),
        tokens: window(headers, "tokens"),
    }
}

fn window(headers: &HeaderMap, what: &str) -> WindowHint {
    let said = |field: &str| {
        text(headers, &format!("anthropic-ratelimit-{what}-{field}"))
            .or_else(|| text(headers, &format!("x-ratelimit-{field}-{what}")))
    };
    WindowHint {
        limit: said("limit").and_then(whole_number),
        remaining: said("remaining").and_then(whole_number),
        resets_in: said("reset").and_then(until),
    }
}

/// How long the provider wants us to wait: `retry-after-ms`, or `Retry-After` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    if let Some(millis) = text(headers, "retry-after-ms").and_then(|text| text.parse::<f64>().ok()) {
        return Duration::try_from_secs_f64(millis / 1000.0).ok();
    }
    let value = text(headers, "retry-after")?;
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let moment = jiff::fmt::rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value)
        .ok()?;
    Some(until_moment(moment))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// Some write `150000.0`; a remainder below zero is none.
fn whole_number(text: &str) -> Option<u64> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "`as` saturates, which is what is meant"
    )]
    Some(number as u64)
}

fn until(text: &str) -> Option<Duration> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(until_moment(moment));
    }
    let seconds = text.parse::<f64>().ok().or_else(|| seconds_of_units(text))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|_| seconds <= LONGEST_RESET_SECONDS)
}

fn until_moment(moment: jiff::Timestamp) -> Duration {
    Timestamp::from_micros(moment.as_microsecond()).since(Timestamp::now())
}

/// `1h2m3.5s`, `120ms`: numbers, each with its unit.
fn seconds_of_units(text: &str) -> Option<f64> {
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let number_end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(number_end);
        let unit_end = behind
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let factor = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * factor;
        rest = behind;
    }
    Some(seconds).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        all.iter()
            .map(|(name, value)| {
                let name = reqwest::header::HeaderName::from_static(name);
                (name, value.parse().expect("a header"))
            })
            .collect()
    }

    #[test]
    fn retry_after_is_read_in_all_its_forms() {
        let said = |name, value: &str| retry_after(&headers(&[(name, value)]));
        assert_eq!(said("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(said("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        assert_eq!(
            said("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            Some(Duration::ZERO)
        );
        let far = said("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT").expect("a date");
        assert!(far > Duration::from_secs(3600));
        for nonsense in ["soon", "-1", "NaN", "inf"] {
            assert_eq!(said("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn limits_are_read_as_openai_writes_them() {
        let hints = limit_hints(&headers(&[
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-requests", "59"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-limit-tokens", "150000"),
            ("x-ratelimit-remaining-tokens", "-12"),
            ("x-ratelimit-reset-tokens", "6m0s"),
        ]));
        let requests = WindowHint {
            limit: Some(60),
            remaining: Some(59),
            resets_in: Some(Duration::from_secs(1)),
        };
        let tokens = WindowHint {
            limit: Some(150_000),
            remaining: Some(0),
            resets_in: Some(Duration::from_secs(360)),
        };
        assert_eq!(hints, LimitHints { requests, tokens });
    }

    #[test]
    fn limits_are_read_as_anthropic_writes_them() {
        let hints = limit_hints(&headers(&[
            ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2100-01-01T00:00:00Z"),
            ("anthropic-ratelimit-tokens-limit", "90000"),
            ("anthropic-ratelimit-tokens-reset", "2020-01-01T00:00:00Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "1"),
        ]));
        assert_eq!((hints.requests.limit, hints.requests.remaining), (Some(50), Some(0)));
        assert!(hints.requests.resets_in > Some(Duration::from_secs(3600)));
        assert_eq!((hints.tokens.limit, hints.tokens.remaining), (Some(90_000), None));
        assert_eq!(hints.tokens.resets_in, Some(Duration::ZERO), "it is over");
    }

    #[test]
    fn times_are_read_in_all_their_units_and_nonsense_is_ignored() {
        for (text, millis) in [
            ("2m59.56s", 179_560),
            ("20ms", 20),
            ("1h0m0.5s", 3_600_500),
            ("1d", 86_400_000),
            ("12", 12_000),
        ] {
            assert_eq!(until(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for nonsense in ["", "s", "1x", "soon", "-3s", "1..2s", "NaN", "1741305600000"] {
            assert_eq!(until(nonsense), None, "{nonsense}");
        }
        assert_eq!(
            limit_hints(&headers(&[("x-ratelimit-limit-requests", "many")])),
            LimitHints::default()
        );
    }
}
