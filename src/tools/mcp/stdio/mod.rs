//! MCP over the standard input and output of a process: one JSON message a line.

mod child;
mod lines;
mod message_id;

use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::mpsc;

pub use child::ServerCommand;
pub(super) use child::ServerProcess;
use lines::{BoundedLines, Line};

use super::throttle::Throttle;
use super::too_large;

/// Messages that wait to be written.
const OUTBOX: usize = 64;

/// How long one may wait: a server that does not read its input is of no use.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The line to a process.
pub(super) struct StdioTransport {
    lines: BoundedLines<ChildStdout>,
    outbox: Option<mpsc::Sender<Vec<u8>>>,
    throttle: Throttle,
}

/// Why a message was not written. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error("the server does not take messages any more")]
    Closed,
    #[error("the server does not read its input")]
    Stuck,
    #[error("the message is no JSON")]
    NoJson,
}

/// Starts a process and the line to it. `longest` is in bytes of a message.
///
/// # Errors
/// The program cannot be started.
pub(super) fn start(
    server: &str,
    command: &ServerCommand,
    longest: usize,
) -> std::io::Result<(ServerProcess, StdioTransport)> {
    let (process, input, output) = child::start(server, command)?;
    let (outbox, messages) = mpsc::channel(OUTBOX);
    tokio::spawn(write(input, messages));
    let transport = StdioTransport {
        lines: BoundedLines::new(output, longest),
        outbox: Some(outbox),
        throttle: Throttle::default(),
    };
    Ok((process, transport))
}

/// Ends, and with it the server's input, when nobody can send any more.
async fn write(mut input: ChildStdin, mut messages: mpsc::Receiver<Vec<u8>>) {
    while let Some(message) = messages.recv().await {
        let written = async {
            input.write_all(&message).await?;
            input.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

impl Transport<RoleClient> for StdioTransport {
    type Error = NotWritten;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), NotWritten>> + Send + 'static {
        let outbox = self.outbox.clone();
        async move {
            let mut line = serde_json::to_vec(&message).map_err(|_| NotWritten::NoJson)?;
            line.push(b'\n');
            let outbox = outbox.ok_or(NotWritten::Closed)?;
            let placed = tokio::time::timeout(WRITE_TIMEOUT, outbox.send(line)).await;
            placed.map_err(|_| NotWritten::Stuck)?.map_err(|_| NotWritten::Closed)
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            self.throttle.wait().await;
            match self.lines.next().await {
                Ok(Some(Line::Whole(line))) => {
                    if let Ok(message) = serde_json::from_slice(&line) {
                        return Some(message);
                    }
                    self.throttle.charge(line.len());
                }
                Ok(Some(Line::TooLong { answers: Some(id) })) => return Some(too_large::answer(id)),
                Ok(Some(Line::TooLong { answers: None })) => self.throttle.charge(0),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    async fn close(&mut self) -> Result<(), NotWritten> {
        self.outbox = None;
        Ok(())
    }
}
