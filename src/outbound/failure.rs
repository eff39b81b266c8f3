//! What goes wrong with a request to somebody else's address. The sentences are for models and clients: they say nothing of what is inside.

use std::time::Duration;

/// Why there is no answer.
///
/// A name that does not exist and one whose address may not be asked are one and the same error: whoever asks learns nothing of names that
/// only this side knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The address is none that can be asked at all.
    #[error("{0}")]
    InvalidUrl(InvalidUrl),
    /// There is no such host, or it may not be asked.
    #[error("this address cannot be reached from here")]
    NotReachable,
    /// There was no connection. Nothing was sent.
    #[error("the server at this address does not accept connections")]
    NoConnection,
    /// The connection broke, or what came is not what it says it is. What was sent may have been received.
    #[error("the answer of the server at this address did not arrive whole")]
    BrokenOff,
    /// It took too long. What was sent may have been received.
    #[error("the server at this address did not answer within {0:?}")]
    TimedOut(Duration),
    /// One answer too many that says to go elsewhere.
    #[error("the server at this address redirects, and more often than is followed")]
    TooManyRedirects,
    /// The answer says to go to something that is no address.
    #[error("the server at this address redirects to something that is no address")]
    InvalidRedirect,
    /// An answer said to go elsewhere, and there this went wrong. The request itself was received.
    #[error("{0}")]
    AfterRedirect(Box<OutboundError>),
    /// The answer says to send the same to somebody else.
    #[error("the server at this address wants the request to be sent to another server, which was not done")]
    RedirectOfContent,
}

/// What is wrong with an address in itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// The scheme is another, or there is no host.
    #[error("the address must begin with http:// or https://")]
    Scheme,
    /// It has a user name or a password.
    #[error("the address must not have a user name or password in it")]
    Credentials,
    /// The port may not be asked.
    #[error("this port cannot be reached from here")]
    Port,
}

impl OutboundError {
    /// Whether it is certain that nobody received the request.
    pub const fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::InvalidUrl(_) | Self::NotReachable | Self::NoConnection)
    }

    /// Whether somebody may have received the request and done what it asks for.
    pub const fn may_have_been_done(&self) -> bool {
        match self {
            // Whoever answers so has not done it.
            Self::RedirectOfContent => false,
            _ => !self.nothing_was_sent(),
        }
    }

    /// Whether another try could go better.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::AfterRedirect(error) => error.may_pass(),
            Self::NoConnection | Self::BrokenOff => true,
            _ => false,
        }
    }

    pub(super) fn of(error: &reqwest::Error) -> Self {
        if error.is_dns() {
            Self::NotReachable
        } else if error.is_connect() {
            Self::NoConnection
        } else {
            Self::BrokenOff
        }
    }
}
