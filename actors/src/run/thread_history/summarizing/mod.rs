//! The policy that puts a summary in the place of the oldest turns.
//!
//! The summary is an item of the run that made it, and says from which place of the thread on turns are shown whole. Runs meet the newest one
//! as they read back, and read no further than it reaches. When turns and summary together do not fit any more, the newest turns that take half
//! of the room are kept and the rest goes into a new summary, with the old one: half, so that not every run has to make one. A run that has room
//! for all that a summary stands for reads past it: one with less room made it.

mod deciding;
mod standing;
#[cfg(test)]
mod tests;
mod work;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{BYTES_PER_TOKEN, Bounds, closed, transcript};
use crate::item::Item;
use crate::llm::estimate::{ConversationSize, size_of_items, size_of_text};
use crate::ports::threads::Turn;
pub(super) use standing::Standing;
pub(crate) use work::SummaryWork;
pub(super) use work::max_output_tokens;

/// A turn that was read.
#[derive(Debug)]
struct ReadTurn {
    position: u64,
    items: Vec<Arc<Item>>,
    size: ConversationSize,
    /// If it is none of those that stay whole when a summary is made.
    lines: Option<String>,
}

/// What has been read of a thread, back from a run.
#[derive(Debug)]
pub(super) struct Reading {
    /// Of the run that reads.
    position: u64,
    bounds: Bounds,
    /// How much a model can sum up.
    input: Bounds,
    /// The run that reads has made its summary itself.
    is_own: bool,
    summary: Option<Standing>,
    /// Of a run with more room: the summary that it reads past, and what there was when it met its place.
    passed: Option<Passed>,
    /// Newest first.
    turns: Vec<ReadTurn>,
    size: ConversationSize,
    /// Lines of the summary and of the turns that would not stay whole.
    lines_size: ConversationSize,
    /// There is nothing more but what the summary stands for.
    is_all: bool,
}

#[derive(Debug)]
struct Passed {
    summary: Standing,
    turns: usize,
    size: ConversationSize,
    lines_size: ConversationSize,
}

impl Reading {
    /// `own` is the summary that the run has made itself.
    pub(super) fn new(position: u64, bounds: Bounds, input: Bounds, own: Option<Standing>) -> Self {
        let mut reading = Self {
            position,
            bounds,
            input,
            is_own: own.is_some(),
            summary: None,
            passed: None,
            turns: Vec::new(),
            size: ConversationSize::default(),
            lines_size: ConversationSize::default(),
            is_all: false,
        };
        reading.meet(own);
        reading
    }

    /// There are no more turns.
    pub(super) fn reach_beginning(&mut self) {
        self.is_all = true;
    }

    /// Takes the next older turn. `Break` if no older one is of use.
    pub(super) fn take(&mut self, turn: Turn) -> ControlFlow<()> {
        if self
            .summary
            .as_ref()
            .is_some_and(|summary| turn.position < summary.before)
            && !self.passes_summary()
        {
            self.is_all = true;
            if !self.fits() {
                self.returns_to_summary();
            }
            return ControlFlow::Break(());
        }
        if self.summary.is_none() {
            // A run makes one at most, and what it has met itself is older.
            self.meet(turn.items.iter().find_map(Standing::of));
        }
        let items: Vec<Arc<Item>> = closed(turn.items).into_iter().map(Arc::new).collect();
        let size = size_of_items(items.iter().map(AsRef::as_ref));
        let stays = self.turns.last().is_none_or(|newer| newer.lines.is_none()) && self.stays(self.size + size);
        let lines = (!stays).then(|| transcript::lines_of(items.iter().map(AsRef::as_ref)));
        if let Some(lines) = &lines {
            self.lines_size = self.lines_size + size_of_text(lines);
        }
        self.size = self.size + size;
        self.turns.push(ReadTurn {
            position: turn.position,
            items,
            size,
            lines,
        });
        if self.bounds.allow(self.size) {
            return ControlFlow::Continue(());
        }
        if self.returns_to_summary() {
            return ControlFlow::Break(());
        }
        if self.input.allow(self.lines_size) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    /// About how many bytes of older turns can be of use: they can be shown, or summed up.
    pub(super) fn bytes_of_use(&self) -> u64 {
        let to_show = self.bounds.bytes_left(self.size);
        to_show.max(self.input.bytes_left(self.lines_size))
    }

    fn meet(&mut self, summary: Option<Standing>) {
        if let Some(summary) = summary {
            self.lines_size = self.lines_size + size_of_text(&transcript::lines_of([&*summary.item]));
            self.summary = Some(summary);
        }
    }

    /// Reads past the summary at its place, if there is room for all that it stands for.
    fn passes_summary(&mut self) -> bool {
        let has_room = |summary: &mut Standing| {
            let stands_for = ConversationSize {
                bytes: summary.tokens.saturating_mul(BYTES_PER_TOKEN),
                tokens: summary.tokens,
            };
            !self.is_own && self.bounds.allow(self.size + stands_for)
        };
        let Some(summary) = self.summary.take_if(has_room) else {
            return false;
        };
        self.passed.get_or_insert(Passed {
            summary,
            turns: self.turns.len(),
            size: self.size,
            lines_size: self.lines_size,
        });
        true
    }

    /// It does not fit: what the summary stands for is not shown after all.
    fn returns_to_summary(&mut self) -> bool {
        let Some(passed) = self.passed.take() else {
            return false;
        };
        self.turns.truncate(passed.turns);
        self.summary = Some(passed.summary);
        self.size = passed.size;
        self.lines_size = passed.lines_size;
        self.is_all = true;
        true
    }

    /// Whether the newest turns, of this size with the next one, stay whole when a summary is made.
    fn stays(&self, with_turn: ConversationSize) -> bool {
        // The last turn matters most: it stays if it can. What is left is for the summary.
        let share = if self.turns.is_empty() { (5, 8) } else { (4, 8) };
        self.bounds.share(share.0, share.1).allow(with_turn)
    }
}
