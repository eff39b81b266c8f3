//! `callboard migrate-store`: moves an installation from one store to another.

mod progress;

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

use callboard_actors::capacity::decimal_size;
use clap::{Args, ValueEnum};

use super::text::{grouped, table};
use crate::config::Config;
use crate::store::migrate::{Beginning, Comparison, MigrationError, Outcome, Plan, StoreMigration};
use progress::ProgressLines;

/// Hexadecimal digits of a hash that are shown; all of them are compared.
const SHOWN_DIGITS: usize = 24;

/// From where to where.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct MigrateStoreArguments {
    /// The kind of store that is moved
    #[arg(long, value_name = "STORE")]
    from: StoreKind,
    /// The kind of store that it is moved to
    #[arg(long, value_name = "STORE")]
    to: StoreKind,
    /// The SQLite file [default: store.path]
    #[arg(long, value_name = "PATH")]
    pub from_path: Option<PathBuf>,
    /// The environment variable that holds the URL of the PostgreSQL database [default: the one that store.postgres_url_env names]
    #[arg(long, value_name = "NAME")]
    to_url_env: Option<String>,
    /// Say what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum StoreKind {
    /// The file of one server
    Sqlite,
    /// The database of any number of instances
    Postgres,
}

impl StoreKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Why a store was not moved. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum MigrateStoreError {
    /// Nobody has written this move.
    #[error("a store cannot be moved from {from} to {to}, only from sqlite to postgres")]
    Direction {
        /// From what kind.
        from: &'static str,
        /// To what kind.
        to: &'static str,
    },
    /// Nothing says where to.
    #[error(
        "nothing says where to: name the environment variable that holds the URL of the PostgreSQL database, as \
         store.postgres_url_env in the configuration or with --to-url-env"
    )]
    NoTarget,
    /// It should be in the environment.
    #[error("the environment variable {0} should hold the URL of the PostgreSQL database, and is not set or empty")]
    NotInEnvironment(String),
    /// The migration itself.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// The copy is not what the source is.
    #[error(
        "{table}: {difference}. The target is marked as damaged and no server starts on it; run this again to copy anew"
    )]
    Different {
        /// The first table that differs.
        table: &'static str,
        /// Where it does.
        difference: String,
    },
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] std::io::Error),
}

impl MigrateStoreError {
    /// Whether the operator can put it right in the configuration or on the command line.
    pub(super) fn is_wrong_input(&self) -> bool {
        match self {
            Self::Direction { .. } | Self::NoTarget | Self::NotInEnvironment(_) => true,
            Self::Migration(error) => matches!(error, MigrationError::NoSource { .. } | MigrationError::NotOurs { .. }),
            Self::Different { .. } | Self::Output(_) => false,
        }
    }
}

impl MigrateStoreArguments {
    /// The URL of the target. It may hold a password.
    ///
    /// # Errors
    /// If the move is one that does not exist, or nothing says where to.
    pub fn target_url(&self, config: &Config) -> Result<String, MigrateStoreError> {
        if (self.from, self.to) != (StoreKind::Sqlite, StoreKind::Postgres) {
            let (from, to) = (self.from.as_str(), self.to.as_str());
            return Err(MigrateStoreError::Direction { from, to });
        }
        let named = self.to_url_env.as_ref().or(config.store.postgres_url_env.as_ref());
        let name = named.ok_or(MigrateStoreError::NoTarget)?;
        let url = std::env::var_os(name).filter(|value| !value.is_empty());
        let url = url.as_deref().and_then(OsStr::to_str).map(str::trim);
        match url {
            Some(url) => Ok(url.to_owned()),
            None => Err(MigrateStoreError::NotInEnvironment(name.clone())),
        }
    }
}

/// Does it, or says what it would do. Results go to `output`, what is under way to `log`.
///
/// # Errors
/// See [`MigrateStoreError`].
pub async fn run(
    migration: &StoreMigration,
    dry_run: bool,
    output: &mut impl Write,
    log: &mut impl Write,
) -> Result<(), MigrateStoreError> {
    if dry_run {
        let plan = migration.plan().await?;
        return print_plan(migration, &plan, output);
    }
    let mut lines = ProgressLines::new(log);
    let outcome = migration.run(&mut |progress| lines.show(progress)).await?;
    match outcome {
        Outcome::DoneBefore(at) => {
            writeln!(
                output,
                "Nothing is left to do: {} was moved at {at}, and has not been written to since.",
                migration.source.path.display()
            )?;
            Ok(())
        }
        Outcome::Compared(comparisons) => print_comparisons(&comparisons, output),
    }
}

fn print_plan(migration: &StoreMigration, plan: &Plan, output: &mut impl Write) -> Result<(), MigrateStoreError> {
    let size = decimal_size(plan.bytes);
    writeln!(output, "{} has {size}:", migration.source.path.display())?;
    let rows = plan
        .rows
        .iter()
        .map(|(name, rows)| [(*name).to_owned(), grouped(*rows)]);
    writeln!(output, "{}", table(["table", "rows"], rows.collect(), &[1]))?;
    let beginning = match plan.beginning {
        Beginning::Afresh => "The target is empty: everything would be copied and compared.".to_owned(),
        Beginning::Continued => {
            "An earlier attempt was cut off: what is missing would be copied, and everything compared.".to_owned()
        }
        Beginning::Anew => {
            "An earlier attempt is of no use any more, because the file was written to since or the copy was \
                            damaged: it would be removed, and everything copied and compared."
                .to_owned()
        }
        Beginning::Done(at) => format!("It was moved at {at}: nothing is left to do."),
    };
    writeln!(output, "{beginning}")?;
    if plan.source_is_served {
        writeln!(output, "A server is using the file and must be stopped first.")?;
    }
    writeln!(output, "Nothing was changed.")?;
    Ok(())
}

fn print_comparisons(comparisons: &[Comparison], output: &mut impl Write) -> Result<(), MigrateStoreError> {
    let rows = comparisons.iter().map(as_row);
    let headings = ["table", "rows", "hash of all rows", "target"];
    writeln!(output, "{}", table(headings, rows.collect(), &[1]))?;
    let different = comparisons.iter().find(|comparison| !comparison.is_same());
    if let Some(different) = different {
        let difference = different.first_difference.as_ref().map(ToString::to_string);
        return Err(MigrateStoreError::Different {
            table: different.table,
            difference: difference.unwrap_or_else(|| "the hashes differ".to_owned()),
        });
    }
    writeln!(output, "Everything was moved, and both databases have the same rows.")?;
    writeln!(
        output,
        "Name the environment variable with the URL as store.postgres_url_env, and start a server.\n\
         The bytes of uploaded files stay where [files] says; leave them there."
    )?;
    Ok(())
}

/// One line where both sides are the same, else two: the source's and the target's.
fn as_row(comparison: &Comparison) -> [String; 4] {
    let shown = |hash: &crate::store::migrate::TableHash| hash.to_string()[..SHOWN_DIGITS].to_owned();
    let (source, target) = (&comparison.source, &comparison.target);
    if comparison.is_same() {
        let rows = grouped(source.rows());
        return [comparison.table.to_owned(), rows, shown(source), "same".to_owned()];
    }
    [
        comparison.table.to_owned(),
        format!("{}\n{}", grouped(source.rows()), grouped(target.rows())),
        format!("{}\n{}", shown(source), shown(target)),
        "\nDIFFERENT".to_owned(),
    ]
}

#[cfg(test)]
mod tests;
