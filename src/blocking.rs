//! The pool for work that blocks: reading `/proc`, parsing files. A pool of its own, of `max(cpus, 16)` threads, so that it never
//! holds up an arbiter or the I/O runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callboard_actors::ids::AccountId;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::places::SharedPlaces;

/// A bounded pool of threads for blocking work. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BlockingPool {
    runtime: Handle,
    threads: usize,
    places: SharedPlaces,
    /// The share of the account whose work this is for.
    share: Option<Arc<Semaphore>>,
    waiting: Arc<AtomicU64>,
}

/// How busy the pool is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BlockingPoolUsage {
    /// Threads it may have.
    pub threads_limit: u64,
    /// Jobs that run.
    pub busy: u64,
    /// Jobs that wait for a thread.
    pub waiting: u64,
}

/// The work panicked, or the server is leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("blocking work did not end")]
pub struct BlockingWorkLost;

/// Counts a job that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicU64);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl BlockingPool {
    /// At most `threads` (at least 1) of the runtime's blocking threads.
    pub fn new(runtime: Handle, threads: usize) -> Self {
        let threads = threads.max(1);
        Self {
            runtime,
            threads,
            places: SharedPlaces::new(threads),
            share: None,
            waiting: Arc::default(),
        }
    }

    /// The same pool, for work of this account: half of it, so that no account alone holds up the others.
    pub fn for_account(&self, account: &AccountId) -> Self {
        let [share, _all] = self.places.of(account);
        Self {
            share: Some(share),
            ..self.clone()
        }
    }

    /// Does `work` on a thread of the pool, after what came before it. Work that has begun is not taken back by dropping the future.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BlockingWorkLost> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(&self.waiting);
        let share = match &self.share {
            Some(share) => Some(share.clone().acquire_owned().await.map_err(|_| BlockingWorkLost)?),
            None => None,
        };
        let turn = self
            .places
            .all()
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| BlockingWorkLost)?;
        drop(waiting);
        let job = self.runtime.spawn_blocking(move || {
            let done = work();
            drop((turn, share));
            done
        });
        job.await.map_err(|_| BlockingWorkLost)
    }

    /// How busy it is.
    pub fn usage(&self) -> BlockingPoolUsage {
        BlockingPoolUsage {
            threads_limit: self.threads as u64,
            busy: self.threads.saturating_sub(self.places.all().available_permits()) as u64,
            waiting: self.waiting.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn jobs_wait_for_a_thread_and_a_panic_gives_it_back() {
        let pool = BlockingPool::new(Handle::current(), 1);
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let first = tokio::spawn({
            let pool = pool.clone();
            async move {
                let work = move || {
                    let _ = begun.send(());
                    let _ = may_go_on.recv();
                };
                pool.run(work).await
            }
        });
        has_begun.await.expect("it runs");
        assert_eq!(
            pool.usage(),
            BlockingPoolUsage {
                threads_limit: 1,
                busy: 1,
                waiting: 0
            }
        );
        let mut second = Box::pin(pool.run(|| panic!("broken work")));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(pool.usage().waiting, 1);
        go_on.send(()).expect("it listens");
        assert_eq!(first.await.expect("not aborted"), Ok(()));
        assert_eq!(second.await, Err::<(), _>(BlockingWorkLost));
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(
            pool.usage(),
            BlockingPoolUsage {
                threads_limit: 1,
                busy: 0,
                waiting: 0
            }
        );
    }

    #[tokio::test]
    async fn an_account_has_half_of_the_threads() {
        let pool = BlockingPool::new(Handle::current(), 2);
        let of = |account: &str| pool.for_account(&account.parse().expect("a name"));
        let (begun, has_begun) = tokio::sync::oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let long = of("acme");
        let first = tokio::spawn(async move {
            let work = move || {
                let _ = begun.send(());
                let _ = may_go_on.recv();
            };
            long.run(work).await
        });
        has_begun.await.expect("it runs");
        let acme = of("acme");
        let mut second = Box::pin(acme.run(|| 2));
        assert!(futures::poll!(&mut second).is_pending());
        assert_eq!(of("other").run(|| 3).await, Ok(3));
        assert!(futures::poll!(&mut second).is_pending(), "its half is taken");
        go_on.send(()).expect("it listens");
        assert_eq!(first.await.expect("not aborted"), Ok(()));
        assert_eq!(second.await, Ok(2));
    }
}
