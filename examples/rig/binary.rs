//! The `callboard` program: where it is, and how it is started.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, bail};
use tokio::process::Command;

use super::patiently;
use super::process::Process;

/// The `callboard` program.
#[derive(Debug, Clone)]
pub(crate) struct Binary(PathBuf);

/// A process that listens.
pub(crate) struct ServerProcess {
    pub(crate) process: Process,
    /// `http://ADDRESS:PORT`.
    pub(crate) url: String,
}

impl Binary {
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// For examples: that of the build this program belongs to. `cargo run --example` does not build it, so this does; together with
    /// the example, so that all dependencies are as they were built for that.
    pub(crate) async fn built() -> anyhow::Result<Self> {
        let example = std::env::current_exe()?;
        // target/PROFILE/examples/NAME
        let profile_folder = example.parent().and_then(Path::parent).context("no target folder")?;
        let target_folder = profile_folder.parent().context("no target folder")?;
        let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(name) => name,
            None => bail!("{} has no name", profile_folder.display()),
        };
        let name = example.file_name().and_then(|name| name.to_str()).context("no name")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--bin",
                "callboard",
                "--example",
                name,
                "--profile",
                profile,
                "--manifest-path",
            ])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
            .arg("--target-dir")
            .arg(target_folder)
            .status()
            .await
            .context("cargo cannot be started")?;
        if !built.success() {
            bail!("`cargo build --bin callboard` failed");
        }
        Ok(Self(profile_folder.join("callboard")))
    }

    /// A command of it in `folder`, with nothing in its environment but this: what is set around this program must not change it.
    pub(crate) fn command(&self, folder: &Path, environment: &[(String, String)], arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.0);
        command
            .args(arguments)
            .current_dir(folder)
            .env_clear()
            .env("NO_COLOR", "1")
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Starts a server and waits until it says where it listens.
    pub(crate) async fn start(
        &self,
        name: &str,
        folder: &Path,
        environment: &[(String, String)],
        arguments: &[&str],
    ) -> anyhow::Result<ServerProcess> {
        let mut process = Process::start(name, self.command(folder, environment, arguments))?;
        let url = process.until_printed("the address", address_in).await?;
        Ok(ServerProcess { process, url })
    }

    /// Runs a command that ends by itself.
    pub(crate) async fn run_to_end(
        &self,
        folder: &Path,
        environment: &[(String, String)],
        arguments: &[&str],
    ) -> anyhow::Result<Output> {
        let running = self.command(folder, environment, arguments).output();
        Ok(patiently(&format!("the end of `callboard {}`", arguments.join(" ")), running).await??)
    }

    /// Makes an API key and gives its secret.
    pub(crate) async fn create_key(
        &self,
        folder: &Path,
        environment: &[(String, String)],
        account: &str,
        tier: &str,
    ) -> anyhow::Result<String> {
        let arguments = ["keys", "create", "--account", account, "--tier", tier];
        let output = self.run_to_end(folder, environment, &arguments).await?;
        if !output.status.success() {
            bail!("no key for {account}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = printed.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
        let secret = words.find(|word| word.starts_with("ck_"));
        Ok(secret.with_context(|| format!("no key in {printed:?}"))?.to_owned())
    }
}

/// The first address in what a server prints is where it listens.
fn address_in(printed: &str) -> Option<String> {
    let (_, rest) = printed.split_once("http://")?;
    let end = rest.find(|character: char| !(character.is_ascii_alphanumeric() || ".:-[]".contains(character)))?;
    let address = rest[..end].trim_end_matches(['.', ':']);
    address.contains(':').then(|| format!("http://{address}"))
}
