//! How far a migration is.

use super::tables::Table;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The source is read, to find out whether an earlier attempt can be gone on with.
    Reading,
    /// Rows are copied.
    Copying,
    /// Rows are compared.
    Comparing,
}

/// How far a migration has come with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// With which table.
    pub table: &'static str,
    /// Rows that this attempt has done.
    pub done: u64,
    /// Rows that it has to do.
    pub of: u64,
}

/// Rows that are read one by one, between two signs of life.
const TELL_EVERY: u64 = 1000;

/// Adds up what is done with one table, and tells it.
pub(super) struct Teller<'a> {
    so_far: Progress,
    untold: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Teller<'a> {
    pub(super) fn new(phase: Phase, table: &Table, of: u64, progress: &'a mut dyn FnMut(Progress)) -> Self {
        let so_far = Progress {
            phase,
            table: table.name,
            done: 0,
            of,
        };
        Self {
            so_far,
            untold: 0,
            progress,
        }
    }

    /// So many rows are done together.
    pub(super) fn add_batch(&mut self, rows: u64) {
        self.so_far.done += rows;
        (self.progress)(self.so_far);
    }

    /// One row is done.
    pub(super) fn add_row(&mut self) {
        self.untold += 1;
        if self.untold == TELL_EVERY {
            self.finish();
        }
    }

    /// Tells what is done and was not told.
    pub(super) fn finish(&mut self) {
        if self.untold > 0 {
            let rows = std::mem::take(&mut self.untold);
            self.add_batch(rows);
        }
    }
}
