//! Tasks that have to be over before this server leaves.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Tasks. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Begins one.
    pub(super) fn spawn_on(&self, io: &Handle, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(task, io);
    }

    /// Waits for the end of all, but for no longer than this: what is not over then is aborted.
    pub(super) async fn end(&self, longest: Duration) {
        let mut tasks = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let ending = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(longest, ending).await.is_err() {
            tasks.abort_all();
            while tasks.join_next().await.is_some() {}
        }
    }
}
