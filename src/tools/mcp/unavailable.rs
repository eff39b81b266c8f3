//! Why a server is not there. The sentences are for clients and models: they say nothing of what is inside, and quote nobody.

use std::time::Duration;

use rmcp::service::{ClientInitializeError, ServiceError};
use rmcp::transport::DynamicTransportError;
use rmcp::transport::streamable_http_client::StreamableHttpError;

use super::stdio::NotWritten;
use crate::outbound::OutboundError;

/// Why a server is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("its program cannot be started")]
    NoProgram,
    #[error("it did not answer within {0:?}")]
    Silent(Duration),
    #[error("it ended, or does not speak MCP")]
    Broken,
    #[error("it answered with the HTTP status {0}")]
    HttpStatus(u16),
    #[error("{0}")]
    NotReached(OutboundError),
    #[error("{0}")]
    Headers(String),
    #[error("it failed before, and is not tried again for {} s", .0.as_secs().max(1))]
    Resting(Duration),
    #[error("there is no such server here any more")]
    Unknown,
    #[error("too many MCP servers are in use")]
    TooMany,
    #[error("this server is being stopped")]
    Leaving,
}

/// What is known of a message that did not arrive, or whose answer did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Nobody has received it.
    NotSent,
    /// It was turned down with this HTTP status.
    TurnedDown(u16),
    /// Nobody knows.
    Unknown,
}

/// Of an error of the line.
pub(super) fn delivery(error: &DynamicTransportError) -> Delivery {
    if error.error.is::<NotWritten>() {
        return Delivery::NotSent;
    }
    match error.error.downcast_ref::<StreamableHttpError<OutboundError>>() {
        Some(StreamableHttpError::Client(error)) if error.nothing_was_sent() => Delivery::NotSent,
        Some(StreamableHttpError::SessionExpired) => Delivery::NotSent,
        Some(StreamableHttpError::HttpStatus(error)) if error.status < 500 => Delivery::TurnedDown(error.status),
        _ => Delivery::Unknown,
    }
}

impl From<ClientInitializeError> for Unavailable {
    fn from(error: ClientInitializeError) -> Self {
        match error {
            ClientInitializeError::TransportError { error, .. } => Self::of_line(&error),
            _ => Self::Broken,
        }
    }
}

impl From<ServiceError> for Unavailable {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::TransportSend(error) => Self::of_line(&error),
            _ => Self::Broken,
        }
    }
}

impl Unavailable {
    fn of_line(error: &DynamicTransportError) -> Self {
        match error.error.downcast_ref::<StreamableHttpError<OutboundError>>() {
            Some(StreamableHttpError::Client(error)) => Self::NotReached(error.clone()),
            Some(StreamableHttpError::HttpStatus(error)) => Self::HttpStatus(error.status),
            _ => Self::Broken,
        }
    }

    /// What the metrics call it.
    pub(super) const fn outcome(&self) -> &'static str {
        match self {
            Self::NoProgram => "no_program",
            Self::Silent(_) => "timeout",
            Self::Broken => "broken",
            Self::HttpStatus(_) => "http_status",
            Self::NotReached(_) => "not_reached",
            Self::Headers(_) => "headers",
            Self::Resting(_) => "resting",
            Self::Unknown => "unknown",
            Self::TooMany => "too_many",
            Self::Leaving => "leaving",
        }
    }
}
