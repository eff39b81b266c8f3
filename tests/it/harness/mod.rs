//! Starts the real server, speaks HTTP to it, kills it, starts it again: the rig of the examples, where whatever goes wrong fails the test.

mod aimock;
mod client;
mod fleet;
mod fleet_of_one;
mod in_process;
mod models;
mod process;
mod reader;
mod s3;
mod scripted;
mod server;
mod surface;
mod upstream;

pub(crate) use aimock::{Aimock, Dialect, SECRET_KEY};
pub(crate) use fleet::{DEFAULT_LEASE, TestFleet, story};
pub(crate) use fleet_of_one::FleetOfOne;
pub(crate) use in_process::{InProcess, running_since, start_of, start_on, started};
pub(crate) use models::{Answer, ScriptedModel, USAGE, call_settings, keyed_route, limited_route, route};
pub(crate) use process::{binary, run_to_end};
pub(crate) use reader::check_whole_log;
pub(crate) use s3::{BUCKET_KEY, Bucket};
pub(crate) use scripted::Script;
pub(crate) use server::{Server, Site};
pub(crate) use surface::Surface;
pub(crate) use upstream::Upstream;

pub(crate) use crate::rig::{Client, PATIENCE, Reply, Seen, SeenEvent};

use std::future::Future;

use crate::rig;

/// Waits for `what` with [`PATIENCE`].
pub(crate) async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    rig::patiently(what, waiting).await.unwrap()
}

/// Asks until the answer is `Some`. For what no event tells of; each question is a request, so this does not spin.
pub(crate) async fn until_some<T, Asking>(what: &str, ask: impl FnMut() -> Asking) -> T
where
    Asking: Future<Output = Option<T>>,
{
    rig::until_some(what, ask).await.unwrap()
}
