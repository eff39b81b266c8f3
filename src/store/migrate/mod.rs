//! Moves an installation from one store to another: from a SQLite file that nobody serves into an empty PostgreSQL database.
//!
//! The target is marked before the first row and unmarked after the last check; in between no server starts on it. Rows are copied in
//! the order of their keys, so an attempt that was cut off is gone on with behind its last row, provided that the source is as it was
//! then; else what was copied is removed and copied anew. Then both sides are read again and compared row by row. The source is never
//! written to: until a server has worked on the target, going back is starting one on the file.
//!
//! This is the one place that knows the tables of both adapters; which columns are moved stands in [`tables`].

mod attempt;
mod copy;
mod error;
mod progress;
mod row;
mod source;
mod statements;
mod tables;
mod target;
mod verify;

#[cfg(test)]
mod tests;

use callboard_actors::time::Timestamp;

use crate::store::sqlite::SqliteOptions;
use attempt::{Fingerprint, Standing};
pub use error::MigrationError;
pub use progress::{Phase, Progress};
pub use row::TableHash;
use source::Source;
use tables::{COPIED, PLACES};
use target::Target;
pub use verify::{Comparison, Difference, DifferenceKind};

/// From where to where.
pub struct StoreMigration {
    /// The SQLite file.
    pub source: SqliteOptions,
    /// The URL of the PostgreSQL database. It may hold a password and is shown nowhere.
    pub target_url: String,
}

/// What a migration would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Rows of each table of the source.
    pub rows: Vec<(&'static str, u64)>,
    /// Bytes of the source.
    pub bytes: u64,
    /// Whether a server has the source; it must be stopped first.
    pub source_is_served: bool,
    /// Where it would begin.
    pub beginning: Beginning,
}

/// Where a migration begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The target is empty.
    Afresh,
    /// An earlier attempt was cut off; what it copied is kept.
    Continued,
    /// What an earlier attempt copied is of no use: the source has changed since, or the copy was damaged. It is removed.
    Anew,
    /// It was done at this time, and nothing is left to do.
    Done(Timestamp),
}

/// What became of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Each table was compared. If all are the same, the target is ready; else it is marked as damaged.
    Compared(Vec<Comparison>),
    /// It was done at this time, and the source is as it was then.
    DoneBefore(Timestamp),
}

impl StoreMigration {
    /// Says what a migration would do, and changes nothing.
    ///
    /// # Errors
    /// As [`StoreMigration::run`], but a source that is being served is none.
    pub async fn plan(&self) -> Result<Plan, MigrationError> {
        let mut source = Source::look_into(&self.source).await?;
        let target = Target::connect(&self.target_url).await?;
        let standing = target.standing(fingerprint(&mut source).await?).await?;
        target.close().await;
        let mut rows = Vec::new();
        for table in COPIED {
            rows.push((table.name, source.count(table, None).await?));
        }
        Ok(Plan {
            rows,
            bytes: source.size().await?,
            source_is_served: source.is_served(),
            beginning: standing.into(),
        })
    }

    /// Moves everything and compares it. May be cut off at any point and run again: what it ends with is the same.
    ///
    /// # Errors
    /// See [`MigrationError`]. After an error the target is empty, or marked so that no server starts on it.
    pub async fn run(&self, progress: &mut dyn FnMut(Progress)) -> Result<Outcome, MigrationError> {
        let mut source = Source::open(&self.source).await?;
        let target = Target::connect(&self.target_url).await?;
        let fingerprint = fingerprint(&mut source).await?;
        // A target that is refused stays as it is.
        target.standing(fingerprint).await?;
        target.make_tables().await?;
        if let Standing::Moved(at) = target.begin(fingerprint).await? {
            return Ok(Outcome::DoneBefore(at));
        }
        for table in COPIED {
            copy::copy_table(table, &mut source, &target, progress).await?;
        }
        target.derive().await?;
        let mut comparisons = Vec::new();
        for table in COPIED.iter().chain([&PLACES]) {
            comparisons.push(verify::compare_table(table, &mut source, &target, progress).await?);
        }
        if !comparisons.iter().all(Comparison::is_same) {
            target.mark_damaged().await?;
            return Ok(Outcome::Compared(comparisons));
        }
        source.check_unchanged().await?;
        target.check_unserved().await?;
        target.mark_done().await?;
        target.close().await;
        Ok(Outcome::Compared(comparisons))
    }
}

async fn fingerprint(source: &mut Source) -> Result<Fingerprint, MigrationError> {
    Ok(Fingerprint {
        source: source.identity().await?,
        state: source.state().await?,
    })
}

impl From<Standing> for Beginning {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Empty => Self::Afresh,
            Standing::Begun => Self::Continued,
            Standing::Stale => Self::Anew,
            Standing::Moved(at) => Self::Done(at),
        }
    }
}
