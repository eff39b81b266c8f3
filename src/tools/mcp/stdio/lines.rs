//! Lines of a stream, none of them longer than a bound in memory.

use std::io;

use rmcp::model::RequestId;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use super::message_id::MessageIdScanner;

/// A line that is this many times as long as allowed has no end: the stream is given up.
const HOPELESS: usize = 32;

/// Bytes read at a time.
const PIECE: usize = 64 * 1024;

/// A line.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// It was longer than allowed and is gone.
    TooLong {
        /// The request that it answers, if it is such a message.
        answers: Option<RequestId>,
    },
}

/// Reads lines.
pub(super) struct BoundedLines<R> {
    reader: BufReader<R>,
    longest: usize,
    line: Vec<u8>,
    skipped: Option<(MessageIdScanner, usize)>,
}

impl<R: AsyncRead + Unpin> BoundedLines<R> {
    /// Of this stream; `longest` in bytes.
    pub(super) fn new(stream: R, longest: usize) -> Self {
        Self {
            reader: BufReader::with_capacity(PIECE.min(longest.max(1024)), stream),
            longest,
            line: Vec::new(),
            skipped: None,
        }
    }

    /// The same stream from here on, whatever came before.
    pub(super) fn renewed(self) -> Self {
        Self {
            line: Vec::new(),
            skipped: None,
            ..self
        }
    }

    /// The next line; `None` at the end of the stream, and what stands before it without an end of its own is no line. Loses nothing when it
    /// is dropped.
    ///
    /// # Errors
    /// The stream broke, or a line has no end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let piece = self.reader.fill_buf().await?;
            if piece.is_empty() {
                return Ok(None);
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let content = &piece[..end.unwrap_or(piece.len())];
            if let Some((scanner, length)) = &mut self.skipped {
                scanner.read(content);
                *length += content.len();
                if *length / HOPELESS > self.longest {
                    return Err(io::Error::other("a line has no end"));
                }
            } else if self.line.len() + content.len() > self.longest {
                let mut scanner = MessageIdScanner::default();
                scanner.read(&self.line);
                scanner.read(content);
                self.skipped = Some((scanner, self.line.len() + content.len()));
                self.line = Vec::new();
            } else {
                self.line.extend_from_slice(content);
            }
            let taken = content.len() + usize::from(end.is_some());
            self.reader.consume(taken);
            if end.is_none() {
                continue;
            }
            if let Some((scanner, _)) = self.skipped.take() {
                let answers = scanner.answered_request();
                return Ok(Some(Line::TooLong { answers }));
            }
            return Ok(Some(Line::Whole(std::mem::take(&mut self.line))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rmcp::model::NumberOrString;

    async fn all_of(text: &[u8], longest: usize) -> Vec<Line> {
        let mut lines = BoundedLines::new(text, longest);
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.expect("lines") {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_whole_or_gone() {
        let long = format!(r#"{{"result":"{}","id":4}}"#, "x".repeat(3000));
        let text = format!("one\n\n{long}\n{}\nlast\nno end", "y".repeat(101));
        let whole = |text: &str| Line::Whole(text.into());
        let answers = Some(NumberOrString::Number(4));
        let expected = [
            whole("one"),
            whole(""),
            Line::TooLong { answers },
            Line::TooLong { answers: None },
            whole("last"),
        ];
        assert_eq!(all_of(text.as_bytes(), 100).await, expected);
        assert_eq!(all_of(b"exactly\n", 7).await, [whole("exactly")]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error() {
        let mut lines = BoundedLines::new(tokio::io::repeat(b'x'), 100);
        assert!(lines.next().await.is_err());
        assert!(lines.line.capacity() <= 128);
    }
}
