//! Being told to stop: the first signal drains, the second one ends the process at once.

use std::io::Write;

use tokio::signal::unix::{SignalKind, signal};

/// The exit code of a process that was told twice to stop.
const STOPPED_AT_ONCE: i32 = 130;

/// Returns when the process is told to stop, by Ctrl-C or SIGTERM.
pub(crate) async fn first_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
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

/// Tells the person at the terminal. A closed terminal is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
