//! One arbiter per core; each new run goes to the one with the fewest.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use actix::{Arbiter, ArbiterHandle};

/// The arbiters on which runs live.
pub(crate) struct Arbiters {
    arbiters: Vec<(Arbiter, Arc<AtomicU32>)>,
}

/// A run's place on an arbiter; dropping it makes room.
pub(crate) struct Placement {
    live: Arc<AtomicU32>,
}

impl Arbiters {
    /// Starts so many arbiters (at least one). Must be called on a thread of an actix system.
    pub(crate) fn start(count: usize) -> Self {
        let arbiters = (0..count.max(1)).map(|_| (Arbiter::new(), Arc::default())).collect();
        Self { arbiters }
    }

    /// A place on the arbiter with the fewest runs.
    pub(crate) fn place(&self) -> (ArbiterHandle, Placement) {
        let load = |live: &Arc<AtomicU32>| live.load(Ordering::Relaxed);
        let mut chosen = &self.arbiters[0];
        for candidate in &self.arbiters[1..] {
            if load(&candidate.1) < load(&chosen.1) {
                chosen = candidate;
            }
        }
        chosen.1.fetch_add(1, Ordering::Relaxed);
        (chosen.0.handle(), Placement { live: chosen.1.clone() })
    }

    /// Runs on each arbiter.
    pub(crate) fn loads(&self) -> Vec<u32> {
        self.arbiters
            .iter()
            .map(|(_, live)| live.load(Ordering::Relaxed))
            .collect()
    }
}

impl Drop for Arbiters {
    fn drop(&mut self) {
        for (arbiter, _) in &self.arbiters {
            arbiter.stop();
        }
    }
}

impl Drop for Placement {
    fn drop(&mut self) {
        self.live.fetch_sub(1, Ordering::Relaxed);
    }
}
