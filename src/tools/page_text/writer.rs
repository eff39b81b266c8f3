//! Text as it grows, with no more white space than it needs.

/// Text as it grows.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) text: String,
    /// Line ends that come before the next text, 2 at most.
    lines: usize,
    space: bool,
}

impl Writer {
    /// The next text begins so many lines further down.
    pub(super) fn lines(&mut self, lines: usize) {
        self.lines = self.lines.max(lines);
        self.space = false;
    }

    /// The next text is another cell of a row.
    pub(super) fn cell(&mut self) {
        if self.lines == 0 && !self.text.is_empty() {
            self.text.push_str(" | ");
            self.space = false;
        }
    }

    fn begin(&mut self) {
        if self.text.is_empty() {
            self.lines = 0;
        }
        for _ in 0..std::mem::take(&mut self.lines) {
            self.text.push('\n');
        }
        if std::mem::take(&mut self.space) && !self.text.is_empty() && !self.text.ends_with(['\n', ' ']) {
            self.text.push(' ');
        }
    }

    /// As it is.
    pub(super) fn raw(&mut self, text: &str) {
        self.begin();
        self.text.push_str(text);
    }

    /// With all white space as one space.
    pub(super) fn flowing(&mut self, text: &str) {
        for (index, word) in text.split_whitespace().enumerate() {
            self.space |= index > 0 || text.starts_with(char::is_whitespace);
            self.begin();
            self.text.push_str(word);
        }
        self.space |= text.ends_with(char::is_whitespace);
    }
}
