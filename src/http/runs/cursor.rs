//! Cursors: opaque to clients, and good only for the list and the account they were given for.

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::QueryParameters;

const PREFIX: &str = "cur_";
const CHECK_DIGITS: usize = 16;

/// What a cursor belongs to: the account, the list, its filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CursorScope<'a>(pub(crate) &'a [&'a str]);

impl CursorScope<'_> {
    /// The cursor that continues after this place.
    pub(crate) fn write(self, place: Uuid) -> String {
        format!("{PREFIX}{}{}", place.as_simple(), self.check_digits(place))
    }

    /// The place from which the list is asked for: that of `?cursor=`, or none.
    pub(crate) fn asked(self, parameters: &QueryParameters) -> Result<Option<Uuid>, ApiError> {
        parameters.text("cursor").map(|cursor| self.read(cursor)).transpose()
    }

    /// The place that a cursor of this scope names.
    fn read(self, cursor: &str) -> Result<Uuid, ApiError> {
        let parsed = cursor.strip_prefix(PREFIX).and_then(|rest| {
            let (place, check) = rest.split_at_checked(32)?;
            let place = Uuid::try_parse(place).ok()?;
            (self.check_digits(place) == check).then_some(place)
        });
        parsed.ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidCursor,
                "this cursor was not given for this list; begin again without one",
            )
            .with_param("cursor")
        })
    }

    /// Guards against mistakes, not against malice: whatever place a cursor names, only the caller's own data is read from there.
    fn check_digits(self, place: Uuid) -> String {
        let mut hasher = Sha256::new();
        for part in self.0 {
            hasher.update((part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(place.as_bytes());
        let digest = hasher.finalize();
        let mut digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        digits.truncate(CHECK_DIGITS);
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_only() {
        let place = Uuid::now_v7();
        let scope = CursorScope(&["acme", "runs", ""]);
        let cursor = scope.write(place);
        assert_eq!(scope.read(&cursor), Ok(place));
        assert!(CursorScope(&["acme", "runs", "queued"]).read(&cursor).is_err());
        assert!(CursorScope(&["other", "runs", ""]).read(&cursor).is_err());
        assert!(CursorScope(&["acm", "eruns", ""]).read(&cursor).is_err());
        for wrong in [
            "",
            "cur_",
            "x",
            &cursor[..cursor.len() - 1],
            &cursor.to_uppercase(),
            &format!("{cursor}0"),
        ] {
            assert!(scope.read(wrong).is_err(), "{wrong}");
        }
    }
}
