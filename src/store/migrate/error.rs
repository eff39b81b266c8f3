//! Why a store was not moved.

use std::path::PathBuf;

use callboard_actors::time::Timestamp;

use crate::store::postgres::PostgresOpenError;
use crate::store::sqlite::StoreOpenError;

/// Why a store was not moved. Texts are for the operator; none holds the URL of the target.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// The source is missing.
    #[error("there is no file {}", path.display())]
    NoSource {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It has no tables of ours.
    #[error("{} is not a database of Callboard", path.display())]
    NotOurs {
        /// Which.
        path: PathBuf,
    },
    /// A server has the source.
    #[error("a server is using {}: stop it first, so that it writes nothing that would be left behind", path.display())]
    SourceServed {
        /// Which.
        path: PathBuf,
    },
    /// The source's schema is of a later version.
    #[error("{} has version {version} of the schema, which this version of Callboard does not know", path.display())]
    SourceNewer {
        /// Which.
        path: PathBuf,
        /// The version of its schema.
        version: i64,
    },
    /// The source's schema is of an earlier version.
    #[error(
        "{} lacks version {version} of the schema: start a server of this version of Callboard on it, which brings it \
         up to date, and stop it again", path.display()
    )]
    SourceOlder {
        /// Which.
        path: PathBuf,
        /// The first version that it lacks.
        version: i64,
    },
    /// Somebody wrote to the source in the meantime.
    #[error(
        "{} was written to while it was moved, perhaps by `callboard keys`: run the migration again", path.display()
    )]
    SourceChanged {
        /// Which.
        path: PathBuf,
    },
    /// The source cannot be opened.
    #[error(transparent)]
    SourceOpen(#[from] StoreOpenError),
    /// The source cannot be read.
    #[error("cannot read {what} of the SQLite file: {source}")]
    SourceRead {
        /// What of it.
        what: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
    /// The target cannot be reached or migrated.
    #[error(transparent)]
    TargetOpen(#[from] PostgresOpenError),
    /// The target's schema is of a later version.
    #[error("the target has version {version} of the schema, which this version of Callboard does not know")]
    TargetNewer {
        /// The version of its schema.
        version: i64,
    },
    /// The target has something that this migration did not bring.
    #[error("the target has {what} already: move into an empty database, or an empty schema of one")]
    TargetNotEmpty {
        /// What it has.
        what: &'static str,
    },
    /// An instance works on the target.
    #[error("the instance {name:?} is serving the target: stop it first")]
    TargetServed {
        /// What it is called.
        name: String,
    },
    /// The target holds a migration of another source that has not ended.
    #[error("the target holds a half-done migration of another file: end that one, or move into an empty database")]
    AnotherMigration,
    /// This source was moved to this target before, and is not what it was then.
    #[error(
        "this file was moved to the target at {at}, and has been written to since: what came later cannot be added; \
         move into an empty database"
    )]
    MovedBefore {
        /// When that ended.
        at: Timestamp,
    },
    /// The target cannot be read or written.
    #[error("cannot work on {what} of the target: {source}")]
    Target {
        /// What of it.
        what: &'static str,
        /// Why not.
        source: sqlx::Error,
    },
}
