//! How large the machine is that this process may use: that of its container, if that is smaller.

use callboard_actors::capacity::MachineSize;
use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System};

/// CPUs (affinity and cgroup quota respected) and memory (cgroup limit respected). What cannot be found out counts as 1 CPU or as
/// no memory, so that the capacity errs on the small side.
pub fn this_machine() -> MachineSize {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    MachineSize {
        cpus: u32::try_from(cpus).unwrap_or(u32::MAX),
        memory_bytes: memory_of_this_machine(),
    }
}

fn memory_of_this_machine() -> u64 {
    let Ok(mut system) = System::new() else {
        return 0;
    };
    system.refresh_memory();
    let of_the_host = system.total_memory();
    match limit_of_the_container(&mut system) {
        Some(limit) if of_the_host == 0 => limit,
        Some(limit) => limit.min(of_the_host),
        None => of_the_host,
    }
}

fn limit_of_the_container(system: &mut System) -> Option<u64> {
    let this_process = sysinfo::get_current_pid().ok()?;
    let only_this = [this_process];
    system.refresh_processes_specifics(
        ProcessesToUpdate::Some(&only_this),
        false,
        ProcessRefreshKind::nothing(),
    );
    let limits = system.process(this_process)?.cgroup_limits()?;
    Some(limits.total_memory).filter(|limit| *limit > 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_has_a_size() {
        let machine = super::this_machine();
        assert!(machine.cpus >= 1);
        assert!(machine.memory_bytes > 100_000_000, "{} bytes", machine.memory_bytes);
    }
}
