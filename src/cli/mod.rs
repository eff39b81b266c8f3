//! The command line.
//!
//! What needs no server (`plan`, `config`) is done here. What needs one is read, checked and handed back as a [`Task`] for the
//! composition root, which alone knows the adapters.

pub mod budgets;
pub mod cluster;
mod config;
pub mod keys;
pub mod migrate_store;
pub mod models;
mod plan;
mod simulate_llm;
mod text;
pub mod usage;

pub use text::error_chain;

use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::app::{NoStore, OutsideErrors};
use crate::config::{Config, ConfigErrors, LoadedConfig, Sources, load};
use crate::llm::simulate_server::SimulateServerOptions;
use crate::llm::simulate_server::settings::SettingsError;
pub use budgets::{BudgetsCommand, BudgetsError};
pub use cluster::{ClusterArguments, ClusterError};
pub use keys::{KeysCommand, KeysError};
pub use migrate_store::{MigrateStoreArguments, MigrateStoreError};
pub use models::{ModelsCommand, ModelsError, ModelsTestArguments};
use simulate_llm::SimulateLlmArguments;
pub use usage::{UsageArguments, UsageError};

/// Exit code for a wrong configuration; clap has the same for a wrong command line.
pub const EXIT_WRONG_INPUT: u8 = 2;

/// A self-hosted agent-run server: post a run, watch it to its last event, lose nothing.
#[derive(Debug, Parser)]
#[command(name = "callboard", version, propagate_version = true)]
pub struct Cli {
    /// Read this file over the built-in defaults [default: ./config.toml, if there is one]
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve,
    /// Show how much an instance takes on, how that comes about, and what a fleet does in an hour
    Plan(plan::PlanArguments),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make, list and revoke API keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Show the instances of a fleet, how busy each is, and what they come to together
    Cluster(ClusterArguments),
    /// Show the models, and whether their keys work
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Show what an account's model calls may use, and give it more
    #[command(subcommand)]
    Budgets(BudgetsCommand),
    /// Show what accounts have used, by day and model
    Usage(UsageArguments),
    /// Move everything from one store to another, and compare what both have
    MigrateStore(MigrateStoreArguments),
    /// Serve the simulated model as a provider in the dialects of OpenAI and Anthropic, with limits and troubles, for tests under load
    SimulateLlm(Box<SimulateLlmArguments>),
    /// Read the document on the standard input, for a server: see docs/files.md
    #[command(hide = true)]
    ParseDocument,
}

/// What is left to do.
#[derive(Debug)]
pub enum Task {
    /// Nothing: it was done here.
    Nothing,
    /// Run the server.
    Serve(Box<LoadedConfig>),
    /// Work on the keys in the configured store.
    Keys(Box<Config>, KeysCommand),
    /// Show the instances that the configured store knows.
    Cluster(Box<Config>, ClusterArguments),
    /// Try the keys of the configured models.
    TestModels(Box<Config>, ModelsTestArguments),
    /// Work on the budgets in the configured store.
    Budgets(Box<Config>, BudgetsCommand),
    /// Show what the configured store says was used.
    Usage(Box<Config>, UsageArguments),
    /// Move what is in the configured store.
    MigrateStore(Box<Config>, MigrateStoreArguments),
    /// Serve the simulated model.
    SimulateLlm(Box<SimulateServerOptions>),
    /// Read a document.
    ParseDocument,
}

/// Why a command was not done. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The configuration has mistakes.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The settings of the simulated provider have mistakes.
    #[error(transparent)]
    SimulateLlm(#[from] SettingsError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

/// Whether the only thing that went wrong is that nobody reads on, as with `callboard plan | head -1`.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let of_the_output = if let Some(CliError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(KeysError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(ClusterError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(ModelsError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(BudgetsError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(UsageError::Output(cause)) = error.downcast_ref() {
        cause
    } else if let Some(MigrateStoreError::Output(cause)) = error.downcast_ref() {
        cause
    } else {
        return false;
    };
    of_the_output.kind() == std::io::ErrorKind::BrokenPipe
}

/// What the process ends with: 2 for what the operator can put right in the configuration or on the command line, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let is_wrong_input = matches!(
        error.downcast_ref(),
        Some(CliError::Config(_) | CliError::SimulateLlm(_))
    ) || error.is::<OutsideErrors>()
        || error.is::<NoStore>()
        || matches!(
            error.downcast_ref(),
            Some(KeysError::UnknownTier { .. } | KeysError::UnknownKey(_))
        )
        || matches!(error.downcast_ref(), Some(ClusterError::Alone))
        || matches!(error.downcast_ref(), Some(ModelsError::UnknownModel { .. }))
        || matches!(
            error.downcast_ref(),
            Some(BudgetsError::UnknownAccount(_) | BudgetsError::NoBudget { .. })
        )
        || matches!(error.downcast_ref(), Some(UsageError::NoDays { .. }))
        || error.downcast_ref().is_some_and(MigrateStoreError::is_wrong_input);
    if is_wrong_input { EXIT_WRONG_INPUT } else { 1 }
}

/// Does what can be done without a server, printing to `output`, and says what is left.
///
/// # Errors
/// A wrong configuration, or an `output` that is gone.
pub fn run(cli: Cli, output: &mut impl Write) -> Result<Task, CliError> {
    let load_config = || load(Sources::of_this_process(cli.config.as_deref()));
    match cli.command.unwrap_or(Command::Serve) {
        Command::Serve => {
            let loaded = load_config()?;
            config::check(&loaded, false)?;
            Ok(Task::Serve(Box::new(loaded)))
        }
        Command::Keys(command) => Ok(Task::Keys(Box::new(load_config()?.config), command)),
        Command::Cluster(arguments) => Ok(Task::Cluster(Box::new(load_config()?.config), arguments)),
        Command::Models(ModelsCommand::List { json }) => {
            models::list(&load_config()?.config, json, output)?;
            Ok(Task::Nothing)
        }
        Command::Models(ModelsCommand::Test(arguments)) => {
            Ok(Task::TestModels(Box::new(load_config()?.config), arguments))
        }
        Command::Budgets(command) => Ok(Task::Budgets(Box::new(load_config()?.config), command)),
        Command::Usage(arguments) => Ok(Task::Usage(Box::new(load_config()?.config), arguments)),
        Command::MigrateStore(arguments) => Ok(Task::MigrateStore(Box::new(load_config()?.config), arguments)),
        Command::SimulateLlm(arguments) => Ok(Task::SimulateLlm(Box::new(arguments.options()?))),
        Command::ParseDocument => Ok(Task::ParseDocument),
        Command::Plan(arguments) => {
            let config = load_config()?.config;
            plan::run(&arguments, &config, crate::config::this_machine(), output)?;
            Ok(Task::Nothing)
        }
        Command::Config(config::ConfigCommand::Print(arguments)) if arguments.default => {
            output.write_all(crate::config::DEFAULT_TEXT.as_bytes())?;
            Ok(Task::Nothing)
        }
        Command::Config(command) => {
            config::run(&command, &load_config()?, output)?;
            Ok(Task::Nothing)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_means_serve_and_options_go_anywhere() {
        let cli = Cli::try_parse_from(["callboard", "plan", "--config", "x.toml"]).expect("it parses");
        assert_eq!(cli.config, Some("x.toml".into()));
        let cli = Cli::try_parse_from(["callboard"]).expect("it parses");
        assert!(cli.command.is_none());
    }

    #[test]
    fn a_wrong_file_is_exit_code_2_and_the_defaults_can_be_seen_all_the_same() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("wrong.toml");
        std::fs::write(&path, "[server]\nworkers = \"x\"\nbnid = 1\n").expect("written");
        let path = path.to_str().expect("UTF-8");
        for command in [
            &["config", "check"][..],
            &["config", "print"],
            &["keys", "list"],
            &["cluster"],
        ] {
            let cli = Cli::try_parse_from([&["callboard", "--config", path], command].concat()).expect("it parses");
            let error = run(cli, &mut Vec::new()).expect_err("it is wrong");
            let text = error.to_string();
            assert_eq!(exit_code(&error.into()), EXIT_WRONG_INPUT);
            assert!(
                text.contains("server.workers") && text.contains("server.bnid"),
                "{text}"
            );
        }
        let cli =
            Cli::try_parse_from(["callboard", "--config", path, "config", "print", "--default"]).expect("it parses");
        let mut output = Vec::new();
        assert!(matches!(run(cli, &mut output), Ok(Task::Nothing)));
        assert_eq!(output, crate::config::DEFAULT_TEXT.as_bytes());
    }

    #[test]
    fn simulate_llm_has_its_port() {
        let cli = Cli::try_parse_from(["callboard", "simulate-llm", "--port", "0"]).expect("it parses");
        let Ok(Task::SimulateLlm(options)) = run(cli, &mut Vec::new()) else {
            panic!("another task");
        };
        assert_eq!(options.bind.port(), 0);
        assert!(options.bind.ip().is_loopback());
    }
}
