//! What a run is shown of what was read, and whether a summary is to be made first.

use std::sync::Arc;

use super::Reading;
use super::standing::Standing;
use super::work::{SummaryWork, max_output_tokens, room};
use crate::item::Item;
use crate::llm::estimate::{ConversationSize, size_of_text};
use crate::ports::threads::ThreadExtent;
use crate::run::thread_history::{EarlierTurns, transcript, trimmed};
use crate::spec::LEAST_SUMMARIZED_TOKENS;

/// What a run that makes no summary sees.
#[derive(Debug)]
pub(in crate::run::thread_history) struct Shown {
    pub(in crate::run::thread_history) summary: Option<Standing>,
    /// So many, the newest.
    pub(in crate::run::thread_history) turns: usize,
    size: ConversationSize,
}

/// A summary that can be made.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::run::thread_history) struct Planned {
    /// So many turns stay whole, the newest.
    pub(super) kept: usize,
    /// So many before them go into it.
    pub(super) put_in: usize,
    /// The place of the first of these.
    pub(in crate::run::thread_history) from: u64,
}

impl Reading {
    /// Whether all of it can be shown.
    pub(in crate::run::thread_history) fn fits(&self) -> bool {
        let summary = self.summary.as_ref().map(|summary| summary.size);
        self.is_all && self.bounds.allow(self.size + summary.unwrap_or_default())
    }

    /// All of it, which fits.
    pub(in crate::run::thread_history) fn whole(&self) -> EarlierTurns {
        let shown = Shown {
            summary: self.summary.clone(),
            turns: self.turns.len(),
            size: self.size,
        };
        self.dropping(&shown, ThreadExtent::default())
    }

    /// As much of it as fits.
    pub(in crate::run::thread_history) fn that_fit(&self) -> Shown {
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

    pub(in crate::run::thread_history) const fn summary(&self) -> Option<&Standing> {
        self.summary.as_ref()
    }

    /// The place of the oldest of so many newest turns.
    pub(in crate::run::thread_history) fn below(&self, turns: usize) -> u64 {
        match turns.checked_sub(1) {
            Some(last) => self.turns[last].position,
            None => self.position,
        }
    }

    /// What the run goes on with if this is shown and so much is left out.
    pub(in crate::run::thread_history) fn dropping(&self, shown: &Shown, left_out: ThreadExtent) -> EarlierTurns {
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
    pub(in crate::run::thread_history) fn plan(&self) -> Option<Planned> {
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
    pub(in crate::run::thread_history) fn summarizing(
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
