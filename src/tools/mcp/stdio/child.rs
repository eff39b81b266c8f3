//! The process of an MCP server: started with an environment of its own, and ended with all that it has started itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncRead;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::lines::{BoundedLines, Line};
use crate::secrets::HiddenSecrets;
use crate::tools::mcp::throttle::Throttle;

/// How long a server may take to leave once its input has ended, and again once it was asked with SIGTERM.
const GRACE: Duration = Duration::from_millis(1500);

/// Bytes of a line on standard error that are logged.
const LONGEST_LOG_LINE: usize = 2048;

/// Variables of this server's own environment that every process needs; nothing else of it is handed on.
const INHERITED: &[&str] = &[
    "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
];

/// What is started.
#[derive(Debug, Clone)]
pub struct ServerCommand {
    /// The program, looked for in `PATH`.
    pub program: String,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// Its environment, over a minimal one.
    pub environment: BTreeMap<String, String>,
    /// What is to be in its environment too, and is not to be seen in what it says.
    pub secret_environment: BTreeMap<String, SecretString>,
    /// Where it runs; `None` is where this server does.
    pub directory: Option<PathBuf>,
}

/// A process that runs, with what it started. It ends with this value; [`ServerProcess::end`] gives it time.
pub(in crate::tools::mcp) struct ServerProcess {
    end: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

/// A group of processes; killed with this value, unless the group is known to be gone.
struct Group(Pid);

impl Group {
    fn signal(&self, signal: Signal) {
        // There may be nobody left.
        let _ = killpg(self.0, signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// Starts the process and gives its input and output. What it says on standard error is logged.
///
/// # Errors
/// The program cannot be started.
pub(super) fn start(
    server: &str,
    command: &ServerCommand,
) -> std::io::Result<(ServerProcess, ChildStdin, ChildStdout)> {
    let mut process = Command::new(&command.program);
    process
        .args(&command.arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own: it ends with all it has started, and no Ctrl-C meant for this server reaches it.
        .process_group(0)
        .kill_on_drop(true);
    for name in INHERITED {
        if let Some(value) = std::env::var_os(name) {
            process.env(name, value);
        }
    }
    process.envs(&command.environment);
    for (name, value) in &command.secret_environment {
        process.env(name, value.expose_secret());
    }
    if let Some(directory) = &command.directory {
        process.current_dir(directory);
    }
    let mut child = process.spawn()?;
    let missing = || std::io::Error::other("a pipe of the process is missing");
    let id = child.id().and_then(|id| i32::try_from(id).ok()).ok_or_else(missing)?;
    let group = Group(Pid::from_raw(id));
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (input, output) = input.zip(output).ok_or_else(missing)?;
    if let Some(errors) = child.stderr.take() {
        let hidden = HiddenSecrets::new(command.secret_environment.values());
        tokio::spawn(log_errors(server.to_owned(), errors, hidden));
    }
    let (end, asked_to_end) = oneshot::channel();
    let ended = tokio::spawn(mind(server.to_owned(), child, group, asked_to_end));
    Ok((ServerProcess { end, ended }, input, output))
}

impl ServerProcess {
    /// Waits until the process is gone, and asks it to go, more and more firmly. Its input must have ended.
    pub(in crate::tools::mcp) async fn end(self) {
        drop(self.end);
        // A panic in there has killed the process too.
        let _ = self.ended.await;
    }
}

/// Waits for the end of the process, of itself or when it is asked for. Then whatever it has left behind is killed.
async fn mind(server: String, mut child: Child, group: Group, asked_to_end: oneshot::Receiver<()>) {
    tokio::select! {
        status = child.wait() => {
            if let Ok(status) = status {
                tracing::debug!(server, %status, "the process of an MCP server has ended");
            }
            return;
        }
        // By a word or by dropping the other end.
        _ = asked_to_end => {}
    }
    if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
        return;
    }
    group.signal(Signal::SIGTERM);
    if tokio::time::timeout(GRACE, child.wait()).await.is_ok() {
        return;
    }
    tracing::debug!(server, "an MCP server does not leave and is killed");
    group.signal(Signal::SIGKILL);
    let _ = child.wait().await;
}

async fn log_errors(server: String, errors: impl AsyncRead + Unpin, hidden: HiddenSecrets) {
    let mut lines = BoundedLines::new(errors, LONGEST_LOG_LINE);
    let mut throttle = Throttle::default();
    loop {
        throttle.wait().await;
        throttle.charge(0);
        match lines.next().await {
            Ok(Some(Line::Whole(line))) => {
                // A server that tells which token it was given must not write it into the log.
                let said = hidden.replaced_in(String::from_utf8_lossy(&line).into_owned());
                tracing::debug!(server, said = said.trim_end(), "an MCP server says on standard error");
            }
            Ok(Some(Line::TooLong { .. })) => {
                tracing::debug!(server, "an MCP server says a long line on standard error")
            }
            Ok(None) => return,
            // A line without an end. The pipe is emptied all the same: a full one would hold the server up.
            Err(_) => lines = lines.renewed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::testing::LogCapture;

    #[tokio::test]
    async fn what_a_server_was_told_in_secret_is_not_in_the_log() {
        let log = LogCapture::start("trace");
        let secret: SecretString = "hidden-token".into();
        let said: &[u8] = b"starting with the token hidden-token\nready\n";
        log_errors("notes".to_owned(), said, HiddenSecrets::new([&secret])).await;
        let text = log.text();
        assert!(
            text.contains("starting with the token [secret]") && text.contains("ready"),
            "{text}"
        );
        assert!(!text.contains("hidden-token"), "{text}");
    }
}
