//! Port `Files`: which files an account has, and which objects in the storage hold what is in them.
//!
//! The bytes are somewhere else: in a folder, in a bucket. An object there is written down here before it is written there, and
//! forgotten here after it was removed there, so that none is ever lost sight of, whatever crashes in between.
//!
//! Contract (the conformance suite tries to break each line):
//! - An object is `writing`, then `kept` or garbage; garbage stays garbage. A file refers to a kept object, always.
//! - Files of an account with the same content refer to one object, which counts once. It becomes garbage with its last file, or when
//!   another takes its place because it is not in the storage any more.
//! - However many files are kept at once, an account never has more of them, or more bytes, than its quota says.
//! - No account sees a file of another one.

use async_trait::async_trait;

use crate::ids::{AccountId, FileId, FileObjectId};
use crate::ports::StoreError;
use crate::time::Timestamp;

/// Which files there are.
#[async_trait]
pub trait Files: Send + Sync + 'static {
    /// Writes down that an object is going to be written. The same twice is one.
    async fn begin_object(&self, object: FileObjectId, account: &AccountId, at: Timestamp) -> Result<(), StoreError>;

    /// Makes a file of an object that has been written, or of one of the same account that has the same content; then the new one is
    /// garbage, unless it is to take the other's place: then all that referred to the other refer to the new one. The same file twice is one.
    async fn keep_file(&self, file: NewFile, quota: FileQuota) -> Result<KeepOutcome, StoreError>;

    /// The file, if it is the account's.
    async fn file(&self, account: &AccountId, file: FileId) -> Result<Option<FileRecord>, StoreError>;

    /// Those of these files that are the account's, in no order. However many they are, it costs a few statements.
    async fn files(&self, account: &AccountId, files: &[FileId]) -> Result<Vec<FileRecord>, StoreError>;

    /// The account's files, newest first.
    async fn list_files(&self, query: FileQuery) -> Result<Vec<FileRecord>, StoreError>;

    /// Forgets the file; false if the account has none with this id.
    async fn delete_file(&self, account: &AccountId, file: FileId) -> Result<bool, StoreError>;

    /// What the account has.
    async fn file_usage(&self, account: &AccountId) -> Result<FileUsage, StoreError>;

    /// The object to which a file with this content would refer, if the account has one.
    async fn object_of_content(
        &self,
        account: &AccountId,
        sha256: [u8; 32],
    ) -> Result<Option<FileObjectId>, StoreError>;

    /// Makes garbage of objects that began to be written before this and are still `writing`. Several at once do not wait for each other.
    async fn give_up_old(&self, begun_before: Timestamp) -> Result<(), StoreError>;

    /// At most `limit` objects that are garbage, the oldest first, those after this one: to be removed from the storage.
    async fn garbage(&self, after: Option<GarbageObject>, limit: u32) -> Result<Vec<GarbageObject>, StoreError>;

    /// Makes an object that is `writing` garbage.
    async fn give_up_object(&self, object: FileObjectId) -> Result<(), StoreError>;

    /// Forgets an object that is garbage and is not in the storage any more.
    async fn forget_object(&self, object: FileObjectId) -> Result<(), StoreError>;
}

/// A file to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFile {
    /// Its name.
    pub id: FileId,
    /// Whose.
    pub account: AccountId,
    /// The object that was written for it.
    pub object: FileObjectId,
    /// An object with the same content that is not in the storage any more: the new one takes its place.
    pub in_place_of: Option<FileObjectId>,
    /// What its owner calls it, 1 to 255 bytes.
    pub filename: String,
    /// What it is: a media type.
    pub media_type: String,
    /// What its owner says that it is for.
    pub purpose: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// Now.
    pub created_at: Timestamp,
}

/// A file as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRecord {
    /// Its name.
    pub id: FileId,
    /// Whose.
    pub account: AccountId,
    /// The object that holds its bytes.
    pub object: FileObjectId,
    /// What its owner calls it.
    pub filename: String,
    /// What it is: a media type.
    pub media_type: String,
    /// What its owner says that it is for.
    pub purpose: Option<String>,
    /// How many bytes it has.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: [u8; 32],
    /// When it was kept.
    pub created_at: Timestamp,
}

/// What an account may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileQuota {
    /// Files.
    pub files: u64,
    /// Bytes of all their contents, each content once.
    pub bytes: u64,
}

/// What an account has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileUsage {
    /// Files.
    pub files: u64,
    /// Bytes of all their contents, each content once.
    pub bytes: u64,
}

/// What became of a file to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepOutcome {
    /// It is there.
    Kept {
        /// As it is.
        file: FileRecord,
        /// Its own object is not needed: there was one with this content.
        is_surplus: bool,
    },
    /// The account would have more than its quota.
    QuotaExceeded(FileUsage),
    /// Its object is not `writing` any more: it took too long.
    GivenUp,
}

/// An object that no file refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GarbageObject {
    /// Which.
    pub object: FileObjectId,
    /// When it began to be written.
    pub begun_at: Timestamp,
}

/// Which files to list.
#[derive(Debug, Clone)]
pub struct FileQuery {
    /// Whose.
    pub account: AccountId,
    /// Only those before this one in the list, which are older.
    pub before: Option<FileId>,
    /// At most so many.
    pub limit: u32,
}
