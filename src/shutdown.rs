//! Being told to stop: the first signal drains, a second one ends the process at once.
//!
//! SIGTERM, Ctrl-C and SIGHUP (the terminal is gone) drain alike. A second SIGHUP is no second signal: when a terminal closes, the kernel
//! and the shell may both send one, and nobody meant "at once".

use std::io::Write;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::telemetry;

/// The exit code of a process that was told twice to stop.
const STOPPED_AT_ONCE: i32 = 130;

/// Returns when the process is told to stop.
pub(crate) async fn first_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = hangup_unless_ignored()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        Some(_) = async { hangup.as_mut()?.recv().await } => {}
    }
    Ok(())
}

/// From now on a signal ends the process at once. What runs is taken up by the next start.
pub(crate) fn exit_at_once_on_second_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    actix_rt::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        say("stopped at once; what was running goes on with the next start");
        std::process::exit(STOPPED_AT_ONCE);
    });
    Ok(())
}

/// SIGHUP, unless whoever started the process had it ignored (`nohup`): to listen for a signal is to ignore it no more.
fn hangup_unless_ignored() -> std::io::Result<Option<Signal>> {
    // Where there is no such file, nothing says that it is ignored.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if ignores_hangup(&status) {
        return Ok(None);
    }
    signal(SignalKind::hangup()).map(Some)
}

/// Whether a process with this status (proc(5)) ignores SIGHUP: signal 1, the lowest bit.
fn ignores_hangup(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}

/// Tells the person at the terminal, or the log if it is for programs. A closed terminal is no reason to stop.
pub(crate) fn say(text: &str) {
    if telemetry::writes_json() {
        return tracing::info!("{text}");
    }
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::ignores_hangup;

    #[test]
    fn an_ignored_hangup_is_known_by_its_bit() {
        assert!(ignores_hangup(
            "Name:\tcallboard\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"
        ));
        assert!(!ignores_hangup(
            "SigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\n"
        ));
        assert!(!ignores_hangup(""));
    }
}
