//! How far a migration is.

use super::tables::Table;

/// What is being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
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

/// Adds up what is done with one table, and tells it.
pub(super) struct Teller<'a> {
    so_far: Progress,
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
        Self { so_far, progress }
    }

    pub(super) fn add(&mut self, rows: u64) {
        self.so_far.done += rows;
        (self.progress)(self.so_far);
    }
}
