//! What runs there are, and what clients do with them: drawn from the seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Options;

/// The words of answers.
const WORDS: [&str; 12] = [
    "whatever", "breaks", "on", "the", "way", "nobody", "who", "reads", "along", "loses", "a", "word",
];

/// An account that starts runs.
#[derive(Debug, Clone)]
pub(super) struct PlannedAccount {
    pub(super) name: String,
    pub(super) tier: String,
    /// Runs it may have in `running`; `None` is no limit.
    pub(super) limit: Option<u32>,
}

/// What a run is to end as.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ending {
    /// `completed`, with this output.
    Completed(String),
    /// `failed`, with this code.
    Failed(&'static str),
}

/// A run that is to be.
#[derive(Debug, Clone)]
pub(super) struct PlannedRun {
    /// Which of the accounts.
    pub(super) account: usize,
    /// After the first start of a run.
    pub(super) at: Duration,
    pub(super) body: Value,
    /// What becomes of it unless it is cancelled before.
    pub(super) ending: Ending,
    /// Cancelled so long after its client has its id.
    pub(super) cancelled_after: Option<Duration>,
    /// Started twice at once, under one idempotency key.
    pub(super) is_started_twice: bool,
    /// Clients that follow it from its beginning.
    pub(super) followers: usize,
}

/// How long a run takes, roughly, when nothing is in its way and nothing slows it down.
const USUAL_DURATION: Duration = Duration::from_millis(1200);
/// How much more the load is than the fleet can bear at once.
const OVERLOAD: f64 = 1.3;

/// Accounts of several tiers: their limits are below what they ask for, but for the last.
pub(super) fn accounts() -> Vec<PlannedAccount> {
    let limited = [1, 1, 2, 3, 5].map(Some);
    let limits = limited.into_iter().chain([None]).enumerate();
    let account = |(index, limit): (usize, Option<u32>)| PlannedAccount {
        name: format!("account-{}", index + 1),
        tier: limit.map_or("unlimited".to_owned(), |limit| format!("up-to-{limit}")),
        limit,
    };
    limits.map(account).collect()
}

/// How long it takes to start all runs, and how many times longer than usual each has to take so that the fleet is full all that time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) span: Duration,
    slowness: f64,
}

impl Pace {
    pub(super) fn of(options: &Options) -> Self {
        let capacity = f64::from(options.capacity) * options.instances as f64;
        let for_runs = USUAL_DURATION.mul_f64(options.runs.max(1) as f64 / capacity / OVERLOAD);
        // Room for each fault to come about and to heal.
        let for_faults = options.lease.mul_f64(1.5 * options.faults as f64);
        let span = for_runs.max(for_faults);
        Self {
            span,
            slowness: span.div_duration_f64(for_runs),
        }
    }

    fn milliseconds(self, usual: u32) -> u64 {
        (f64::from(usual) * self.slowness) as u64
    }

    fn tokens_per_second(self, usual: f64) -> u64 {
        ((usual / self.slowness) as u64).max(1)
    }
}

/// Draws as many runs as asked for, in the order of their starts.
pub(super) fn draw(options: &Options, accounts: &[PlannedAccount], pace: Pace) -> Vec<PlannedRun> {
    let mut dice = StdRng::seed_from_u64(options.seed ^ 0x4075);
    // Each account asks for a bit more than it may have.
    let shares = accounts.iter().map(|account| account.limit.unwrap_or(6));
    let shares: Vec<(usize, u32)> = shares.enumerate().collect();
    let mut runs = Vec::with_capacity(options.runs);
    for _ in 0..options.runs {
        let account = shares.choose_weighted(&mut dice, |share| share.1);
        let account = account.map_or(0, |share| share.0);
        let at = pace.span.mul_f64(dice.random_range(0.0..1.0));
        runs.push(draw_run(&mut dice, account, at, pace));
    }
    runs.sort_by_key(|run| run.at);
    runs
}

fn draw_run(dice: &mut StdRng, account: usize, at: Duration, pace: Pace) -> PlannedRun {
    let count = dice.random_range(8..40);
    let text: Vec<&str> = (0..count).map(|_| *WORDS.choose(dice).unwrap_or(&"word")).collect();
    let text = text.join(" ");
    let mut simulate = json!({
        "text": text,
        "tokens_per_second": pace.tokens_per_second(dice.random_range(20.0..80.0)),
        "first_token_ms": pace.milliseconds(dice.random_range(0..300)),
    });
    let mut ending = Ending::Completed(format!("[simulated] {text}"));
    match dice.random_range(0..20) {
        // Plain answers.
        0..8 => {}
        // Tools.
        8..17 => {
            simulate["tool_calls"] = tool_calls(dice, pace);
            simulate["tool_rounds"] = dice.random_range(1..4).into();
        }
        // The provider breaks off in the middle of its first try.
        17 => simulate["fail"] = json!({"kind": "break", "after_tokens": 4, "attempts": 1}),
        // It is overloaded at first.
        18 => simulate["fail"] = json!({"kind": "status", "status": 503, "attempts": 2}),
        // It refuses.
        _ => {
            simulate["fail"] = json!({"kind": "status", "status": 400});
            ending = Ending::Failed("model_rejected");
        }
    }
    let cancelled_after = dice
        .random_bool(0.15)
        .then(|| Duration::from_millis(pace.milliseconds(dice.random_range(0..1500))));
    PlannedRun {
        account,
        at,
        body: json!({
            "input": "Go on, whatever happens.",
            "tools": ["now", "echo", "wait"],
            "model_options": {"simulate": simulate},
        }),
        ending,
        cancelled_after,
        is_started_twice: dice.random_bool(0.15),
        followers: if dice.random_bool(0.3) { 2 } else { 1 },
    }
}

fn tool_calls(dice: &mut StdRng, pace: Pace) -> Value {
    let count = dice.random_range(1..4);
    let calls = (0..count).map(|_| match dice.random_range(0..4) {
        0 => json!({"name": "now"}),
        1 => json!({"name": "echo", "arguments": {"text": "echo ", "repeat": dice.random_range(1..50)}}),
        _ => json!({"name": "wait", "arguments": {"milliseconds": pace.milliseconds(dice.random_range(0..400))}}),
    });
    calls.collect()
}
