//! Where the text goes: what is before the wanted part is counted and dropped, what is after it is not wanted.

use super::super::protocol::ReadRequest;

/// Takes text until there is enough of it.
pub(super) struct TextSink {
    /// Characters before the wanted part.
    to_skip: u64,
    chars_left: u64,
    bytes_left: u64,
    offset: u64,
    taken: u64,
    text: String,
    is_full: bool,
}

impl TextSink {
    pub(super) fn new(request: &ReadRequest) -> Self {
        Self {
            to_skip: request.offset,
            chars_left: request.max_chars,
            bytes_left: request.max_bytes,
            offset: request.offset,
            taken: 0,
            text: String::new(),
            is_full: false,
        }
    }

    /// Takes what fits.
    pub(super) fn push(&mut self, text: &str) {
        for letter in text.chars() {
            self.push_char(letter);
            if self.is_full {
                return;
            }
        }
    }

    fn push_char(&mut self, letter: char) {
        // Not to be seen, and of no use to a model.
        if letter == '\0' || self.is_full {
            return;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return;
        }
        let bytes = letter.len_utf8() as u64;
        if self.chars_left == 0 || self.bytes_left < bytes {
            self.is_full = true;
            return;
        }
        self.chars_left -= 1;
        self.bytes_left -= bytes;
        self.taken += 1;
        self.text.push(letter);
    }

    /// Bytes of the document's text beyond which it takes nothing.
    pub(super) fn most_bytes(&self) -> usize {
        let most_of = |chars: u64| chars.saturating_mul(char::MAX.len_utf8() as u64);
        let wanted = most_of(self.chars_left).min(self.bytes_left);
        usize::try_from(most_of(self.to_skip).saturating_add(wanted)).unwrap_or(usize::MAX)
    }

    /// Whether there was more than fits: nobody needs to read on.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// Characters up to the end of what was wanted, or of the text.
    pub(super) fn characters(&self) -> u64 {
        let skipped = self.offset.saturating_sub(self.to_skip);
        skipped.saturating_add(self.taken)
    }

    /// Where what did not fit begins.
    pub(super) fn next_offset(&self) -> Option<u64> {
        self.is_full.then(|| self.characters())
    }

    /// What was wanted.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}
