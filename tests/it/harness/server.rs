//! A server and its directory.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::process::Command;

use super::{Client, binary, until_some};
use crate::rig::{Process, ServerProcess, Settings, UNHURRIED};

/// A directory with a configuration and a database, on which servers are started one after the other.
#[derive(Clone)]
pub(crate) struct Site {
    directory: Arc<TempDir>,
    environment: Vec<(String, String)>,
}

/// A running server. End it with [`Server::finish`], [`Server::kill`] or [`Server::leave`]: one that is merely dropped fails the test.
pub(crate) struct Server {
    process: Option<Process>,
    pub(crate) site: Site,
    pub(crate) url: String,
}

impl Site {
    /// A fresh one. `settings` is TOML, over the shipped `config.toml`; it must not set `server.bind`.
    pub(crate) fn new(settings: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bound = Settings::default().with("[server]\nbind = \"127.0.0.1:0\"\n").unwrap();
        let bound = bound.with(UNHURRIED).unwrap();
        bound.with(settings).unwrap().write_into(directory.path()).unwrap();
        Self {
            directory: Arc::new(directory),
            environment: Vec::new(),
        }
    }

    /// The same, with a variable in the environment of everything that is started here.
    pub(crate) fn with_variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts a server here.
    pub(crate) async fn start(&self) -> Server {
        let started = binary()
            .start("callboard", self.path(), &self.environment, &[])
            .await
            .unwrap();
        let ServerProcess { process, url } = started;
        let server = Server {
            process: Some(process),
            site: self.clone(),
            url,
        };
        let client = server.client();
        until_some("the server to be ready", || async {
            (client.get_raw("/readyz").await.ok()?.status == 200).then_some(())
        })
        .await;
        server
    }

    /// A command of the binary, to be run here.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        binary().command(self.path(), &self.environment, arguments)
    }

    /// Runs a command of the binary that ends by itself.
    pub(crate) async fn run_to_end(&self, arguments: &[&str]) -> Output {
        let running = binary().run_to_end(self.path(), &self.environment, arguments).await;
        running.unwrap()
    }

    /// Makes an API key of the operator and gives its secret.
    pub(crate) async fn create_admin_key(&self, account: &str, tier: &str) -> String {
        let arguments = [
            "keys",
            "create",
            "--admin",
            "--json",
            "--account",
            account,
            "--tier",
            tier,
        ];
        let output = self.run_to_end(&arguments).await;
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        printed["secret"].as_str().unwrap().to_owned()
    }

    /// Makes an API key and gives its secret.
    pub(crate) async fn create_key(&self, account: &str, tier: &str) -> String {
        binary()
            .create_key(self.path(), &self.environment, account, tier)
            .await
            .unwrap()
    }
}

impl Server {
    /// A server on a fresh site.
    pub(crate) async fn start(settings: &str) -> Self {
        Site::new(settings).start().await
    }

    /// A client without a key.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url, None).unwrap()
    }

    /// A client with this key.
    pub(crate) fn client_with(&self, key: &str) -> Client {
        Client::new(&self.url, Some(key)).unwrap()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the server has not been ended")
    }

    /// Of the process.
    pub(crate) fn process_id(&self) -> u32 {
        self.process().id().unwrap()
    }

    /// SIGTERM; does not wait.
    pub(crate) fn ask_to_leave(&self) {
        self.process().signal(Signal::SIGTERM).unwrap();
    }

    /// SIGHUP, as when its terminal is closed; does not wait.
    pub(crate) fn hang_up(&self) {
        self.process().signal(Signal::SIGHUP).unwrap();
    }

    /// Waits for the end that somebody asked for, and gives the exit code.
    pub(crate) async fn ended(mut self) -> (Site, Option<i32>) {
        let mut process = self.process.take().unwrap();
        let status = process.ended().await.unwrap();
        (self.site.clone(), status.code())
    }

    /// SIGTERM, and a clean exit.
    pub(crate) async fn leave(self) -> Site {
        self.ask_to_leave();
        let printed = self.process().printed.clone();
        let (site, code) = self.ended().await;
        assert_eq!(code, Some(0), "{}", printed.text());
        site
    }

    /// `kill -9`.
    pub(crate) async fn kill(mut self) -> Site {
        self.process.take().unwrap().kill().await.unwrap();
        self.site.clone()
    }

    /// The end of a test: every Permit has come back, nothing broke, and the server leaves cleanly.
    pub(crate) async fn finish(self) {
        let client = self.client();
        self.finish_as(&client).await;
    }

    /// The same, for a server that asks for keys.
    pub(crate) async fn finish_as(self, client: &Client) {
        let printed = self.finish_after_panics(client).await;
        let broken = printed
            .lines()
            .find(|line| line.contains("panicked at") || line.contains("ERROR"));
        assert_eq!(broken, None, "the server met an error of its own");
    }

    /// The same, for a test that made things break; gives what the server printed.
    pub(crate) async fn finish_after_panics(self, client: &Client) -> String {
        until_some("all permits to come back", || async {
            let capacity = client.get("/api/v1/capacity").await.expect_status(200);
            (capacity["permits"]["in_use"] == 0).then_some(())
        })
        .await;
        let printed = self.process().printed.clone();
        self.leave().await;
        printed.text()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.process.is_some() && !std::thread::panicking() {
            panic!("a server was left running: end it with finish, leave or kill");
        }
        if let Some(process) = self.process.as_ref().filter(|_| std::thread::panicking()) {
            eprintln!("--- the server at {} printed:\n{}", self.url, process.printed.text());
        }
    }
}
