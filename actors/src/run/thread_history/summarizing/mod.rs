//! The policy that puts a summary in the place of the oldest turns.
//!
//! The summary is an item of the run that made it, and says from which place of the thread on turns are shown whole. Runs meet the newest one
//! as they read back, and read no further than it reaches. When turns and summary together do not fit any more, the newest turns that take half
//! of the room are kept and the rest goes into a new summary, with the old one: half, so that not every run has to make one. A run that has room
//! for all that a summary stands for reads past it: one with less room made it.

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::{BYTES_PER_TOKEN, Bounds, EarlierTurns, closed, transcript, trimmed};
use crate::event::EventBody;
use crate::item::{Item, ItemContent, ItemStatus};
use crate::llm::estimate::{ConversationSize, likely_tokens_of_bytes, prefix_of_tokens, size_of_items, size_of_text};
use crate::ports::threads::{ThreadExtent, Turn};
use crate::spec::LEAST_SUMMARIZED_TOKENS;

/// No summary is longer, however much room there is.
const MAX_SUMMARY_TOKENS: u64 = 4_096;

/// A summary and what it stands for.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    item: Arc<Item>,
    turns: u64,
    tokens: u64,
    /// The place in the thread before which it stands for everything.
    pub(super) before: u64,
    size: ConversationSize,
}

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

/// What a run that makes no summary sees.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) summary: Option<Standing>,
    /// So many, the newest.
    pub(super) turns: usize,
    size: ConversationSize,
}

/// A summary that can be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// So many turns stay whole, the newest.
    kept: usize,
    /// So many before them go into it.
    put_in: usize,
    /// The place of the first of these.
    pub(super) from: u64,
}

/// A summary to be made.
#[derive(Debug)]
pub(crate) struct SummaryWork {
    /// What is summed up, as the model is shown it.
    pub(crate) lines: String,
    /// Tokens that the model may write.
    pub(crate) max_output_tokens: u64,
    /// Items at the beginning of the conversation that are of turns that stay whole.
    pub(crate) kept_items: usize,
    /// What to go on with if no summary can be made.
    pub(crate) otherwise: EarlierTurns,
    /// The event that tells of turns that are not in it either, if there are some.
    pub(crate) trimmed: Option<EventBody>,
    turns: u64,
    tokens: u64,
    before: u64,
    kept_turns: usize,
    kept: ConversationSize,
    room: Bounds,
}

/// Tokens that a model may write when it sums up for a run with these bounds.
pub(super) fn max_output_tokens(bounds: Bounds) -> u64 {
    (room(bounds) / 4).min(MAX_SUMMARY_TOKENS)
}

fn room(bounds: Bounds) -> u64 {
    let tokens = likely_tokens_of_bytes(bounds.bytes);
    bounds.tokens.unwrap_or(u64::MAX).min(tokens)
}

impl Standing {
    /// If the item is a summary that is whole.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let ItemContent::Summary {
            turns,
            tokens,
            before_position,
            ..
        } = &item.content
        else {
            return None;
        };
        (item.status == ItemStatus::Completed).then(|| Self {
            item: Arc::new(item.clone()),
            turns: *turns,
            tokens: *tokens,
            before: *before_position,
            size: size_of_items([item]),
        })
    }

    fn told(&self, kept_turns: usize, kept: ConversationSize) -> EventBody {
        EventBody::HistorySummarized {
            item_id: self.item.id,
            turns: self.turns,
            tokens: self.tokens,
            kept_turns: kept_turns as u64,
            kept_tokens: kept.tokens,
            summary_tokens: self.size.tokens,
        }
    }
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

    /// Whether all of it can be shown.
    pub(super) fn fits(&self) -> bool {
        let summary = self.summary.as_ref().map(|summary| summary.size);
        self.is_all && self.bounds.allow(self.size + summary.unwrap_or_default())
    }

    /// All of it, which fits.
    pub(super) fn whole(&self) -> EarlierTurns {
        let shown = Shown {
            summary: self.summary.clone(),
            turns: self.turns.len(),
            size: self.size,
        };
        self.dropping(&shown, ThreadExtent::default())
    }

    /// As much of it as fits.
    pub(super) fn that_fit(&self) -> Shown {
        let summary = self.summary.clone().filter(|summary| self.bounds.allow(summary.size));
        let of_summary = summary.as_ref().map(|summary| summary.size).unwrap_or_default();
        let mut shown = Shown {
            summary,
            turns: 0,
            size: ConversationSize::default(),
        };
        for turn in &self.turns {
            let with_turn = shown.size + turn.size;
            if !self.bounds.allow(of_summary + with_turn) {
                break;
            }
            shown.size = with_turn;
            shown.turns += 1;
        }
        shown
    }

    pub(super) const fn summary(&self) -> Option<&Standing> {
        self.summary.as_ref()
    }

    /// The place of the oldest of so many newest turns.
    pub(super) fn below(&self, turns: usize) -> u64 {
        match turns.checked_sub(1) {
            Some(last) => self.turns[last].position,
            None => self.position,
        }
    }

    /// What the run goes on with if this is shown and so much is left out.
    pub(super) fn dropping(&self, shown: &Shown, left_out: ThreadExtent) -> EarlierTurns {
        let summary = shown.summary.as_ref();
        let items = self.items_of(shown.turns);
        EarlierTurns {
            items: summary
                .map(|summary| summary.item.clone())
                .into_iter()
                .chain(items)
                .collect(),
            trimmed: trimmed(left_out, shown.turns, shown.size),
            summarized: summary.map(|summary| summary.told(shown.turns, shown.size)),
            ..EarlierTurns::default()
        }
    }

    /// The summary that would make it fit, if one can be made.
    pub(super) fn plan(&self) -> Option<Planned> {
        if room(self.bounds) < LEAST_SUMMARIZED_TOKENS {
            return None;
        }
        let kept = self.turns.iter().take_while(|turn| turn.lines.is_none()).count();
        let summary = self.summary.as_ref();
        let mut size = size_of_text(&transcript::lines_of(summary.map(|summary| &*summary.item)));
        let mut put_in = 0;
        for turn in &self.turns[kept..] {
            size = size + size_of_text(turn.lines.as_deref().unwrap_or_default());
            if !self.input.allow(size) {
                break;
            }
            put_in += 1;
        }
        let is_only_summary = kept == self.turns.len() && self.is_all && self.input.allow(size);
        (put_in > 0 || is_only_summary).then(|| Planned {
            kept,
            put_in,
            from: self.below(kept + put_in),
        })
    }

    /// What the run goes on with once the planned summary is made, which leaves so much out.
    pub(super) fn summarizing(
        &self,
        planned: Planned,
        left_out: ThreadExtent,
        otherwise: EarlierTurns,
    ) -> EarlierTurns {
        let Planned { kept, put_in, .. } = planned;
        let whole = self.turns[..kept].iter();
        let kept_size = whole.fold(ConversationSize::default(), |size, turn| size + turn.size);
        let old = self.summary.as_ref();
        let summed_up = &self.turns[kept..kept + put_in];
        let mut lines = transcript::lines_of(old.map(|summary| &*summary.item));
        for turn in summed_up.iter().rev() {
            lines.push_str(turn.lines.as_deref().unwrap_or_default());
        }
        let items = self.items_of(kept);
        let work = SummaryWork {
            lines,
            max_output_tokens: max_output_tokens(self.bounds),
            kept_items: items.len(),
            otherwise,
            trimmed: trimmed(left_out, kept, kept_size),
            turns: old.map_or(0, |old| old.turns) + put_in as u64,
            tokens: old.map_or(0, |old| old.tokens) + summed_up.iter().map(|turn| turn.size.tokens).sum::<u64>(),
            before: self.below(kept),
            kept_turns: kept,
            kept: kept_size,
            room: self.bounds.share(2, 8),
        };
        EarlierTurns {
            items,
            to_summarize: Some(Box::new(work)),
            ..EarlierTurns::default()
        }
    }

    /// Those of so many newest turns, oldest first.
    fn items_of(&self, turns: usize) -> Vec<Arc<Item>> {
        let oldest_first = self.turns[..turns].iter().rev();
        oldest_first.flat_map(|turn| turn.items.iter().cloned()).collect()
    }
}

impl SummaryWork {
    /// The summary with this text, cut to the room that there is, and the event that tells of it.
    pub(crate) fn done(&self, text: &str) -> (Item, EventBody) {
        let text = prefix_of_tokens(text, self.room.tokens.unwrap_or(u64::MAX), self.room.bytes);
        let content = ItemContent::Summary {
            text: text.to_owned(),
            turns: self.turns,
            tokens: self.tokens,
            before_position: self.before,
        };
        let item = Item::new(ItemStatus::Completed, content);
        let told = EventBody::HistorySummarized {
            item_id: item.id,
            turns: self.turns,
            tokens: self.tokens,
            kept_turns: self.kept_turns as u64,
            kept_tokens: self.kept.tokens,
            summary_tokens: size_of_items([&item]).tokens,
        };
        (item, told)
    }

    /// Words that the model is asked for: less than it may write, so that it comes to an end.
    pub(crate) const fn words(&self, max_output_tokens: u64) -> u64 {
        max_output_tokens / 3
    }
}
