//! A child process, and what it prints.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::patiently;

/// Lines that an error shows of what a process printed.
const LINES_IN_ERRORS: usize = 60;

/// What a process has printed so far, on both streams. Cheap to clone; stays when the process is gone.
#[derive(Clone)]
pub(crate) struct Printed(watch::Receiver<String>);

impl Printed {
    pub(crate) fn text(&self) -> String {
        self.0.borrow().clone()
    }

    /// The last lines, for errors.
    pub(crate) fn last_lines(&self) -> String {
        let text = self.0.borrow();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES_IN_ERRORS)..].join("\n")
    }

    /// Waits until `find` finds something in the text. `None` if the process has closed its output first.
    pub(crate) async fn until<T>(&mut self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = self.0.wait_for(|text| find(text).is_some()).await.ok()?;
        find(&text)
    }
}

/// A running process. Dropping it kills it.
pub(crate) struct Process {
    name: String,
    child: Child,
    pub(crate) printed: Printed,
}

impl Process {
    /// Starts it. `name` is what errors call it.
    pub(crate) fn start(name: &str, mut command: Command) -> anyhow::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let (collected, printed) = watch::channel(String::new());
        let collected = Arc::new(collected);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(collect(output, collected.clone()));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(collect(output, collected));
        }
        Ok(Self {
            name: name.to_owned(),
            child,
            printed: Printed(printed),
        })
    }

    /// Waits until it has printed what `find` finds.
    pub(crate) async fn until_printed<T>(&mut self, what: &str, find: impl Fn(&str) -> Option<T>) -> anyhow::Result<T> {
        let waiting = self.printed.until(find);
        match patiently(&format!("{what} of {}", self.name), waiting).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bail!("{} ended without {what}:\n{}", self.name, self.printed.last_lines()),
            Err(error) => Err(error.context(format!("{} printed:\n{}", self.name, self.printed.last_lines()))),
        }
    }

    /// The system's name for it. An error once it has ended.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    /// Sends a signal; does not wait for what it does.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill(self.process_id()?, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// SIGSTOP. Returns when it stands still.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGSTOP)?;
        let stands = WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(self.process_id()?), stands).with_context(|| format!("{} does not stand still", self.name))?;
        Ok(())
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.ended().await?;
        Ok(())
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        match patiently(&format!("{} to end", self.name), self.child.wait()).await {
            Ok(status) => Ok(status?),
            Err(error) => Err(error.context(format!("{} printed:\n{}", self.name, self.printed.last_lines()))),
        }
    }

    /// Sends a signal that ends it and waits, holding up the thread, until it has: for a `Drop` whose next step needs it gone.
    pub(crate) fn end_now(&self, signal: Signal) {
        let Ok(id) = self.process_id() else { return };
        // Nobody is there to hear of an error.
        let _ = kill(id, signal);
        let _ = kill(id, Signal::SIGCONT);
        let _ = waitid(Id::Pid(id), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT);
    }

    fn process_id(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.id()?)?))
    }
}

async fn collect(output: impl AsyncRead + Unpin, collected: Arc<watch::Sender<String>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        collected.send_modify(|text| {
            text.push_str(&line);
            text.push('\n');
        });
    }
}
