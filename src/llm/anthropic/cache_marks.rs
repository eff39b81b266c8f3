//! Marks of what the provider is to cache: the prompt up to each of them.

use callboard_actors::item::CacheControl;

use super::messages::{Block, Turn};
use super::request::Tool;

/// The most marks that the API takes in one call.
const MOST_MARKS: usize = 4;

/// Marks the end of the conversation, of the system prompt and of the tools, in this order, as long as there is room beside the marks that
/// the run's messages have of their own. Those stay.
pub(super) fn mark_all(mark: &CacheControl, tools: &mut [Tool<'_>], system: &mut [Block<'_>], turns: &mut [Turn<'_>]) {
    let blocks = system.iter().chain(turns.iter().flat_map(|turn| &turn.content));
    let own_marks = blocks.filter(|block| block.cache_control.is_some()).count();
    let last_turn = turns
        .last_mut()
        .map(|turn| turn.content.as_mut_slice())
        .unwrap_or_default();
    let places = [
        // Thoughts cannot be marked.
        last_turn
            .iter_mut()
            .rfind(|block| !block.is_thought())
            .map(|block| &mut block.cache_control),
        system.last_mut().map(|block| &mut block.cache_control),
        tools.last_mut().map(|tool| &mut tool.cache_control),
    ];
    let unmarked = places.into_iter().flatten().filter(|place| place.is_none());
    for place in unmarked.take(MOST_MARKS.saturating_sub(own_marks)) {
        *place = Some(mark.clone());
    }
}
