//! The HTTP surface: everything a client of Callboard sees.
//!
//! It reads requests, asks the supervisor ([`Runs`]) to start and cancel, and reads the store and the event log directly: a slow reader
//! never meets the supervisor. It decides nothing about runs. Errors are [`ApiError`], with the one table in [`ErrorCode`].

mod agents;
mod authenticate;
mod budget;
mod capacity;
mod cluster;
mod error;
mod error_code;
mod events;
mod extract;
mod files;
mod head;
mod metadata;
mod metrics;
mod models;
mod openapi;
mod options;
mod page;
mod process_usage;
mod readiness;
mod request_id;
mod runs;
mod server;
mod state;
mod threads;
mod unread_body;
mod usage;

pub use crate::cluster_view::InstanceIdentity;
pub use capacity::CapacityReport;
pub use error::{ApiError, ErrorCode, ErrorKind};
pub use options::{HttpOptions, RunRequestLimits};
pub use process_usage::{ProcessSample, ProcessUsage};
pub use server::{listen, server};
pub use state::{Catalog, HttpParts, HttpState, Runs};
