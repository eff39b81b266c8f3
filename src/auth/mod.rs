//! Who calls, and how often: API keys, their short-lived cache, request rates, and the guard of a server without keys.

mod authenticator;
mod browser_guard;
mod rate_limit;
mod secret;

pub use authenticator::{AuthError, Authenticator, Caller};
pub use browser_guard::{is_loopback_host, is_loopback_origin};
pub use rate_limit::{RateLimiters, RequestRate};
pub use secret::{ApiKeySecret, NoRandomNumbers};
