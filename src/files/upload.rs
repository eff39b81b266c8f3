//! An upload: bytes come in, are hashed and written as they come, and become a file at the end.
//!
//! The work is a task on the I/O runtime, which goes on when the caller is gone, and takes back what it wrote if there was no end.

use bytes::Bytes;
use callboard_actors::ids::{AccountId, FileId, FileObjectId};
use callboard_actors::ports::files::{FileRecord, KeepOutcome, NewFile};
use callboard_actors::time::Timestamp;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::media_type::{FIRST_BYTES, media_type};
use super::{FileService, StorageError, Transfer, UploadError};

/// Pieces that may wait to be written, each as large as it came from the network.
pub(super) const WAITING_PIECES: usize = 4;

/// What a client says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// What it calls it, 1 to 255 bytes.
    pub filename: String,
    /// What it says that it is.
    pub media_type: Option<String>,
    /// What it says that it is for.
    pub purpose: Option<String>,
}

/// What the storage has done by then.
async fn in_time<T>(until: Instant, asked: impl Future<Output = Result<T, StorageError>>) -> Result<T, StorageError> {
    let done = tokio::time::timeout_at(until, asked).await;
    done.unwrap_or(Err(StorageError::TimedOut))
}

enum Step {
    Bytes(Bytes),
    End(FileFacts),
}

/// An upload under way. Dropping it takes everything back, until [`Upload::finish`] is called.
pub struct Upload {
    steps: mpsc::Sender<Step>,
    task: JoinHandle<Result<FileRecord, UploadError>>,
    io: Handle,
}

impl Upload {
    /// Takes the next bytes; waits while earlier ones are being written.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), UploadError> {
        if self.steps.send(Step::Bytes(bytes)).await.is_ok() {
            return Ok(());
        }
        // The task has ended before its time: it says why.
        match (&mut self.task).await {
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Err(UploadError::Broken),
        }
    }

    /// There are no more bytes. Answers when the file is durable, which it becomes although nobody waits for the answer any more.
    pub fn finish(self, facts: FileFacts) -> impl Future<Output = Result<FileRecord, UploadError>> {
        let Self { steps, task, io } = self;
        // The end may have to wait until earlier bytes are written.
        let finishing = io.spawn(async move {
            // If the task is gone it says why below.
            let _ = steps.send(Step::End(facts)).await;
            drop(steps);
            task.await.unwrap_or(Err(UploadError::Broken))
        });
        async move { finishing.await.unwrap_or(Err(UploadError::Broken)) }
    }
}

impl FileService {
    /// Begins an upload of so many bytes, if the client says how many. The storage has `upload_timeout` from here on to take it in.
    pub async fn begin_upload(&self, account: &AccountId, bytes: Option<u64>) -> Result<Upload, UploadError> {
        let limits = &self.0.limits;
        let transfer = self.0.uploads.begin(account)?;
        if bytes.is_some_and(|bytes| bytes > limits.max_file_bytes) {
            return Err(UploadError::TooLarge {
                limit: limits.max_file_bytes,
            });
        }
        // What will be refused at the end anyway is refused before anybody sends it. (Where there is no byte left, content that is there
        // already still fits.)
        let used = self.0.files.file_usage(account).await?;
        if used.files >= limits.quota.files || used.bytes > limits.quota.bytes {
            return Err(UploadError::Quota {
                quota: limits.quota,
                used,
            });
        }
        let (steps, inbox) = mpsc::channel(WAITING_PIECES);
        let io = self.0.io.clone();
        let task = io.spawn(self.clone().receive(account.clone(), inbox, transfer));
        Ok(Upload { steps, task, io })
    }

    async fn receive(
        self,
        account: AccountId,
        mut inbox: mpsc::Receiver<Step>,
        _transfer: Transfer,
    ) -> Result<FileRecord, UploadError> {
        let until = Instant::now() + self.0.limits.upload_timeout;
        let object = FileObjectId::new();
        self.0.files.begin_object(object, &account, Timestamp::now()).await?;
        let written = async {
            let new = self.store_bytes(object, account, &mut inbox, until).await?;
            self.for_what_is_lost(new, until).await
        };
        let new = match written.await {
            Ok(new) => new,
            // It may be written yet: who removed it now would remove nothing. It is garbage in time.
            Err(error @ UploadError::Storage(StorageError::TimedOut)) => return Err(error),
            Err(error) => {
                self.discard(object).await;
                return Err(error);
            }
        };
        let quota = self.0.limits.quota;
        // After an error nobody knows whether it was kept. If it was not, it is garbage in time.
        let (answer, is_needed) = match self.0.files.keep_file(new, quota).await? {
            KeepOutcome::Kept { file, is_surplus } => (Ok(file), !is_surplus),
            KeepOutcome::QuotaExceeded(used) => (Err(UploadError::Quota { quota, used }), false),
            KeepOutcome::GivenUp => (Err(UploadError::TooLate), false),
        };
        if !is_needed {
            self.discard(object).await;
        }
        answer
    }

    /// Writes what comes until there is no more.
    async fn store_bytes(
        &self,
        object: FileObjectId,
        account: AccountId,
        inbox: &mut mpsc::Receiver<Step>,
        until: Instant,
    ) -> Result<NewFile, UploadError> {
        let mut writer = self.0.storage.write(object)?;
        let mut hasher = Sha256::new();
        let mut first_bytes = Vec::with_capacity(FIRST_BYTES);
        let mut bytes = 0u64;
        let limit = self.0.limits.max_file_bytes;
        let written = loop {
            match inbox.recv().await {
                Some(Step::Bytes(piece)) => {
                    bytes = bytes.saturating_add(piece.len() as u64);
                    if bytes > limit {
                        break Err(UploadError::TooLarge { limit });
                    }
                    let missing = FIRST_BYTES - first_bytes.len();
                    first_bytes.extend_from_slice(&piece[..piece.len().min(missing)]);
                    hasher.update(&piece);
                    if let Err(error) = in_time(until, writer.write(piece)).await {
                        break Err(error.into());
                    }
                }
                Some(Step::End(facts)) => break Ok(facts),
                // Whoever sent it is gone.
                None => break Err(UploadError::TooLate),
            }
        };
        let facts = match written {
            Ok(facts) => facts,
            Err(error) => {
                if let Err(error) = writer.abort().await {
                    tracing::debug!(%error, "a broken upload could not be taken back");
                }
                return Err(error);
            }
        };
        in_time(until, writer.finish()).await?;
        Ok(NewFile {
            id: FileId::new(),
            account,
            object,
            in_place_of: None,
            filename: facts.filename,
            media_type: media_type(&first_bytes, facts.media_type.as_deref()),
            purpose: facts.purpose,
            bytes,
            sha256: hasher.finalize().into(),
            created_at: Timestamp::now(),
        })
    }

    /// A file must not refer to an earlier object with the same content that is not there any more: the new one takes its place, which heals
    /// all files of that one.
    async fn for_what_is_lost(&self, mut new: NewFile, until: Instant) -> Result<NewFile, UploadError> {
        let earlier = self.0.files.object_of_content(&new.account, new.sha256).await?;
        if let Some(earlier) = earlier
            && !in_time(until, self.0.storage.has(earlier)).await?
        {
            tracing::error!(object_id = %earlier, "the bytes of files are not in the storage; an upload is to bring them back");
            new.in_place_of = Some(earlier);
        }
        Ok(new)
    }

    /// Removes an object that no file refers to. What cannot be done now is done by housekeeping.
    async fn discard(&self, object: FileObjectId) {
        let discarding = async {
            self.0.files.give_up_object(object).await?;
            self.0.storage.remove(object).await?;
            self.0.files.forget_object(object).await?;
            Ok::<_, super::FileError>(())
        };
        if let Err(error) = discarding.await {
            tracing::debug!(%error, "what an upload left is removed later");
        }
    }
}
