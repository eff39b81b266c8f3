//! What this process uses of the machine, measured at most once a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::Serialize;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// A measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct ProcessSample {
    /// CPUs kept busy since the measurement before: 1.0 is one whole CPU.
    pub cpu_cores: f64,
    /// CPU time since the start, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
}

/// Measures this process.
pub struct ProcessUsage(Mutex<Sampler>);

struct Sampler {
    system: Option<System>,
    taken: Option<Instant>,
    sample: ProcessSample,
}

impl ProcessUsage {
    /// A sampler that has measured nothing yet.
    pub fn new() -> Self {
        let system = System::new()
            .inspect_err(|error| tracing::warn!(%error, "process usage cannot be measured"))
            .ok();
        Self(Mutex::new(Sampler {
            system,
            taken: None,
            sample: ProcessSample::default(),
        }))
    }

    /// The last measurement, or a new one if that is a second old.
    pub fn sample(&self) -> ProcessSample {
        let mut sampler = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        let is_fresh = sampler.taken.is_some_and(|taken| now - taken < SHORTEST_INTERVAL);
        if !is_fresh {
            sampler.measure(now);
        }
        sampler.sample
    }
}

impl Default for ProcessUsage {
    fn default() -> Self {
        Self::new()
    }
}

impl Sampler {
    fn measure(&mut self, now: Instant) {
        let Some(system) = &mut self.system else {
            return;
        };
        let process_id = Pid::from_u32(std::process::id());
        let wanted = ProcessRefreshKind::nothing().with_memory().with_cpu().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::Some(&[process_id]), false, wanted);
        let Some(process) = system.process(process_id) else {
            return;
        };
        let cpu_seconds = process.accumulated_cpu_time() as f64 / 1000.0;
        let cpu_cores = match self.taken {
            Some(taken) => (cpu_seconds - self.sample.cpu_seconds).max(0.0) / (now - taken).as_secs_f64(),
            None => 0.0,
        };
        self.taken = Some(now);
        self.sample = ProcessSample {
            cpu_cores,
            cpu_seconds,
            rss_bytes: process.memory(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory() {
        assert!(ProcessUsage::new().sample().rss_bytes > 100_000);
    }
}
