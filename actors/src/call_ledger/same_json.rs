//! Whether two JSON texts say the same.

use serde::de::IgnoredAny;
use serde_json::Value;

/// Whether two texts say the same, however they are written: `100` is `100.0`, and every digit counts, however many there are.
pub(super) fn is_same_json(one: &str, other: &str) -> bool {
    let read = |text: &str| {
        serde_json::from_str::<IgnoredAny>(text).ok()?;
        serde_json::from_str::<Value>(&with_plain_numbers(text)).ok()
    };
    one == other || read(one).is_some_and(|value| read(other) == Some(value))
}

/// The same text with strings in the place of numbers, as a `Value` does not keep all digits of those. Strings get another first letter.
fn with_plain_numbers(json: &str) -> String {
    let mut written = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        let is_number = matches!(first, '-' | '0'..='9');
        let length = match first {
            '"' => string_length(rest),
            _ if is_number => rest.find(ends_number).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        if is_number {
            let number = plain_number(token);
            written.extend(["\"n", number.as_deref().unwrap_or(token), "\""]);
        } else if let Some(string) = token.strip_prefix('"') {
            written.extend(["\"s", string]);
        } else {
            written.push_str(token);
        }
    }
    written
}

/// How long the string is with which this begins, with its quotes.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, letter)| {
        let ends = *letter == '"' && !is_escaped;
        is_escaped = *letter == '\\' && !is_escaped;
        ends
    });
    end.map_or(text.len(), |(place, _)| place + 1)
}

const fn ends_number(letter: char) -> bool {
    !matches!(letter, '0'..='9' | '+' | '-' | '.' | 'e' | 'E')
}

/// The digits of a number without zeros at either end, and the power of ten that belongs to the last; `None` if that is beyond counting.
fn plain_number(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some("0".into());
    }
    let fraction = i64::try_from(fraction.len()).ok()?;
    let exponent = exponent.parse::<i64>().ok()?.checked_add(zeros - fraction)?;
    Some(format!("{sign}{significant}e{exponent}"))
}

#[cfg(test)]
mod tests {
    use super::is_same_json;

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        for (one, other) in [
            ("100", "100.0"),
            ("100", "1e2"),
            ("0.1", "0.10"),
            ("12.5E+1", "125"),
            ("-0.0", "0"),
            ("12345678901234567890123", "12345678901234567890123.0"),
            (r#"{"a": 1, "b": [2.0, "x\"1.0"]}"#, r#"{"b":[2,"x\u00221.0"],"a":1.0}"#),
            ("[true, null, {}]", "[true,null,{}]"),
            ("not JSON", "not JSON"),
        ] {
            assert!(is_same_json(one, other), "{one} {other}");
            assert!(is_same_json(other, one), "{other} {one}");
        }
    }

    #[test]
    fn what_differs_is_not_the_same() {
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("0.1", "0.01"),
            ("12345678901234567890123", "12345678901234567890124"),
            ("9007199254740992", "9007199254740993"),
            ("1e400", "1e401"),
            ("1e99999999999999999999", "1e99999999999999999998"),
            ("1", r#""1""#),
            ("1", r#""n1e0""#),
            (r#""1""#, r#""1.0""#),
            (r#""\\""#, r#""\"""#),
            ("[1, 2]", "[2, 1]"),
            ("01", "1"),
            ("not JSON", "not  JSON"),
        ] {
            assert!(!is_same_json(one, other), "{one} {other}");
            assert!(!is_same_json(other, one), "{other} {one}");
        }
    }
}
