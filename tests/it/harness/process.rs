//! A child process of the binary under test.

use std::path::Path;
use std::process::{ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::patiently;

/// Everything the process has printed so far.
#[derive(Clone, Default)]
pub(crate) struct Printed(Arc<Mutex<String>>);

impl Printed {
    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    fn push(&self, line: &str) {
        let mut text = self.0.lock().unwrap();
        text.push_str(line);
        text.push('\n');
    }
}

/// A running process. Dropping it kills it; a test that forgets to end it fails (see [`super::Server`]).
pub(crate) struct Process {
    child: Child,
    pub(crate) printed: Printed,
    pub(crate) url: String,
}

/// A command of the binary, with nothing in its environment but these variables.
pub(crate) fn command(directory: &Path, variables: &[(String, String)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callboard"));
    command
        .args(arguments)
        .current_dir(directory)
        // What is set around the tests must not change them.
        .env_clear()
        .env("NO_COLOR", "1")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs a command of the binary that ends by itself.
pub(crate) async fn run_to_end(directory: &Path, arguments: &[&str]) -> Output {
    run_to_end_with(directory, &[], arguments).await
}

/// The same, with variables in its environment.
pub(crate) async fn run_to_end_with(directory: &Path, variables: &[(String, String)], arguments: &[&str]) -> Output {
    let running = command(directory, variables, arguments).output();
    patiently("a command to end", running).await.expect("the binary starts")
}

impl Process {
    /// Starts it and waits until it prints where it listens.
    pub(crate) async fn start(directory: &Path, variables: &[(String, String)], arguments: &[&str]) -> Self {
        let mut child = command(directory, variables, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let printed = Printed::default();
        let (found, mut url) = watch::channel(None);
        let found = Arc::new(found);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        tokio::spawn(collect(out, printed.clone(), found.clone()));
        tokio::spawn(collect(err, printed.clone(), found));
        let url = match patiently("the server's address", url.wait_for(Option::is_some)).await {
            Ok(url) => url.clone().unwrap(),
            Err(_) => panic!("the process ended without listening:\n{}", printed.text()),
        };
        Self { child, printed, url }
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.id().expect("the process has not been waited for");
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).expect("the process can be signalled");
    }

    /// SIGTERM.
    pub(crate) fn ask_to_leave(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        patiently("the process to end", self.child.wait()).await.unwrap()
    }
}

/// Keeps what is printed; the first address in it is where the process listens.
async fn collect(output: impl AsyncRead + Unpin, printed: Printed, found: Arc<watch::Sender<Option<String>>>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(url) = address_in(&line) {
            found.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert(url);
                first
            });
        }
        printed.push(&line);
    }
}

fn address_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest
        .find(|character: char| !(character.is_ascii_alphanumeric() || ".:-[]".contains(character)))
        .unwrap_or(rest.len());
    let address = rest[..end].trim_end_matches(['.', ':']);
    address.contains(':').then(|| format!("http://{address}"))
}
