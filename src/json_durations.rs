//! How durations are written in JSON: whole milliseconds, under a name that ends in `_ms`.

use std::time::Duration;

use serde::Serializer;

pub(crate) fn whole_milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

pub(crate) fn whole_milliseconds_or_null<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match duration {
        Some(duration) => whole_milliseconds(duration, serializer),
        None => serializer.serialize_none(),
    }
}
