//! Permits: units of this instance's capacity, counted in memory and given back by dropping them, whatever went wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The permits of this instance.
#[derive(Debug, Clone)]
pub struct Permits {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limit: u32,
    in_use: AtomicU32,
}

/// One unit of capacity.
#[derive(Debug)]
pub struct Permit {
    shared: Arc<Shared>,
}

impl Permits {
    /// So many permits, all free.
    pub fn new(limit: u32) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                in_use: AtomicU32::new(0),
            }),
        }
    }

    /// A permit, if one is free.
    pub fn try_acquire(&self) -> Option<Permit> {
        let below_limit = |in_use: u32| (in_use < self.shared.limit).then_some(in_use + 1);
        self.shared
            .in_use
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, below_limit)
            .ok()?;
        Some(Permit {
            shared: self.shared.clone(),
        })
    }

    /// How many there are.
    pub fn limit(&self) -> u32 {
        self.shared.limit
    }

    /// How many are taken.
    pub fn in_use(&self) -> u32 {
        self.shared.in_use.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit_and_all_come_back() {
        let permits = Permits::new(7);
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let permit = permits.try_acquire();
                        most.fetch_max(permits.in_use(), Ordering::Relaxed);
                        drop(permit);
                    }
                });
            }
        });
        assert!(most.load(Ordering::Relaxed) <= 7);
        assert_eq!(permits.in_use(), 0);
    }

    #[test]
    fn a_panic_gives_its_permit_back() {
        let permits = Permits::new(1);
        let permit = permits.try_acquire().expect("one is free");
        assert!(permits.try_acquire().is_none());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _held = permit;
            panic!("the step broke");
        }));
        assert!(panicked.is_err());
        assert!(permits.try_acquire().is_some());
    }
}
