//! Who starts which runs: drawn from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Options;

/// The words of inputs.
const WORDS: [&str; 12] = [
    "every", "key", "used", "to", "its", "limit", "and", "none", "over", "it", "fairly", "shared",
];
/// Bytes of an input.
const INPUT: std::ops::Range<usize> = 800..3200;
/// Tokens of an answer.
const OUTPUT: std::ops::Range<u32> = 40..240;
/// Output tokens that a run may use: what is reserved before it is known what it does.
pub(super) const MOST_OUTPUT: u64 = 500;
/// Tokens that a call uses on the average: a bit more than half of the input's bytes are read as tokens of four, and the answer.
pub(super) const USUAL_TOKENS: u64 = 640;

/// An account that starts runs.
#[derive(Debug, Clone)]
pub(crate) struct PlannedAccount {
    pub(crate) name: &'static str,
    /// Of ten runs, how many are its.
    share: usize,
}

/// A run that is to be.
#[derive(Debug, Clone)]
pub(super) struct PlannedRun {
    /// Which of the accounts.
    pub(super) account: usize,
    /// When it is posted, after the first.
    pub(super) at: Duration,
    pub(super) body: Value,
}

/// One that wants most, and four that want little.
pub(super) fn accounts() -> Vec<PlannedAccount> {
    let account = |name, share| PlannedAccount { name, share };
    vec![
        account("greedy", 6),
        account("modest-1", 1),
        account("modest-2", 1),
        account("modest-3", 1),
        account("modest-4", 1),
    ]
}

/// Draws as many runs as asked for, in the order in which they are posted.
pub(super) fn draw(options: &Options, accounts: &[PlannedAccount]) -> Vec<PlannedRun> {
    let mut dice = StdRng::seed_from_u64(options.seed);
    let shares = (0..).zip(accounts);
    let round: Vec<usize> = shares
        .flat_map(|(index, account)| std::iter::repeat_n(index, account.share))
        .collect();
    let mut whose: Vec<usize> = round.into_iter().cycle().take(options.runs).collect();
    whose.shuffle(&mut dice);
    let pause = options.posted_within.div_f64(options.runs.max(1) as f64);
    let numbered = (0_u32..).zip(whose);
    numbered
        .map(|(number, account)| PlannedRun {
            account,
            at: pause * number,
            body: draw_body(&mut dice),
        })
        .collect()
}

fn draw_body(dice: &mut StdRng) -> Value {
    let bytes = dice.random_range(INPUT);
    let mut input = String::new();
    while input.len() < bytes {
        input += WORDS.choose(dice).unwrap_or(&"word");
        input.push(' ');
    }
    let mut simulate = json!({
        "tokens": dice.random_range(OUTPUT),
        "tokens_per_second": 60,
        "first_token_ms": dice.random_range(100..600),
    });
    // A fifth of them makes two calls.
    if dice.random_bool(0.2) {
        simulate["tool_calls"] = json!([{"name": "now"}]);
    }
    json!({
        "input": input,
        "tools": ["now"],
        "limits": {"max_output_tokens": MOST_OUTPUT},
        "model_options": {"simulate": simulate},
    })
}
