//! One instance of a fleet: a process that can be killed, frozen, told to leave, and started again.

use anyhow::{Context, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::addresses::Addresses;
use super::binary::ServerProcess;
use super::client::{Client, until_some};
use super::fleet::InstanceOptions;
use super::process::Printed;

/// An instance. It ends with this value.
pub(crate) struct Instance {
    options: InstanceOptions,
    addresses: Addresses,
    running: Option<ServerProcess>,
    /// What its processes printed, one after the other.
    lives: Vec<Printed>,
    directory: TempDir,
}

impl Instance {
    /// One that is not started yet.
    pub(super) fn new(options: InstanceOptions, addresses: Addresses) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("callboard-instance-").tempdir()?;
        options.settings.write_into(directory.path())?;
        Ok(Self {
            options,
            addresses,
            running: None,
            lives: Vec::new(),
            directory,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    /// What it does when it is started next.
    pub(crate) const fn options_mut(&mut self) -> &mut InstanceOptions {
        &mut self.options
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Starts it, again if it was ended, and waits until it takes runs.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_unready().await?;
        let client = self.client()?;
        let ready = until_some("an instance to be ready", || async {
            (client.get_raw("/readyz").await.ok()?.status == 200).then_some(())
        });
        ready.await.with_context(|| self.account_of_itself())
    }

    /// The same, but waits only until it listens.
    pub(crate) async fn start_unready(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            bail!("{} is running already", self.name());
        }
        self.options.settings.write_into(self.directory.path())?;
        let options = &self.options;
        let environment = options.environment();
        let starting = options
            .binary
            .start(&options.name, self.directory.path(), &environment, &[]);
        let started = starting.await?;
        self.lives.push(started.process.printed.clone());
        self.addresses.add(&self.options.name, &started.url);
        self.running = Some(started);
        Ok(())
    }

    /// Runs it where it is expected to end by itself, and gives the exit code and what it printed.
    pub(crate) async fn start_in_vain(&self) -> anyhow::Result<(Option<i32>, String)> {
        let output = self.command(&[]).await?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        Ok((output.status.code(), format!("{out}{err}")))
    }

    /// Runs another command of the program with this instance's configuration and environment, such as `keys list`.
    pub(crate) async fn command(&self, arguments: &[&str]) -> anyhow::Result<std::process::Output> {
        let options = &self.options;
        options.settings.write_into(self.directory.path())?;
        options
            .binary
            .run_to_end(self.directory.path(), &options.environment(), arguments)
            .await
    }

    /// Makes an API key and gives its secret. Needs no instance that runs.
    pub(crate) async fn create_key(&self, account: &str, tier: &str) -> anyhow::Result<String> {
        let options = &self.options;
        options.settings.write_into(self.directory.path())?;
        let environment = options.environment();
        options
            .binary
            .create_key(self.directory.path(), &environment, account, tier)
            .await
    }

    /// `http://ADDRESS:PORT`.
    pub(crate) fn url(&self) -> anyhow::Result<&str> {
        Ok(&self.running()?.url)
    }

    /// A client of this instance alone.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::new(self.url()?, None)
    }

    pub(crate) fn client_with(&self, key: &str) -> anyhow::Result<Client> {
        Client::new(self.url()?, Some(key))
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        let mut gone = self.running.take().context("the instance is not running")?;
        self.addresses.remove(&self.options.name);
        gone.process.kill().await
    }

    /// SIGSTOP. Clients still try it: nobody has told them.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.running()?.process.pause()
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        self.running()?.process.go_on()
    }

    /// SIGTERM. Does not wait; new clients go elsewhere, as they do behind a load balancer that looks at `/readyz`.
    pub(crate) fn ask_to_leave(&self) -> anyhow::Result<()> {
        self.addresses.remove(&self.options.name);
        self.running()?.process.signal(Signal::SIGTERM)
    }

    /// Waits for the end that somebody asked for, and gives the exit code; `None` if it was a signal.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<Option<i32>> {
        let mut ending = self.running.take().context("the instance is not running")?;
        let status = ending.process.ended().await?;
        self.addresses.remove(&self.options.name);
        Ok(status.code())
    }

    /// SIGTERM, and a clean exit.
    pub(crate) async fn leave(&mut self) -> anyhow::Result<()> {
        self.ask_to_leave()?;
        match self.ended().await? {
            Some(0) => Ok(()),
            code => bail!("exit code {code:?}; {}", self.account_of_itself()),
        }
    }

    /// Waits until its process has printed this.
    pub(crate) async fn until_printed(&mut self, text: &str) -> anyhow::Result<()> {
        let running = self.running.as_mut().context("the instance is not running")?;
        running
            .process
            .until_printed(text, |printed| printed.contains(text).then_some(()))
            .await
    }

    /// Everything it printed in all its lives.
    pub(crate) fn printed(&self) -> String {
        self.lives.iter().map(Printed::text).collect()
    }

    /// The last it printed, for errors.
    pub(crate) fn account_of_itself(&self) -> String {
        let last = self.lives.last().map(Printed::last_lines).unwrap_or_default();
        format!("{} printed last:\n{last}", self.options.name)
    }

    fn running(&self) -> anyhow::Result<&ServerProcess> {
        self.running
            .as_ref()
            .with_context(|| format!("{} is not running", self.options.name))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.addresses.remove(&self.options.name);
        if std::thread::panicking() {
            eprintln!("--- {}", self.account_of_itself());
        }
    }
}
