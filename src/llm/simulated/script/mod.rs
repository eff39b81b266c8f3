//! What a simulated model says, and when: the same for the same seed, options and conversation, in process and over HTTP.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use callboard_actors::event::FinishReason;
use callboard_actors::item::Usage;
use callboard_actors::ports::ModelDelta;
use callboard_actors::time::Timestamp;
use futures::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::options::{FailureKind, SimulateOptions};
use super::random::mixed;
use super::troubles::AnswerTrouble;

/// What every simulated answer begins with.
pub const MARK: &str = "[simulated] ";

/// The name a simulated model answers under.
pub const MODEL_NAME: &str = "simulated";

const WORDS: [&str; 32] = [
    "the", "run", "goes", "on", "while", "every", "step", "is", "written", "down", "and", "whoever", "listens", "sees",
    "it", "grow", "a", "slow", "reader", "loses", "nothing", "because", "log", "only", "grows", "so", "take", "your",
    "time", "then", "read", "again",
];

/// One simulated call.
#[derive(Debug, Clone)]
pub struct Performance {
    /// What to do.
    pub options: SimulateOptions,
    /// What the words follow from if there is no seed.
    pub prompt_hash: u64,
    /// Tokens of everything the model was sent.
    pub input_tokens: u64,
    /// Answers of this conversation that called tools already.
    pub tool_rounds_done: u32,
    /// Which try of this call it is, from 1.
    pub attempt: u32,
    /// Tokens it may write.
    pub max_output_tokens: Option<u64>,
    /// What it meets without being told to.
    pub trouble: AnswerTrouble,
}

/// What happens next in a simulated answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// These pieces are due.
    Say(Vec<ModelDelta>),
    /// It goes wrong now, and this is the last act.
    Fail(FailureKind),
}

/// A number that says which words follow from a text.
pub fn hash_of(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

/// A rough count of a text's tokens: four bytes each, as English goes.
pub fn estimate_tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

impl Performance {
    /// The failure of this try, if it is to fail.
    pub fn failure(&self) -> Option<&super::options::SimulatedFailure> {
        self.options
            .fail
            .as_ref()
            .filter(|failure| self.attempt <= failure.attempts)
    }

    /// What was read, before anything is written.
    pub fn usage_of_input(&self) -> Usage {
        let cached = self.options.cached_input_tokens.min(self.input_tokens);
        let cache_write = self.options.cache_write_input_tokens;
        Usage {
            cached_input_tokens: cached,
            cache_write_input_tokens: cache_write.min(self.input_tokens - cached),
            ..Usage::of(self.input_tokens, 0)
        }
    }

    /// The acts, each when it is due.
    pub fn play(self) -> BoxStream<'static, Act> {
        let pieces = self.pieces();
        let trouble = self.trouble.and(self.own_trouble());
        let tokens = pieces.iter().filter(|piece| is_token(piece)).count();
        let told_to = self.failure().map(|failure| (failure.kind, failure.after_tokens));
        let by_chance = trouble
            .breaks_at
            .map(|share| (FailureKind::Break, share_of(tokens, share)));
        let failure = told_to.or(by_chance);
        let delay = Duration::from_millis(self.options.first_token_ms) + trouble.delay;
        let interval = match self.options.tokens_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs(1) / rate,
        };
        let stage = Stage {
            first_due: Instant::now() + delay,
            interval,
            paced: !delay.is_zero() || !interval.is_zero(),
            stamp: self.options.stamp,
            tokens_said: 0,
            pieces,
            failure,
        };
        stream::unfold(Some(stage), |stage| async move {
            let mut stage = stage?;
            let act = stage.next_act().await?;
            let over = matches!(act, Act::Fail(_));
            Some((act, (!over).then_some(stage)))
        })
        .boxed()
    }

    /// What the options let happen by chance, which follows from seed, conversation and attempt.
    fn own_trouble(&self) -> AnswerTrouble {
        let options = &self.options;
        let call = hash_of((self.prompt_hash, self.attempt, self.tool_rounds_done));
        let seed = options.seed.unwrap_or_default();
        AnswerTrouble::drawn(options.slow_start.as_ref(), options.break_share, seed, call)
    }

    fn pieces(&self) -> VecDeque<ModelDelta> {
        let options = &self.options;
        let mut pieces = VecDeque::new();
        let seed = options.seed.unwrap_or(self.prompt_hash);
        for index in 0..options.reasoning_tokens {
            pieces.push_back(ModelDelta::Reasoning(format!("{} ", word(seed ^ 0xA5A5, index))));
        }
        let calls_tools = !options.tool_calls.is_empty() && self.tool_rounds_done < options.tool_rounds;
        if calls_tools {
            self.call_tools(&mut pieces);
        } else {
            self.say_text(seed, &mut pieces);
        }
        pieces
    }

    fn call_tools(&self, pieces: &mut VecDeque<ModelDelta>) {
        for (index, call) in (0u32..).zip(&self.options.tool_calls) {
            let call_id = format!("call_{}_{index}", self.tool_rounds_done + 1);
            pieces.push_back(ModelDelta::ToolCallStarted {
                index,
                call_id,
                name: call.name.clone(),
            });
            let delta = match &call.arguments {
                serde_json::Value::Null => "{}".to_owned(),
                serde_json::Value::String(text) => text.clone(),
                value => value.to_string(),
            };
            pieces.push_back(ModelDelta::ToolCallArguments { index, delta });
        }
        let output_tokens = 16 * self.options.tool_calls.len() as u64;
        pieces.push_back(self.finished(FinishReason::ToolCalls, output_tokens));
    }

    fn say_text(&self, seed: u64, pieces: &mut VecDeque<ModelDelta>) {
        let options = &self.options;
        let whole: u64 = match &options.text {
            Some(text) => text.split_inclusive(' ').count() as u64,
            None => options.tokens.into(),
        };
        let said = self.max_output_tokens.map_or(whole, |limit| whole.min(limit));
        if said > 0 && !options.stamp {
            pieces.push_back(ModelDelta::Text(MARK.to_owned()));
        }
        match &options.text {
            Some(text) => {
                let words = text
                    .split_inclusive(' ')
                    .take(usize::try_from(said).unwrap_or(usize::MAX));
                pieces.extend(words.map(|word| ModelDelta::Text(word.to_owned())));
            }
            None => {
                let count = u32::try_from(said).unwrap_or(u32::MAX);
                pieces.extend((0..count).map(|index| ModelDelta::Text(format!("{} ", word(seed, index)))));
            }
        }
        // Stamped text begins with a stamp, so that whoever measures need not look for it.
        if said > 0 && options.stamp {
            pieces.push_back(ModelDelta::Text(MARK.to_owned()));
        }
        let reason = if said < whole {
            FinishReason::Length
        } else {
            FinishReason::Stop
        };
        pieces.push_back(self.finished(reason, said));
    }

    fn finished(&self, reason: FinishReason, output_tokens: u64) -> ModelDelta {
        let output_tokens = output_tokens + u64::from(self.options.reasoning_tokens);
        let usage = Usage {
            output_tokens,
            reasoning_tokens: self.options.reasoning_tokens.into(),
            ..self.usage_of_input()
        };
        ModelDelta::Finished {
            reason,
            usage,
            model: MODEL_NAME.to_owned(),
        }
    }
}

/// An answer being given.
struct Stage {
    first_due: Instant,
    interval: Duration,
    paced: bool,
    stamp: bool,
    tokens_said: u32,
    pieces: VecDeque<ModelDelta>,
    failure: Option<(FailureKind, u32)>,
}

impl Stage {
    /// Waits until something is due; says all that is due by then. Several tokens per wake at a high pace, not a timer each.
    async fn next_act(&mut self) -> Option<Act> {
        if self.pieces.is_empty() {
            return None;
        }
        if self.paced {
            tokio::time::sleep_until(self.due(self.tokens_said)).await;
        }
        let now = Instant::now();
        let mut said = Vec::new();
        while let Some(piece) = self.pieces.front() {
            if let Some((kind, after)) = self.failure
                && self.tokens_said >= after
            {
                if !said.is_empty() {
                    return Some(Act::Say(said));
                }
                return Some(Act::Fail(kind));
            }
            let is_token = is_token(piece);
            if is_token && self.paced && self.due(self.tokens_said) > now {
                break;
            }
            self.tokens_said += u32::from(is_token);
            match self.pieces.pop_front() {
                Some(ModelDelta::Text(text)) if self.stamp && text != MARK => {
                    said.push(ModelDelta::Text(format!("t={} ", Timestamp::now().as_micros())));
                }
                piece => said.extend(piece),
            }
        }
        Some(Act::Say(said))
    }

    fn due(&self, token: u32) -> Instant {
        self.first_due + self.interval * token
    }
}

fn is_token(piece: &ModelDelta) -> bool {
    matches!(piece, ModelDelta::Text(_) | ModelDelta::Reasoning(_))
}

/// So many of the tokens, rounded down: fewer than all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of at most a few million tokens"
)]
fn share_of(tokens: usize, share: f64) -> u32 {
    (tokens as f64 * share) as u32
}

/// The word at a place of the text that follows from `seed`.
fn word(seed: u64, place: u32) -> &'static str {
    WORDS[(mixed(seed, place.into()) % WORDS.len() as u64) as usize]
}

#[cfg(test)]
mod tests;
