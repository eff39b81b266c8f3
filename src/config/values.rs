//! How durations, sizes and "0 means none" are read.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// Reads a duration such as `30s`. A bare `0` needs no unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| {
        format!("{text:?} is not a duration; write a number and a unit, such as \"200ms\", \"30s\" or \"10m\"")
    })
}

/// Reads a size such as `200MB` (powers of 1000) or `64KiB` (powers of 1024). A number without a unit is refused, because
/// nobody can tell whether bytes were meant; only `0` needs none.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("{text:?} is not a size; write a number and a unit, such as \"512B\", \"64KB\" or \"200MB\"");
    let text = text.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse() != Ok(0u64) {
        return Err(wrong());
    }
    text.parse::<bytesize::ByteSize>()
        .map(|size| size.as_u64())
        .map_err(|_| wrong())
}

/// Reads a text with a unit, or a bare 0.
struct WithUnit<T> {
    example: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for WithUnit<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "text with a unit, such as {}", self.example)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        if number == 0 {
            return (self.parse)("0").map_err(E::custom);
        }
        Err(E::custom(format!(
            "{number} has no unit; write text with a unit, such as {}",
            self.example
        )))
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(WithUnit {
        example: "\"30s\"",
        parse: parse_duration,
    })
}

pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

/// A duration of which 0 means that there is none.
pub(super) fn duration_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    Ok(Some(duration(deserializer)?).filter(|duration| !duration.is_zero()))
}

pub(super) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(WithUnit {
        example: "\"64KB\"",
        parse: parse_size,
    })
}

/// A size that something in memory must fit in.
pub(super) fn memory_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    usize::try_from(size(deserializer)?).map_err(|_| D::Error::custom("more than this machine can address"))
}

pub(super) fn optional_memory_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    memory_size(deserializer).map(Some)
}

/// A text of which the empty one means that there is none.
pub(super) fn text_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()))
}

/// A path of which the empty one means that there is none.
pub(super) fn path_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(text_or_none(deserializer)?.map(PathBuf::from))
}

/// A list of texts, or a single one: so a secret that somebody wrote in a list's place is judged as what it is and not repeated.
pub(super) fn text_or_list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "must be a list of texts, such as [\"OPENAI_API_KEY\"]")]
    enum TextOrList {
        Text(String),
        List(Vec<String>),
    }
    let texts = match TextOrList::deserialize(deserializer)? {
        TextOrList::Text(text) => vec![text],
        TextOrList::List(list) => list,
    };
    Ok(texts.into_iter().map(T::from).collect())
}

/// A number of which 0 means that there is none.
pub(super) fn number_or_none<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::Deserialize<'de> + Default + PartialEq,
{
    Ok(none_if_zero(Some(T::deserialize(deserializer)?)))
}

/// Of a number of which 0 means that there is none.
pub(super) fn none_if_zero<T: Default + PartialEq>(number: Option<T>) -> Option<T> {
    number.filter(|number| *number != T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_gb_is_decimal() {
        assert_eq!(parse_size("200MB"), Ok(200_000_000));
        assert_eq!(parse_size("128GB"), Ok(128_000_000_000));
        assert_eq!(parse_size("64 KiB"), Ok(65_536));
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("0"), Ok(0));
        for wrong in ["", "200", "MB", "-1MB", "2 parrots"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(parse_duration("1800s"), Ok(Duration::from_secs(1800)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for wrong in ["", "30", "soon", "-1s", "5 parsecs"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }
}
