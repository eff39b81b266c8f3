//! `callboard models list|test`: what models there are, and whether their keys work.

mod list;
mod test;

use std::io;

use clap::{Args, Subcommand};

use crate::config::Config;

pub use list::list;
pub use test::test;

/// Columns of a terminal. Models may have long names: they are broken, not the table.
const WIDTH: u16 = 80;

/// What to do with the models.
#[derive(Debug, Clone, Subcommand)]
pub enum ModelsCommand {
    /// Show the models that runs may name, and whom each asks
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make one tiny call with every key of every model, and say which work
    Test(ModelsTestArguments),
}

/// Which keys to try, and how to say it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct ModelsTestArguments {
    /// Only the keys of this model, one of [models]
    #[arg(long)]
    pub model: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl ModelsTestArguments {
    /// Whether they name what there is.
    ///
    /// # Errors
    /// [`ModelsError::UnknownModel`].
    pub fn check(&self, config: &Config) -> Result<(), ModelsError> {
        let Some(model) = self.model.as_ref().filter(|model| !config.models.contains_key(*model)) else {
            return Ok(());
        };
        let known: Vec<&str> = config.models.keys().map(String::as_str).collect();
        Err(ModelsError::UnknownModel {
            model: model.clone(),
            known: known.join(", "),
        })
    }
}

/// Why a command on models was not done, or what it found. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// No such model.
    #[error("there is no model {model:?}; there are {known}")]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// What there is.
        known: String,
    },
    /// Some keys do not work.
    #[error("{failed} of {total} calls failed")]
    Failed {
        /// Calls that failed.
        failed: usize,
        /// All calls.
        total: usize,
    },
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}
