//! The server's side: a process for each document, a few at a time, each killed when its time is over or nobody waits for it any more.

use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Semaphore;

use super::protocol::{Answer, Assignment, Extracted, MAX_HEAD_BYTES, ReadRequest};
use super::worker::COMMAND;
use crate::files::{Contents, StorageError};

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
#[derive(Debug, Clone)]
pub struct DocumentReader {
    program: Arc<PathBuf>,
    limits: DocumentLimits,
    places: Arc<Semaphore>,
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
        Ok(Self {
            program: Arc::new(this_program()?),
            places: Arc::new(Semaphore::new(limits.max_parallel.max(1))),
            limits,
        })
    }

    /// One for each document that is read at the same time. Whoever reads takes one first.
    pub fn places(&self) -> &Arc<Semaphore> {
        &self.places
    }

    /// What reading a document may use.
    pub fn limits(&self) -> &DocumentLimits {
        &self.limits
    }

    /// The text of a document. Dropping the future kills the process.
    pub async fn read(&self, contents: Contents, request: &ReadRequest) -> Result<Extracted, ReadError> {
        let mut child = self.start()?;
        let reading = self.attend(&mut child, contents, request);
        match tokio::time::timeout(self.limits.timeout, reading).await {
            Ok(done) => done,
            Err(_elapsed) => {
                child.kill().await?;
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
        let (sent, said) = tokio::join!(send(stdin, head, contents), hear(stdout, request.max_bytes));
        let status = child.wait().await?;
        let said = said?;
        if !status.success() {
            return Err(self.judge(status));
        }
        let extracted = understand(&said);
        // The process may answer before it has heard all; but what the storage did not give it cannot judge.
        if let Err(error @ ReadError::Storage(_)) = sent {
            return Err(error);
        }
        extracted
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
            if signal == Some(Signal::XCPU.as_raw()) || signal == Some(Signal::KILL.as_raw()) {
                return ReadError::Document(self.too_slow());
            }
            if signal.is_some() {
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

/// Gives the process its document. One that does not want all of it has its reasons.
async fn send(mut stdin: ChildStdin, head: Vec<u8>, mut contents: Contents) -> Result<(), ReadError> {
    if stdin.write_all(&head).await.is_err() {
        return Ok(());
    }
    while let Some(piece) = contents.next().await {
        if stdin.write_all(&piece?).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
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
