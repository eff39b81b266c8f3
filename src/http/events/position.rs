//! Where a reader left off.

use actix_web::HttpRequest;
use actix_web::http::header::HeaderName;
use callboard_actors::event::MAX_SEQ;
use callboard_actors::ports::store::RunRecord;

use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::query::QueryParameters;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The last event that a reader has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LastSeen {
    /// Its seq.
    pub(super) seq: u64,
    /// What named it, for errors.
    named_by: &'static str,
}

/// The header wins over the parameter: a browser that reconnects sends the header and repeats the address it began with.
pub(super) fn last_seen(request: &HttpRequest, parameters: &QueryParameters) -> Result<Option<LastSeen>, ApiError> {
    let header = request.headers().get(&LAST_EVENT_ID);
    if let Some(value) = header {
        return read_seq(value.as_bytes(), "Last-Event-ID").map(Some);
    }
    parameters
        .text("after")
        .map(|text| read_seq(text.as_bytes(), "after"))
        .transpose()
}

/// Refuses a position that no event of this run can have had.
pub(super) fn check_within_log(run: &RunRecord, position: Option<&LastSeen>) -> Result<(), ApiError> {
    let Some(position) = position else {
        return Ok(());
    };
    // With relaxed durability, seqs that are reserved may have been shown before they were written. An ended log is final.
    let end = if run.state.is_terminal() {
        run.next_seq
    } else {
        run.next_seq.max(run.reserved_seq)
    };
    if position.seq < end {
        return Ok(());
    }
    let message = format!("`{}` names an event that this run does not have yet", position.named_by);
    Err(ApiError::new(ErrorCode::LastEventIdBeyondEnd, message)
        .with_param(position.named_by)
        .with_detail("last_seq", run.next_seq.checked_sub(1)))
}

fn read_seq(bytes: &[u8], named_by: &'static str) -> Result<LastSeen, ApiError> {
    let digits = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let invalid = || {
        let message = format!("`{named_by}` must be the `id` of an event of this run: a whole number");
        ApiError::new(ErrorCode::InvalidLastEventId, message).with_param(named_by)
    };
    let seq = digits.ok_or_else(invalid)?.parse().unwrap_or(u64::MAX);
    Ok(LastSeen {
        // Numbers that are too large for a seq are beyond every end.
        seq: u64::min(seq, MAX_SEQ),
        named_by,
    })
}
