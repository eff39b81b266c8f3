//! Starts the real server, speaks HTTP to it, kills it, starts it again.

mod client;
mod in_process;
mod process;
mod reader;
mod server;
mod surface;
mod upstream;

pub(crate) use client::{Client, Reply};
pub(crate) use in_process::{InProcess, Script, start_of};
pub(crate) use process::run_to_end;
pub(crate) use reader::{Seen, SeenEvent, check_whole_log};
pub(crate) use server::{Server, Site};
pub(crate) use surface::Surface;
pub(crate) use upstream::Upstream;

use std::future::Future;
use std::time::Duration;

/// How long anything may take before a test gives up. Far more than it needs: the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits for `what` with [`PATIENCE`].
pub(crate) async fn patiently<T>(what: &str, waiting: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(value) => value,
        Err(_) => panic!("waited {PATIENCE:?} in vain for {what}"),
    }
}

/// Asks again until the answer is `Some`. For what no event tells of; each question is a request, so this does not spin.
pub(crate) async fn until_some<T, Asking>(what: &str, mut ask: impl FnMut() -> Asking) -> T
where
    Asking: Future<Output = Option<T>>,
{
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    patiently(what, asking).await
}
