//! The server's side: a process for each document, a few at a time, each killed when its time is over or nobody waits for it any more.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callboard_actors::ids::AccountId;
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::protocol::{Answer, Assignment, Extracted, MAX_HEAD_BYTES, ReadRequest};
use super::worker::COMMAND;
use crate::files::{Contents, StorageError};
use crate::places::SharedPlaces;

/// What reading a document may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentLimits {
    /// Bytes of a document.
    pub max_bytes: u64,
    /// Bytes of memory of the process.
    pub max_memory: u64,
    /// How long it may take, and how much CPU time it may use.
    pub timeout: Duration,
    /// Processes at once.
    pub max_parallel: usize,
}

/// Reads documents. Cheap to clone.
#[derive(Clone)]
pub struct DocumentReader {
    program: Arc<PathBuf>,
    limits: DocumentLimits,
    places: SharedPlaces,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is the document's fault: a sentence for whoever asked.
    #[error("{0}")]
    Document(String),
    /// The document's bytes broke off.
    #[error("the storage of files failed: {0}")]
    Storage(#[from] StorageError),
    /// The document's bytes did not come.
    #[error("the storage of files did not say anything in time")]
    Silence,
    /// The process could not be started or spoken to.
    #[error("the process that reads documents failed: {0}")]
    Process(#[from] io::Error),
    /// It said something that is no answer.
    #[error("the process that reads documents gave no answer")]
    NoAnswer,
}

impl DocumentReader {
    /// Reads them with this very program, which is a Callboard, or one that serves with [`crate::app::serve_with_tools`].
    ///
    /// # Errors
    /// It is not known where the program is.
    pub fn of_this_program(limits: DocumentLimits) -> io::Result<Self> {
        Ok(Self::of(this_program()?, limits))
    }

    fn of(program: PathBuf, limits: DocumentLimits) -> Self {
        Self {
            program: Arc::new(program),
            places: SharedPlaces::new(limits.max_parallel),
            limits,
        }
    }

    /// One for each document that is read at the same time. Whoever reads takes all of these first, in this order.
    pub fn places(&self, account: &AccountId) -> Vec<Arc<Semaphore>> {
        self.places.of(account).into()
    }

    /// What reading a document may use.
    pub fn limits(&self) -> &DocumentLimits {
        &self.limits
    }

    /// The text of a document, if it is there before `until`. Dropping the future kills the process.
    pub async fn read(
        &self,
        contents: Contents,
        request: &ReadRequest,
        until: Instant,
    ) -> Result<Extracted, ReadError> {
        let mut child = self.start()?;
        // Whoever does not go on at the end is to blame: the storage, or the document.
        let is_awaited = AtomicBool::new(false);
        let reading = self.attend(&mut child, contents, &is_awaited, request);
        match tokio::time::timeout_at(until, reading).await {
            Ok(done) => done,
            Err(_elapsed) => {
                child.kill().await?;
                if is_awaited.load(Ordering::Relaxed) {
                    return Err(ReadError::Silence);
                }
                Err(ReadError::Document(self.too_slow()))
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&*self.program)
            .arg(COMMAND)
            // Secrets are in the environment. What is set keeps the parsers to one thread, and memory to what is used.
            .env_clear()
            .env("RAYON_NUM_THREADS", "1")
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
    }

    async fn attend(
        &self,
        child: &mut Child,
        contents: Contents,
        is_awaited: &AtomicBool,
        request: &ReadRequest,
    ) -> Result<Extracted, ReadError> {
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(ReadError::NoAnswer);
        };
        let assignment = Assignment {
            request: request.clone(),
            max_document_bytes: self.limits.max_bytes,
            max_memory_bytes: self.limits.max_memory,
            max_cpu_seconds: self.limits.timeout.as_secs() + 1,
        };
        let mut head = serde_json::to_vec(&assignment).map_err(io::Error::from)?;
        head.push(b'\n');
        let sending = send(stdin, head, contents, is_awaited);
        let (sent, said) = tokio::join!(sending, hear(stdout, request.max_bytes));
        let status = child.wait().await?;
        // Whatever the process made of a part of it: what the storage did not give it cannot judge.
        sent?;
        let said = said?;
        if !status.success() {
            return Err(self.judge(status));
        }
        understand(&said)
    }

    fn too_slow(&self) -> String {
        format!(
            "the document takes longer to read than the {:?} that it may",
            self.limits.timeout
        )
    }

    /// A process that was ended by what it read.
    fn judge(&self, status: ExitStatus) -> ReadError {
        #[cfg(unix)]
        {
            use rustix::process::Signal;
            use std::os::unix::process::ExitStatusExt;
            let signal = status.signal();
            if signal == Some(Signal::XCPU.as_raw()) {
                return ReadError::Document(self.too_slow());
            }
            // Nobody here kills one whose end is waited for: the machine has no memory left, or somebody meant it.
            if signal.is_some() && signal != Some(Signal::KILL.as_raw()) {
                let limit = self.limits.max_memory;
                let message = format!(
                    "the document is damaged, nested too deep, or needs more than {limit} bytes of memory to be read"
                );
                return ReadError::Document(message);
            }
        }
        tracing::warn!(%status, "the process that reads documents ended badly");
        ReadError::NoAnswer
    }
}

/// The file may have been replaced by a newer version's since this process was started; on Linux it can be had all the same.
fn this_program() -> io::Result<PathBuf> {
    let itself = PathBuf::from("/proc/self/exe");
    if cfg!(target_os = "linux") && itself.exists() {
        return Ok(itself);
    }
    std::env::current_exe()
}

/// Gives the process its document. One that does not want all of it has its reasons. `is_awaited` says whether the storage is to give the next.
async fn send(
    mut stdin: ChildStdin,
    head: Vec<u8>,
    mut contents: Contents,
    is_awaited: &AtomicBool,
) -> Result<(), StorageError> {
    if stdin.write_all(&head).await.is_err() {
        return Ok(());
    }
    loop {
        is_awaited.store(true, Ordering::Relaxed);
        let piece = contents.next().await.transpose()?;
        is_awaited.store(false, Ordering::Relaxed);
        let Some(piece) = piece else {
            return Ok(());
        };
        if stdin.write_all(&piece).await.is_err() {
            return Ok(());
        }
    }
}

/// All that the process says, as far as it may.
async fn hear(stdout: ChildStdout, max_text_bytes: u64) -> Result<Vec<u8>, ReadError> {
    let mut said = Vec::new();
    let most = MAX_HEAD_BYTES as u64 + max_text_bytes;
    stdout.take(most).read_to_end(&mut said).await?;
    Ok(said)
}

fn understand(said: &[u8]) -> Result<Extracted, ReadError> {
    let end = said.iter().position(|byte| *byte == b'\n').ok_or(ReadError::NoAnswer)?;
    match serde_json::from_slice(&said[..end]).map_err(|_| ReadError::NoAnswer)? {
        Answer::Text(head) => Ok(Extracted {
            head,
            text: String::from_utf8_lossy(&said[end + 1..]).into_owned(),
        }),
        Answer::Refused(message) => Err(ReadError::Document(message)),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::task::Poll;

    use bytes::Bytes;
    use futures::stream;
    use tokio::sync::oneshot;

    use super::*;

    /// One that has `yes` for a program, which takes no document and says more than anybody wants.
    fn reader() -> DocumentReader {
        let limits = DocumentLimits {
            max_bytes: 1000,
            max_memory: 1_000_000_000,
            timeout: Duration::from_secs(60),
            max_parallel: 4,
        };
        DocumentReader::of("/usr/bin/yes".into(), limits)
    }

    const REQUEST: ReadRequest = ReadRequest {
        pages: None,
        sheet: None,
        offset: 0,
        max_chars: 100,
        max_bytes: 100,
    };

    #[tokio::test]
    async fn what_breaks_off_or_does_not_come_is_not_the_documents_fault() {
        let broken = stream::iter([
            Ok(Bytes::from_static(b"half")),
            Err(StorageError::Failed("away".to_owned())),
        ]);
        let in_a_minute = Instant::now() + Duration::from_secs(60);
        let read = reader().read(broken.boxed(), &REQUEST, in_a_minute).await;
        assert!(matches!(read, Err(ReadError::Storage(_))), "{read:?}");
        let whole = stream::empty().boxed();
        let read = reader().read(whole, &REQUEST, in_a_minute).await;
        assert!(
            matches!(read, Err(ReadError::Document(_))),
            "it is ended by a signal: {read:?}"
        );
    }

    #[tokio::test]
    async fn a_storage_that_is_silent_is_no_slow_document() {
        let (asked, is_asked) = oneshot::channel();
        let mut asked = Some(asked);
        let silent = stream::poll_fn(move |_| {
            if let Some(asked) = asked.take() {
                asked.send(()).expect("somebody waits");
            }
            Poll::Pending
        });
        let until = Instant::now() + Duration::from_secs(60);
        let reading = tokio::spawn(async move { reader().read(silent.boxed(), &REQUEST, until).await });
        is_asked.await.expect("it is asked for the first piece");
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(61)).await;
        let read = reading.await.expect("no panic");
        assert!(matches!(read, Err(ReadError::Silence)), "{read:?}");
    }
}
