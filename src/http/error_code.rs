//! The one table of error codes: code → HTTP status, type, advice on when to retry.

use actix_web::http::StatusCode;

macro_rules! error_codes {
    ($($(#[$doc:meta])+ $variant:ident = $code:literal, $status:ident, $kind:ident, $retry_after:expr;)+) => {
        /// Every code that a client can get. Stable: a code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])+ $variant,)+
        }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $code,)+ }
            }

            /// The HTTP status it travels with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)+ }
            }

            /// The family it belongs to.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)+ }
            }

            /// After how many seconds asking again makes sense, unless the error itself knows better.
            pub const fn retry_after_seconds(self) -> Option<u64> {
                match self { $(Self::$variant => $retry_after,)+ }
            }
        }
    };
}

error_codes! {
    /// The body is not JSON, or nested too deep.
    InvalidJson = "invalid_json", BAD_REQUEST, InvalidRequest, None;
    /// The body is not UTF-8.
    InvalidUtf8 = "invalid_utf8", BAD_REQUEST, InvalidRequest, None;
    /// There is no body.
    EmptyBody = "empty_body", BAD_REQUEST, InvalidRequest, None;
    /// A field has a value of another type than it takes.
    InvalidType = "invalid_type", BAD_REQUEST, InvalidRequest, None;
    /// A field that this endpoint does not know.
    UnknownField = "unknown_field", BAD_REQUEST, InvalidRequest, None;
    /// A field that must be there is not.
    MissingField = "missing_field", BAD_REQUEST, InvalidRequest, None;
    /// The same field twice.
    DuplicateField = "duplicate_field", BAD_REQUEST, InvalidRequest, None;
    /// A field has the right type and a value that it cannot take.
    InvalidValue = "invalid_value", BAD_REQUEST, InvalidRequest, None;
    /// The input says nothing.
    EmptyInput = "empty_input", BAD_REQUEST, InvalidRequest, None;
    /// A model that this server does not have.
    UnknownModel = "unknown_model", BAD_REQUEST, InvalidRequest, None;
    /// A tool that this server does not have.
    UnknownTool = "unknown_tool", BAD_REQUEST, InvalidRequest, None;
    /// The model does not take this option, or not this value.
    InvalidModelOption = "invalid_model_option", BAD_REQUEST, InvalidRequest, None;
    /// `agent` names none of the account's, or a version that it has not.
    UnknownAgent = "unknown_agent", BAD_REQUEST, InvalidRequest, None;
    /// The input shows a file that is not there, or is not yours.
    UnknownFile = "unknown_file", BAD_REQUEST, InvalidRequest, None;
    /// The input shows a file that is no picture, or too large a one, or too many.
    InvalidImage = "invalid_image", BAD_REQUEST, InvalidRequest, None;
    /// The body is not a whole `multipart/form-data`.
    InvalidMultipart = "invalid_multipart", BAD_REQUEST, InvalidRequest, None;
    /// A query parameter that this endpoint does not know.
    UnknownParameter = "unknown_parameter", BAD_REQUEST, InvalidRequest, None;
    /// A query parameter has a value that it cannot take.
    InvalidParameter = "invalid_parameter", BAD_REQUEST, InvalidRequest, None;
    /// The cursor is not one that this server gave for this list.
    InvalidCursor = "invalid_cursor", BAD_REQUEST, InvalidRequest, None;
    /// `Idempotency-Key` is empty, too long, or not visible ASCII.
    InvalidIdempotencyKey = "invalid_idempotency_key", BAD_REQUEST, InvalidRequest, None;
    /// `Last-Event-ID` or `after` is not a number.
    InvalidLastEventId = "invalid_last_event_id", BAD_REQUEST, InvalidRequest, None;
    /// `Last-Event-ID` or `after` names an event that does not exist yet.
    LastEventIdBeyondEnd = "last_event_id_beyond_end", BAD_REQUEST, InvalidRequest, None;
    /// No key was sent and this server asks for one.
    MissingApiKey = "missing_api_key", UNAUTHORIZED, Authentication, None;
    /// Not a key of this server.
    InvalidApiKey = "invalid_api_key", UNAUTHORIZED, Authentication, None;
    /// The key was revoked.
    RevokedApiKey = "revoked_api_key", UNAUTHORIZED, Authentication, None;
    /// The key's tier is not in the configuration any more.
    TierNotConfigured = "tier_not_configured", FORBIDDEN, Permission, None;
    /// This is for the operator's keys.
    AdminRequired = "admin_required", FORBIDDEN, Permission, None;
    /// A server without keys answers only to names of this machine.
    HostNotAllowed = "host_not_allowed", FORBIDDEN, Permission, None;
    /// A server without keys answers no other web site's pages.
    OriginNotAllowed = "origin_not_allowed", FORBIDDEN, Permission, None;
    /// The account has as many files, or as many bytes of them, as it may.
    FileQuotaExceeded = "file_quota_exceeded", FORBIDDEN, Permission, None;
    /// There is no such file, or it is not yours.
    FileNotFound = "file_not_found", NOT_FOUND, NotFound, None;
    /// There is no such run, or it is not yours.
    RunNotFound = "run_not_found", NOT_FOUND, NotFound, None;
    /// There is no such agent, or it is not yours.
    AgentNotFound = "agent_not_found", NOT_FOUND, NotFound, None;
    /// There is no such thread (any more), or it is not yours.
    ThreadNotFound = "thread_not_found", NOT_FOUND, NotFound, None;
    /// There is nothing at this path.
    NotFound = "not_found", NOT_FOUND, NotFound, None;
    /// The run ended so long ago that its events are not kept any more.
    EventsExpired = "events_expired", GONE, NotFound, None;
    /// The path exists, but not for this method; `Allow` lists those that do.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, InvalidRequest, None;
    /// The body did not arrive in time.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, InvalidRequest, Some(1);
    /// The idempotency key was used for another request.
    IdempotencyConflict = "idempotency_conflict", CONFLICT, Conflict, None;
    /// The account has another agent of this name; `agent_id` is its.
    AgentNameTaken = "agent_name_taken", CONFLICT, Conflict, None;
    /// The agent was changed meanwhile: `version` is its newest.
    AgentVersionConflict = "agent_version_conflict", CONFLICT, Conflict, None;
    /// The thread has a run that has not ended, and the new one would not wait for it.
    ThreadBusy = "thread_busy", CONFLICT, Conflict, None;
    /// The body is larger than the limit.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, InvalidRequest, None;
    /// The file is larger than the limit.
    FileTooLarge = "file_too_large", PAYLOAD_TOO_LARGE, InvalidRequest, None;
    /// The headers are larger than the limit.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, InvalidRequest, None;
    /// The body is not `application/json` (or, with `PATCH`, `application/merge-patch+json`), or is compressed.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, InvalidRequest, None;
    /// More requests a second than the account's tier allows.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, RateLimit, Some(1);
    /// As many runs as the account's tier allows.
    QuotaExceeded = "quota_exceeded", TOO_MANY_REQUESTS, RateLimit, Some(5);
    /// As many uploads at once as an account may have. `limit` says how many.
    TooManyAccountUploads = "too_many_account_uploads", TOO_MANY_REQUESTS, RateLimit, Some(5);
    /// As many downloads at once as an account may have. `limit` says how many.
    TooManyAccountDownloads = "too_many_account_downloads", TOO_MANY_REQUESTS, RateLimit, Some(5);
    /// As many runs as this server can bear, and the run would not wait.
    AtCapacity = "at_capacity", SERVICE_UNAVAILABLE, Overloaded, Some(5);
    /// As many uploads at once as this server can bear. `limit` says how many.
    TooManyUploads = "too_many_uploads", SERVICE_UNAVAILABLE, Overloaded, Some(5);
    /// As many downloads at once as this server can bear. `limit` says how many.
    TooManyDownloads = "too_many_downloads", SERVICE_UNAVAILABLE, Overloaded, Some(5);
    /// The storage of files does not answer.
    FilesUnavailable = "files_unavailable", SERVICE_UNAVAILABLE, Overloaded, Some(2);
    /// The queue is full.
    QueueFull = "queue_full", SERVICE_UNAVAILABLE, Overloaded, Some(10);
    /// The server is leaving.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, Overloaded, Some(5);
    /// The store does not answer; nothing was done.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, Overloaded, Some(2);
    /// The run does not wait for tool calls to be answered or decided (any more).
    RunNotWaiting = "run_not_waiting", CONFLICT, Conflict, None;
    /// The run waits for no tool call of this name (any more): it is answered, or was never made.
    CallNotWaiting = "call_not_waiting", CONFLICT, Conflict, None;
    /// The tool call waits for something else: `needs` says for what.
    CallNeedsOther = "call_needs_other", CONFLICT, Conflict, None;
    /// A run that is to be cancelled has not been seen to end in time. A cancel that was written down sticks; asking again is safe.
    CancelUnconfirmed = "cancel_unconfirmed", SERVICE_UNAVAILABLE, Overloaded, Some(2);
    /// A bug of ours. The server's log has the details under the request's id.
    Internal = "internal", INTERNAL_SERVER_ERROR, Api, None;
}

/// The `type` of an error: a coarse family for clients that do not know the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong; sending it again changes nothing.
    InvalidRequest,
    /// Who are you?
    Authentication,
    /// You may not.
    Permission,
    /// There is no such thing.
    NotFound,
    /// It contradicts something that happened before.
    Conflict,
    /// Too much, for this account.
    RateLimit,
    /// Too much, or too early, for this server.
    Overloaded,
    /// Our fault.
    Api,
}

impl ErrorKind {
    /// The name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request_error",
            Self::Authentication => "authentication_error",
            Self::Permission => "permission_error",
            Self::NotFound => "not_found_error",
            Self::Conflict => "conflict_error",
            Self::RateLimit => "rate_limit_error",
            Self::Overloaded => "overloaded_error",
            Self::Api => "api_error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_in_the_documentation() {
        let documentation = include_str!("../../docs/http-api.md");
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert!(
                !ErrorCode::ALL[..index]
                    .iter()
                    .any(|other| other.as_str() == code.as_str())
            );
            let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
            assert!(documentation.contains(&row), "docs/http-api.md lacks the row {row}");
        }
    }

    #[test]
    fn every_refusal_that_may_pass_says_when_to_come_back() {
        for code in ErrorCode::ALL {
            if matches!(code.kind(), ErrorKind::RateLimit | ErrorKind::Overloaded) {
                assert!(code.retry_after_seconds().is_some(), "{}", code.as_str());
            }
        }
    }
}
