//! The processes under load: a server with a directory of its own, and a provider for it to ask.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// How long a process may take to say where it listens.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs at once that the started server admits: more than any scenario asks for, so that it is the server's speed that limits.
const PERMITS: u32 = 20_000;

/// What answers the server's model calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UpstreamKind {
    /// `callboard simulate-llm`, in a process of its own.
    Http,
    /// The simulated model inside the server.
    InProcess,
}

/// A server that this program started; it ends with this value.
pub(crate) struct Launched {
    pub(crate) address: SocketAddr,
    pub(crate) process_id: u32,
    /// Where the provider listens, if it has its own process.
    pub(crate) upstream: Option<SocketAddr>,
    _processes: Vec<Child>,
    // After the processes: it goes when they are gone.
    _directory: TempDir,
}

impl Launched {
    /// Starts a provider if one is wanted, makes the accounts, and starts a server.
    pub(crate) async fn start(upstream: UpstreamKind, accounts: &[Account]) -> anyhow::Result<(Self, Vec<String>)> {
        let binary = find_binary()?;
        // Beside the binary, which is on a disk. Many systems keep their temporary files in memory, where commits cost nothing.
        let beside = binary.parent().context("the binary has no directory")?;
        let directory = tempfile::Builder::new().prefix("simulate_load-").tempdir_in(beside)?;
        let mut processes = Vec::new();
        let mut upstream_address = None;
        if upstream == UpstreamKind::Http {
            let (process, address) = start(&binary, directory.path(), &["simulate-llm", "--port", "0"]).await?;
            processes.push(process);
            upstream_address = Some(address);
        }
        std::fs::write(directory.path().join("config.toml"), settings(upstream_address))?;
        let mut keys = Vec::new();
        for account in accounts {
            keys.push(create_key(&binary, directory.path(), account).await?);
        }
        let (process, address) = start(&binary, directory.path(), &[]).await?;
        let process_id = process.id().context("the server ended at once")?;
        processes.push(process);
        let launched = Self {
            address,
            process_id,
            upstream: upstream_address,
            _processes: processes,
            _directory: directory,
        };
        Ok((launched, keys))
    }
}

/// An account to make.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) tier: String,
}

/// The `callboard` that was built along with this example: `target/PROFILE/callboard`.
fn find_binary() -> anyhow::Result<PathBuf> {
    let example = std::env::current_exe()?;
    let profile = example.parent().and_then(Path::parent).context("no target directory")?;
    let binary = profile.join("callboard");
    if !binary.is_file() {
        bail!(
            "{} is not there: build it with the same profile, for example `cargo build --release`",
            binary.display()
        );
    }
    Ok(binary)
}

/// The settings under load: the shipped ones, but for capacity, patience with slow models, and request rates.
fn settings(upstream: Option<SocketAddr>) -> String {
    let mut settings = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[log]\nlevel = \"warn\"\n\
         [capacity]\nmax_concurrent_runs = {PERMITS}\n[model_defaults]\nfirst_byte_timeout = \"1h\"\ncall_timeout = \"2h\"\n"
    );
    // Clients here start their next run the moment one ends. Quotas are what a mix of tiers is to show, not request rates.
    for tier in ["free", "plus", "pro", "ultra"] {
        settings += &format!("[tiers.{tier}]\nrequests_per_second = 0\n");
    }
    if let Some(address) = upstream {
        settings += &format!(
            "[runs]\ndefault_model = \"upstream\"\n[models.upstream]\nprovider = \"openai\"\n\
             base_url = \"http://{address}/v1\"\nupstream_model = \"simulated\"\n"
        );
    }
    settings
}

/// A process in `directory`. It has the environment of this program, so that CALLBOARD__… settings can be tried out.
fn command(binary: &Path, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary);
    command
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Starts a process and waits until it says where it listens.
async fn start(binary: &Path, directory: &Path, arguments: &[&str]) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child = command(binary, directory, arguments)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} cannot be started", binary.display()))?;
    let output = child.stdout.take().context("the process has no output")?;
    let mut lines = BufReader::new(output).lines();
    let listening = async {
        while let Some(line) = lines.next_line().await? {
            if let Some(address) = address_in(&line) {
                return Ok(address);
            }
        }
        bail!("`callboard {}` ended without listening", arguments.join(" "))
    };
    let address = tokio::time::timeout(PATIENCE, listening)
        .await
        .context("the process does not say where it listens")??;
    // What else it prints is read, or it would wait for that some day.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((child, address))
}

/// The host and port of the first address in a line.
fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|character: char| character == '/' || character.is_whitespace());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Makes an API key and returns its secret.
async fn create_key(binary: &Path, directory: &Path, account: &Account) -> anyhow::Result<String> {
    let arguments = ["keys", "create", "--account", &account.name, "--tier", &account.tier];
    let output = command(binary, directory, &arguments).output().await?;
    if !output.status.success() {
        bail!(
            "no key for {}: {}",
            account.name,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut words = printed.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let secret = words.find(|word| word.starts_with("ck_"));
    Ok(secret.context("`callboard keys create` printed no key")?.to_owned())
}
