//! What was said in a run's thread before the run: as much of it as the model can see.
//!
//! Read from the newest turn back, and no further than it fits, so that a run costs what its model sees and not what its thread is long. Only
//! what is left out, which the run's log tells, is counted over the whole thread.

mod summarizing;
pub(crate) mod transcript;
mod whole_turns;

use std::sync::Arc;

use crate::error::{RunError, RunErrorCode};
use crate::event::EventBody;
use crate::item::{Item, ItemContent};
use crate::llm::ModelRoute;
use crate::llm::estimate::{ConversationSize, likely_tokens_of_bytes, likely_tokens_of_settings, size_of_items};
use crate::ports::threads::{RunThread, ThreadExtent, Turn, TurnPage};
use crate::ports::{StoreError, ToolDefinition};
use crate::run::history::History;
use crate::services::RunServices;
use crate::spec::{HistoryPolicy, RunSpec};
pub(crate) use summarizing::SummaryWork;
use summarizing::{Reading, Standing};
use whole_turns::closed;

/// Turns that are read at once, if they are small.
const TURNS_AT_ONCE: u32 = 16;

/// About as many as there are in a token of text.
const BYTES_PER_TOKEN: u64 = 4;

/// What was said before, oldest first.
#[derive(Debug, Default)]
pub(crate) struct EarlierTurns {
    /// As the model sees it: a summary first, if there is one.
    pub(crate) items: Vec<Arc<Item>>,
    /// The event that tells of turns that were left out, if some were.
    pub(crate) trimmed: Option<EventBody>,
    /// The event that tells of the summary, if there is one.
    pub(crate) summarized: Option<EventBody>,
    /// There is too much of it, and nothing may be left out.
    pub(crate) refused: Option<RunError>,
    /// There is too much of it, and a summary of the oldest turns, which are not in `items`, is to be made first.
    pub(crate) to_summarize: Option<Box<SummaryWork>>,
}

/// How much of a thread a run may go on with, or a model can read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    /// `None`: nobody says.
    tokens: Option<u64>,
    bytes: u64,
}

/// Reads the turns before a run with this past of its own and these tools.
pub(crate) async fn read(
    services: &RunServices,
    thread: RunThread,
    spec: &RunSpec,
    past: &History,
    tools: &[ToolDefinition],
) -> Result<EarlierTurns, StoreError> {
    let bounds = Bounds {
        tokens: max_tokens(services, spec, &past.items, tools),
        bytes: services.settings.max_history_bytes as u64,
    };
    match spec.history.policy {
        HistoryPolicy::SummarizeOldestTurns => read_summarizing(services, thread, spec, past, bounds).await,
        HistoryPolicy::DropOldestTurns | HistoryPolicy::None => {
            let may_trim = spec.history.policy == HistoryPolicy::DropOldestTurns;
            read_whole_turns(services, thread, bounds, may_trim).await
        }
    }
}

async fn read_whole_turns(
    services: &RunServices,
    thread: RunThread,
    bounds: Bounds,
    may_trim: bool,
) -> Result<EarlierTurns, StoreError> {
    let mut kept: Vec<Vec<Item>> = Vec::new();
    let mut size = ConversationSize::default();
    let mut before = thread.position;
    loop {
        let page = page_of_turns(bounds.bytes_left(size));
        let page = services.threads.turns_before(thread.id, before, page).await?;
        if page.is_empty() {
            return Ok(earlier(kept, None));
        }
        for turn in page {
            let Turn { position, items } = turn;
            let items = closed(items);
            let with_turn = size + size_of_items(&items);
            if bounds.allow(with_turn) {
                size = with_turn;
                before = position;
                kept.push(items);
                continue;
            }
            if !may_trim {
                return Ok(EarlierTurns {
                    refused: Some(too_long(bounds)),
                    ..EarlierTurns::default()
                });
            }
            let left_out = services.threads.extent_before(thread.id, before).await?;
            let trimmed = trimmed(left_out, kept.len(), size);
            return Ok(earlier(kept, trimmed));
        }
    }
}

async fn read_summarizing(
    services: &RunServices,
    thread: RunThread,
    spec: &RunSpec,
    past: &History,
    bounds: Bounds,
) -> Result<EarlierTurns, StoreError> {
    let own = past.items.iter().find_map(Standing::of);
    // One summary for a run, or one that could not be made.
    let may_summarize = own.is_none() && !past.summary_failure_is_told;
    // What is not summed up need not be read.
    let input = Bounds {
        tokens: max_summarized_tokens(services, spec, bounds),
        bytes: if may_summarize { bounds.bytes } else { 0 },
    };
    let mut reading = Reading::new(thread.position, bounds, input, own);
    let mut before = thread.position;
    'reading: loop {
        let page = page_of_turns(reading.bytes_of_use());
        let page = services.threads.turns_before(thread.id, before, page).await?;
        if page.is_empty() {
            reading.reach_beginning();
            break;
        }
        for turn in page {
            before = turn.position;
            if reading.take(turn).is_break() {
                break 'reading;
            }
        }
    }
    let left_out = async |below: u64, summary: Option<&Standing>| -> Result<ThreadExtent, StoreError> {
        let below = services.threads.extent_before(thread.id, below).await?;
        let Some(summary) = summary else { return Ok(below) };
        let summed_up = services.threads.extent_before(thread.id, summary.before).await?;
        Ok(ThreadExtent {
            turns: below.turns.saturating_sub(summed_up.turns),
            bytes: below.bytes.saturating_sub(summed_up.bytes),
        })
    };
    if reading.fits() {
        return Ok(reading.whole());
    }
    let shown = reading.that_fit();
    let dropped = left_out(reading.below(shown.turns), shown.summary.as_ref()).await?;
    let planned = if may_summarize { reading.plan() } else { None };
    let Some(planned) = planned else {
        return Ok(reading.dropping(&shown, dropped));
    };
    let also_dropped = left_out(planned.from, reading.summary()).await?;
    Ok(reading.summarizing(planned, also_dropped, reading.dropping(&shown, dropped)))
}

impl Bounds {
    fn allow(&self, size: ConversationSize) -> bool {
        size.bytes <= self.bytes && self.tokens.is_none_or(|limit| size.tokens <= limit)
    }

    /// About how many bytes of turns still fit, beside so much.
    fn bytes_left(&self, size: ConversationSize) -> u64 {
        let of_tokens = self.tokens.map(|limit| {
            let left = limit.saturating_sub(size.tokens);
            left.saturating_mul(BYTES_PER_TOKEN)
        });
        let of_bytes = self.bytes.saturating_sub(size.bytes);
        of_tokens.unwrap_or(of_bytes).min(of_bytes)
    }

    /// So many parts of `whole`.
    fn share(&self, parts: u64, whole: u64) -> Self {
        Self {
            tokens: self.tokens.map(|tokens| tokens.saturating_mul(parts) / whole),
            bytes: self.bytes.saturating_mul(parts) / whole,
        }
    }
}

const fn page_of_turns(bytes: u64) -> TurnPage {
    TurnPage {
        turns: TURNS_AT_ONCE,
        bytes,
    }
}

/// `kept` is newest first.
fn earlier(kept: Vec<Vec<Item>>, trimmed: Option<EventBody>) -> EarlierTurns {
    EarlierTurns {
        items: kept.into_iter().rev().flatten().map(Arc::new).collect(),
        trimmed,
        ..EarlierTurns::default()
    }
}

/// The event that tells that so much was left out, if it is anything.
fn trimmed(left_out: ThreadExtent, kept_turns: usize, kept: ConversationSize) -> Option<EventBody> {
    (left_out.turns > 0).then(|| EventBody::HistoryTrimmed {
        turns: left_out.turns,
        tokens: likely_tokens_of_bytes(left_out.bytes),
        kept_turns: kept_turns as u64,
        kept_tokens: kept.tokens,
    })
}

fn too_long(bounds: Bounds) -> RunError {
    RunError::new(
        RunErrorCode::HistoryLimit,
        format!(
            "the thread has more than the {} bytes that a run goes on with, and history.policy is \"none\"",
            bounds.bytes
        ),
    )
}

/// Tokens that the history may take: what the run says, and no more than the smallest window of its models leaves. `None`: nobody says.
fn max_tokens(services: &RunServices, spec: &RunSpec, own: &[Item], tools: &[ToolDefinition]) -> Option<u64> {
    if spec.history.policy == HistoryPolicy::None {
        return None;
    }
    // A summary is a part of the history, wherever it is written down.
    let own = own
        .iter()
        .filter(|item| !matches!(item.content, ItemContent::Summary { .. }));
    let fixed = size_of_items(own).tokens + likely_tokens_of_settings(spec.instructions.as_deref(), tools);
    let left = smallest_window(services, spec.models(), |route, window| {
        let answer = spec
            .limits
            .max_output_tokens
            .unwrap_or(route.calls.expected_output_tokens);
        // A generous limit of output is no reason to forget everything.
        window.saturating_sub(answer.min(window / 2)).saturating_sub(fixed)
    });
    left.into_iter().chain(spec.history.max_tokens).min()
}

/// Tokens of turns that the models can read who may write the summary. `None`: nobody says.
fn max_summarized_tokens(services: &RunServices, spec: &RunSpec, bounds: Bounds) -> Option<u64> {
    let fixed = summarizing::max_output_tokens(bounds) + transcript::likely_tokens_of_request();
    smallest_window(services, spec.summary_models(), |_, window| {
        window.saturating_sub(fixed)
    })
}

/// The least that is left of the windows of these models.
fn smallest_window<'a>(
    services: &RunServices,
    names: impl Iterator<Item = &'a String>,
    left: impl Fn(&ModelRoute, u64) -> u64,
) -> Option<u64> {
    let routes = names.filter_map(|name| services.models.get(name));
    routes
        .filter_map(|route| Some(left(route, route.context_window?)))
        .min()
}
