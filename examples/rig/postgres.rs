//! A PostgreSQL of its own, which can be stopped and started again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use super::certificates::Certificates;
use super::patiently;
use super::process::Process;
use super::services::{free_port, fresh_schema};

/// Where Linux distributions and Homebrew keep `initdb` besides the PATH, as `FOLDER/VERSION…/bin`.
const INSTALLED_UNDER: [&str; 3] = ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt"];

/// How a PostgreSQL is set up.
#[derive(Debug, Clone)]
pub(crate) struct PostgresOptions {
    /// Whether a commit waits for the disk. Without, a crash of the machine may lose commits; a crash of the server does not.
    pub(crate) fsync: bool,
    pub(crate) max_connections: u32,
    /// With which certificate it speaks TLS, and nothing else.
    pub(crate) tls: Option<Certificates>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            fsync: false,
            max_connections: 300,
            tls: None,
        }
    }
}

/// How a PostgreSQL is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostgresStop {
    /// Breaks transactions off and shuts down in good order.
    Fast,
    /// Leaves everything as it is: the next start has to recover.
    Immediate,
}

/// A PostgreSQL in a temporary folder. It ends with this value.
pub(crate) struct Postgres {
    process: Option<Process>,
    programs: Programs,
    port: u16,
    // After the process: it goes when that is gone.
    folder: TempDir,
}

impl Postgres {
    pub(crate) async fn start(options: PostgresOptions) -> anyhow::Result<Self> {
        let programs = Programs::find().await?;
        let folder = tempfile::Builder::new().prefix("callboard-postgres-").tempdir()?;
        programs.give(folder.path())?;
        let data = folder.path().join("data");
        let mut initdb = programs.command("initdb", folder.path());
        initdb.arg("-D").arg(&data);
        initdb.args([
            "-U",
            "callboard",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        let made = patiently("initdb", initdb.output()).await??;
        must_succeed("initdb", &made)?;
        let durable = if options.fsync { "on" } else { "off" };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = {}\n\
             fsync = {durable}\nfull_page_writes = {durable}\n",
            options.max_connections
        );
        // The last value of a key counts.
        let file = data.join("postgresql.conf");
        let shipped = std::fs::read_to_string(&file)?;
        std::fs::write(&file, shipped + &settings)?;
        if let Some(certificates) = &options.tls {
            programs.speak_tls(&data, certificates)?;
        }
        let mut postgres = Self {
            process: None,
            programs,
            port: 0,
            folder,
        };
        for _ in 0..5 {
            postgres.port = free_port()?;
            match postgres.run().await {
                Err(error) if format!("{error:?}").contains("could not bind") => {}
                started => return started.map(|()| postgres),
            }
        }
        bail!("no port for PostgreSQL: others took each one that was free")
    }

    /// The URL of its one database.
    pub(crate) fn url(&self) -> String {
        format!("postgres://callboard@127.0.0.1:{}/postgres", self.port)
    }

    /// The URL of an empty schema.
    pub(crate) async fn fresh_schema(&self) -> anyhow::Result<String> {
        fresh_schema(&self.url()).await
    }

    pub(crate) async fn stop(&mut self, how: PostgresStop) -> anyhow::Result<()> {
        let mut process = self.process.take().context("PostgreSQL is not running")?;
        process.signal(match how {
            PostgresStop::Fast => Signal::SIGINT,
            PostgresStop::Immediate => Signal::SIGQUIT,
        })?;
        process.ended().await?;
        Ok(())
    }

    /// Starts it again after [`Postgres::stop`], with all it had, and waits until it answers.
    pub(crate) async fn run(&mut self) -> anyhow::Result<()> {
        let mut postgres = self.programs.command("postgres", self.folder.path());
        postgres.arg("-D").arg(self.folder.path().join("data"));
        postgres.args(["-p", &self.port.to_string()]);
        let mut process = Process::start("PostgreSQL", postgres)?;
        let ready = |printed: &str| printed.contains("ready to accept connections").then_some(());
        process.until_printed("its readiness", ready).await?;
        self.process = Some(process);
        Ok(())
    }

    pub(crate) async fn restart(&mut self, how: PostgresStop) -> anyhow::Result<()> {
        self.stop(how).await?;
        self.run().await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A postmaster that is killed leaves its children to find out, and they would still write into the folder.
        if let Some(process) = &self.process {
            process.end_now(Signal::SIGQUIT);
        }
    }
}

fn must_succeed(name: &str, output: &Output) -> anyhow::Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    bail!("{name} failed:\n{out}{err}")
}

/// PostgreSQL's programs, and who runs them.
struct Programs {
    folder: PathBuf,
    /// PostgreSQL refuses to run as root, so root runs it as another user: id and group.
    user: Option<(u32, u32)>,
}

impl Programs {
    async fn find() -> anyhow::Result<Self> {
        let folder = match std::env::var_os("CALLBOARD_TEST_POSTGRES_BIN") {
            Some(folder) => PathBuf::from(folder),
            None => on_path("initdb")
                .or_else(newest_installed)
                .context("PostgreSQL is missing. Install it: apt-get install postgresql")?,
        };
        let user = if nix::unistd::geteuid().is_root() {
            let user = nix::unistd::User::from_name("postgres")?;
            let user = match user {
                Some(user) => user,
                None => nix::unistd::User::from_name("nobody")?.context("there is no user to run PostgreSQL as")?,
            };
            Some((user.uid.as_raw(), user.gid.as_raw()))
        } else {
            None
        };
        Ok(Self { folder, user })
    }

    /// Makes a folder theirs.
    fn give(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some((user, group)) = self.user {
            std::os::unix::fs::chown(folder, Some(user), Some(group))?;
        }
        Ok(())
    }

    /// Has the server whose data this is take connections with TLS only.
    fn speak_tls(&self, data: &Path, certificates: &Certificates) -> anyhow::Result<()> {
        // Where it looks by itself. A key that others can read is refused.
        let (certificate, key) = (data.join("server.crt"), data.join("server.key"));
        std::fs::copy(&certificates.certificate, &certificate)?;
        std::fs::copy(&certificates.key, &key)?;
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600))?;
        self.give(&certificate)?;
        self.give(&key)?;
        let file = data.join("postgresql.conf");
        let settings = std::fs::read_to_string(&file)?;
        std::fs::write(&file, settings + "ssl = on\n")?;
        std::fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n")?;
        Ok(())
    }

    fn command(&self, name: &str, folder: &Path) -> Command {
        let mut command = Command::new(self.folder.join(name));
        command.current_dir(folder).env_clear().env("LC_ALL", "C");
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

/// The folder of a program on the PATH. A link to it does not do: the other programs are beside the real one.
fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())?;
    Some(std::fs::canonicalize(found).ok()?.parent()?.to_owned())
}

/// Debian keeps the programs off the PATH, one folder for each version. The newest is taken.
fn newest_installed() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for folder in INSTALLED_UNDER {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let programs = entry.path().join("bin");
            if programs.join("initdb").is_file() {
                let version: String = name.chars().filter(char::is_ascii_digit).collect();
                found.push((version.parse().unwrap_or(0), programs));
            }
        }
    }
    found.into_iter().max().map(|(_, programs)| programs)
}
