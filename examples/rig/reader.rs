//! Reads an event stream as a careful client does.

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// One event as it came over the wire.
#[derive(Clone, PartialEq)]
pub(crate) struct SeenEvent {
    pub(crate) seq: u64,
    pub(crate) kind: String,
    pub(crate) data: Value,
    /// The frame's bytes, to compare.
    pub(crate) frame: String,
}

impl SeenEvent {
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.kind.as_str(), "run.completed" | "run.failed" | "run.cancelled")
    }

    /// Those that were kept one after the other, as they are sent.
    pub(crate) fn all_in(frames: &[u8]) -> Result<Vec<Self>, StreamError> {
        let mut events = Vec::new();
        let mut rest = frames;
        while !rest.is_empty() {
            let Some(end) = rest.windows(2).position(|pair| pair == b"\n\n") else {
                return Err(StreamError::Malformed(String::from_utf8_lossy(rest).into_owned()));
            };
            let (frame, after) = rest.split_at(end + 2);
            events.extend(event_of(frame.to_vec())?);
            rest = after;
        }
        Ok(events)
    }
}

/// The bytes say it all.
impl fmt::Debug for SeenEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.frame)
    }
}

/// Why an event stream can be read no further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StreamError {
    /// The connection did.
    #[error("the stream broke: {0}")]
    Broken(#[from] reqwest::Error),
    /// Neither an event nor a comment came.
    #[error("the stream was silent for {0:?}")]
    Silent(Duration),
    /// What came is no event, or contradicts itself.
    #[error("not an event: {0}")]
    Malformed(String),
}

/// An open event stream.
pub(crate) struct EventReader {
    response: reqwest::Response,
    longest_silence: Duration,
    unread: Vec<u8>,
}

impl EventReader {
    pub(crate) fn new(response: reqwest::Response, longest_silence: Duration) -> Self {
        Self {
            response,
            longest_silence,
            unread: Vec::new(),
        }
    }

    /// The next event; `None` at the clean end of the stream.
    pub(crate) async fn read(&mut self) -> Result<Option<SeenEvent>, StreamError> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.unread.drain(..end + 2).collect();
                match event_of(frame)? {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let chunk = tokio::time::timeout(self.longest_silence, self.response.chunk()).await;
            match chunk.map_err(|_| StreamError::Silent(self.longest_silence))?? {
                Some(chunk) => self.unread.extend_from_slice(&chunk),
                None if self.unread.is_empty() => return Ok(None),
                None => {
                    let rest = String::from_utf8_lossy(&self.unread);
                    return Err(StreamError::Malformed(format!(
                        "the stream ended within a frame: {rest:?}"
                    )));
                }
            }
        }
    }
}

/// `None` for a comment. Checks that a frame agrees with its own JSON.
fn event_of(frame: Vec<u8>) -> Result<Option<SeenEvent>, StreamError> {
    let malformed = |problem: &str, frame: &str| StreamError::Malformed(format!("{problem}: {frame:?}"));
    let frame = String::from_utf8(frame).map_err(|error| StreamError::Malformed(error.to_string()))?;
    if frame.contains('\r') {
        return Err(malformed("a carriage return", &frame));
    }
    if frame.starts_with(':') {
        return Ok(None);
    }
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let (Some(id), Some(kind), Some(data)) = (field("id: "), field("event: "), field("data: ")) else {
        return Err(malformed("a frame without id, event or data", &frame));
    };
    let Ok(seq) = id.parse() else {
        return Err(malformed("an id that is no number", &frame));
    };
    let Ok(data) = serde_json::from_str::<Value>(data) else {
        return Err(malformed("data that is no JSON", &frame));
    };
    if data["seq"].as_u64() != Some(seq) || data["type"].as_str() != Some(kind) {
        return Err(malformed("a frame that contradicts its data", &frame));
    }
    let kind = kind.to_owned();
    Ok(Some(SeenEvent { seq, kind, data, frame }))
}
