//! Opens the database: directory, lock, connections, migrations.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::time::Instant;

pub(in crate::store) static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Pages of 4 KiB in the write-ahead log before the writer itself moves them into the database: so many that the checkpointer has moved
/// most of them before, so few that the log stays in the page cache.
const WAL_PAGES: &str = "16000";
/// Bytes that the write-ahead log keeps once it has been emptied.
const WAL_BYTES_KEPT: &str = "67108864";
/// How often a lock that someone else holds is tried, until the time is over.
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// What SQLite calls a lock that someone else holds (`SQLITE_BUSY`); its extended codes have more above these bits.
const BUSY: u32 = 5;

/// Where the database is and how hard it works.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The database file; its directory is created if it is missing.
    pub path: PathBuf,
    /// What a commit waits for.
    pub synchronous: Synchronous,
    /// Connections for reading, at most; opened when needed. At least 1.
    pub readers: u32,
    /// Writes in one transaction, at most.
    pub commit_batch: usize,
    /// Writes that may wait for the writer; more are refused.
    pub inbox: usize,
    /// How long a read waits for a connection.
    pub acquire_timeout: Duration,
    /// How long a statement waits for another process that writes (`callboard keys`).
    pub busy_timeout: Duration,
    /// How long [`open`](super::SqliteStore::open) waits for another server to let go of the file.
    pub lock_timeout: Duration,
}

impl SqliteOptions {
    /// Options for this file, with the values that `config.toml` ships.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            synchronous: Synchronous::Full,
            readers: 4,
            commit_batch: 512,
            inbox: 10_000,
            acquire_timeout: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(5),
        }
    }
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// The disk has it: what was answered survives a power cut.
    Full,
    /// The operating system has it: survives a crash of the server; a power cut may take the last commits.
    Normal,
}

/// Why the database could not be opened. Texts name the file: they are for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StoreOpenError {
    /// The directory is missing and cannot be made.
    #[error("cannot create the data directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be opened for writing.
    #[error("cannot write {}: {source}", path.display())]
    NotWritable {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another server works on this file.
    #[error("another server is using {}", path.display())]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// Another process sets the file up, and takes long.
    #[error("another process is setting up {}", path.display())]
    SetUpElsewhere {
        /// Which.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("cannot open the database {}: {source}", path.display())]
    Database {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: sqlx::Error,
    },
    /// Its tables are not ours, or of a later version.
    #[error("cannot bring the database {} up to date: {source}", path.display())]
    Migration {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: sqlx::migrate::MigrateError,
    },
}

/// Which file is open, whatever its name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The file that has this name now.
    pub(super) fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// Says that this process serves the database. The operating system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(in crate::store) struct DatabaseLock(#[expect(dead_code, reason = "held for its lock")] File);

impl DatabaseLock {
    pub(in crate::store) async fn acquire(options: &SqliteOptions) -> Result<Self, StoreOpenError> {
        let path = lock_path(&options.path);
        let file = private_file(&path)?;
        match is_locked(&file, options.lock_timeout).await {
            Ok(true) => Ok(Self(file)),
            Ok(false) => Err(StoreOpenError::Locked {
                path: options.path.clone(),
            }),
            Err(source) => Err(StoreOpenError::NotWritable { path, source }),
        }
    }
}

/// Locks the file, for as long as it stays open. False: someone else had it locked all that time.
async fn is_locked(file: &File, patience: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(LOCK_RETRY).await,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// One at a time sets up a database: gives a new one its write-ahead log, brings its tables up to date. SQLite's own locks do not do for
/// that: it refuses two who want to have a write-ahead log at once, and between two migrations anybody may come first. (Server and
/// `keys create` may both be the first to open a file.) What is locked is the folder, so that nothing of it is left.
async fn lock_of_set_up(options: &SqliteOptions) -> Result<File, StoreOpenError> {
    let folder = options.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let not_writable = |source| StoreOpenError::NotWritable {
        path: folder.to_owned(),
        source,
    };
    let file = File::open(folder).map_err(not_writable)?;
    if !is_locked(&file, options.busy_timeout).await.map_err(not_writable)? {
        return Err(StoreOpenError::SetUpElsewhere {
            path: options.path.clone(),
        });
    }
    Ok(file)
}

/// The database with its real name, so that two names of one file have one lock. It exists.
pub(in crate::store) fn with_real_path(options: SqliteOptions) -> Result<SqliteOptions, StoreOpenError> {
    match options.path.canonicalize() {
        Ok(path) => Ok(SqliteOptions { path, ..options }),
        Err(source) => Err(StoreOpenError::NotWritable {
            path: options.path,
            source,
        }),
    }
}

fn lock_path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Creates the directory for its owner alone; one that exists stays as it is.
pub(super) fn create_directory(database: &Path) -> Result<(), StoreOpenError> {
    let Some(directory) = database.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| StoreOpenError::Directory {
            path: directory.to_owned(),
            source,
        })
}

/// Opens a file for writing; if it is new, for its owner alone. SQLite gives its own files the database's permissions.
pub(super) fn private_file(path: &Path) -> Result<File, StoreOpenError> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    opened.map_err(|source| StoreOpenError::NotWritable {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn writer_options(options: &SqliteOptions) -> SqliteConnectOptions {
    let synchronous = match options.synchronous {
        Synchronous::Full => SqliteSynchronous::Full,
        Synchronous::Normal => SqliteSynchronous::Normal,
    };
    SqliteConnectOptions::new()
        .filename(&options.path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .pragma("journal_size_limit", WAL_BYTES_KEPT)
        .disable_statement_logging()
}

/// The connection of the writer, to tables that are up to date. Several may do this at once.
pub(super) async fn connect_writer(
    options: &SqliteOptions,
    connect: &SqliteConnectOptions,
) -> Result<SqliteConnection, StoreOpenError> {
    let _alone = lock_of_set_up(options).await?;
    let deadline = Instant::now() + options.busy_timeout;
    let mut connection = loop {
        match connect.connect().await {
            Ok(connection) => break connection,
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(LOCK_RETRY).await,
            Err(source) => {
                return Err(StoreOpenError::Database {
                    path: options.path.clone(),
                    source,
                });
            }
        }
    };
    loop {
        // Not `run`: its future is not `Send` in the eyes of the compiler ("implementation of `Acquire` is not general enough").
        match MIGRATIONS.run_direct(None, &mut connection, false).await {
            Ok(()) => return Ok(connection),
            Err(MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _))
                if is_busy(&error) && Instant::now() < deadline =>
            {
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(source) => {
                return Err(StoreOpenError::Migration {
                    path: options.path.clone(),
                    source,
                });
            }
        }
    }
}

/// Whether someone else has a lock, who need not be one of us. SQLite waits for one as long as `busy_timeout` says, but not where two could
/// wait for each other: when a connection that reads already wants to write, as one does that sets up the write-ahead log.
fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

/// Connections that only read; none is opened yet. Must be called on the runtime that will use them.
pub(super) fn readers(options: &SqliteOptions) -> SqlitePool {
    let connect = SqliteConnectOptions::new()
        .filename(&options.path)
        .read_only(true)
        .busy_timeout(options.busy_timeout)
        .disable_statement_logging();
    SqlitePoolOptions::new()
        .max_connections(options.readers.max(1))
        .min_connections(0)
        .acquire_timeout(options.acquire_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(connect)
}
