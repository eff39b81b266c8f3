//! Reads Server-Sent Events from a provider: only `data`, in events of a bounded size.

/// Takes bytes as they come and gives events as they are whole. Lines may end in LF, CRLF or CR, and may be cut anywhere.
#[derive(Debug)]
pub(in crate::llm) struct SseReader {
    max_event_size: usize,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been looked at.
    scanned: usize,
    data: String,
    has_data: bool,
    /// The last line ended in CR: an LF that follows belongs to it.
    after_cr: bool,
}

/// An event that is longer than this reader takes, or is not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::llm) struct BadEvent;

impl SseReader {
    pub(in crate::llm) fn new(max_event_size: usize) -> Self {
        Self {
            max_event_size,
            buffer: Vec::new(),
            scanned: 0,
            data: String::new(),
            has_data: false,
            after_cr: false,
        }
    }

    /// Takes `bytes` and calls `on_event` with the data of every event that is whole now.
    pub(in crate::llm) fn feed(&mut self, bytes: &[u8], mut on_event: impl FnMut(&str)) -> Result<(), BadEvent> {
        self.buffer.extend_from_slice(bytes);
        let mut line_start = 0;
        while let Some(offset) = self.buffer[self.scanned..]
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
        {
            let end = self.scanned + offset;
            self.scanned = end + 1;
            let is_second_half = self.after_cr && self.buffer[end] == b'\n' && end == line_start;
            self.after_cr = self.buffer[end] == b'\r';
            if !is_second_half {
                let line = std::str::from_utf8(&self.buffer[line_start..end]).map_err(|_| BadEvent)?;
                if line.is_empty() {
                    if self.has_data {
                        on_event(&self.data);
                    }
                    self.data.clear();
                    self.has_data = false;
                } else if let Some(value) = line.strip_prefix("data:") {
                    if self.has_data {
                        self.data.push('\n');
                    }
                    self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
                    self.has_data = true;
                }
            }
            line_start = end + 1;
            if self.data.len() > self.max_event_size {
                return Err(BadEvent);
            }
        }
        self.buffer.drain(..line_start);
        self.scanned = self.buffer.len();
        if self.data.len() + self.buffer.len() > self.max_event_size {
            return Err(BadEvent);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<String>, BadEvent> {
        let mut reader = SseReader::new(64);
        let mut events = Vec::new();
        for piece in pieces {
            reader.feed(piece, |data| events.push(data.to_owned()))?;
        }
        Ok(events)
    }

    #[test]
    fn events_are_the_same_wherever_the_bytes_are_cut() {
        for text in [
            "data: a\n\ndata: b\ndata:c\n\n: hb\n\n",
            "data: a\r\n\r\ndata: b\r\ndata:c\r\n\r\n: hb\r\n\r\n",
        ] {
            let bytes = text.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let events = read(&[&bytes[..first], &bytes[first..second], &bytes[second..]]).expect("fine");
                    assert_eq!(events, ["a", "b\nc"], "{text:?} cut at {first} and {second}");
                }
            }
        }
    }

    #[test]
    fn an_event_that_is_too_long_or_no_text_is_refused() {
        assert_eq!(read(&[&[b'x'; 65]]), Err(BadEvent));
        let many_lines = "data: 0123456789\n".repeat(7);
        assert_eq!(read(&[many_lines.as_bytes()]), Err(BadEvent));
        assert_eq!(read(&[b"data: \xff\n\n"]), Err(BadEvent));
        assert_eq!(read(&[b"data: unfinished"]), Ok(vec![]));
    }
}
