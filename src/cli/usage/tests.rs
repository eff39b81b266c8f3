//! Made-up usage, as it is shown.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::ModelCallId;
use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::{Balance, BudgetPeriod, HoldOutcome, NewHold, TopUp, UsageRow};
use clap::Parser;
use jiff::civil::date;
use serde_json::{Value, json};

use super::*;

/// Says this, and keeps what it was asked.
#[derive(Default)]
struct Told {
    rows: Vec<UsageRow>,
    asked: Mutex<Option<UsageQuery>>,
}

fn usage_only<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("only usage is known here".into()))
}

#[async_trait]
impl Budgets for Told {
    async fn hold(&self, _hold: NewHold) -> Result<HoldOutcome, StoreError> {
        usage_only()
    }

    async fn release(&self, _hold: ModelCallId) -> Result<(), StoreError> {
        usage_only()
    }

    async fn top_up(&self, _top_up: TopUp) -> Result<(), StoreError> {
        usage_only()
    }

    async fn balance(&self, _of: &AccountId, _period: BudgetPeriod, _at: Timestamp) -> Result<Balance, StoreError> {
        usage_only()
    }

    async fn usage(&self, query: UsageQuery) -> Result<Vec<UsageRow>, StoreError> {
        *self.asked.lock().expect("no panic") = Some(query);
        Ok(self.rows.clone())
    }

    async fn fold_charges(&self, _before: Timestamp, _limit: u32) -> Result<u64, StoreError> {
        usage_only()
    }
}

fn row(account: &str, model: &str, provider: &str, calls: u64) -> UsageRow {
    UsageRow {
        day: date(2028, 2, 29),
        account: account.parse().expect("a name"),
        model: model.into(),
        provider: provider.into(),
        calls,
        usage: Usage::of(1_234_567 * calls, 1_000 * calls),
        cost: Money::from_nanos(1_250_000_000 * calls),
        call_time: Duration::from_secs(calls),
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: UsageArguments,
}

/// What the command prints at noon of a leap day, and what it asked for.
async fn output_of(rows: Vec<UsageRow>, line: &[&str]) -> Result<(String, UsageQuery), UsageError> {
    let line = [&["usage"], line].concat();
    let arguments = Line::try_parse_from(line).expect("it parses").arguments;
    let told = Told {
        rows,
        ..Told::default()
    };
    let noon = Timestamp::from_micros(1_835_438_400_000_000);
    let mut output = Vec::new();
    run(arguments, &told, noon, &mut output).await?;
    let asked = told.asked.lock().expect("no panic").take();
    Ok((String::from_utf8(output).expect("UTF-8"), asked.expect("it asked")))
}

#[tokio::test]
async fn a_table_sums_up_the_providers_of_a_model_and_everything() {
    let long_name = "an-account-with-a-name-as-long-as-a-name-may-be-which-is-64-byte";
    let rows = vec![
        row("acme", "fast", "a", 1),
        row("acme", "fast", "b", 2),
        row(long_name, "slow", "b", 1),
    ];
    let (text, asked) = output_of(rows, &[]).await.expect("shown");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let words: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let has = |words_of_line: &[&str]| {
        words
            .iter()
            .any(|words| words.windows(words_of_line.len()).any(|part| part == words_of_line))
    };
    assert!(
        has(&["2028-02-29", "acme", "·", "fast", "3", "3,703,701", "3,000", "$3.75"]),
        "{text}"
    );
    assert!(has(&["total", "4", "4,938,268", "4,000", "$5.00"]), "{text}");
    assert_eq!(
        (asked.account, asked.from, asked.to),
        (None, date(2028, 2, 1), date(2028, 2, 29))
    );
}

#[tokio::test]
async fn json_has_the_providers_too() {
    let rows = vec![row("acme", "fast", "a", 1), row("acme", "fast", "b", 2)];
    let line = ["--json", "--account", "acme", "--from", "2028-01-15"];
    let (text, asked) = output_of(rows, &line).await.expect("shown");
    let view: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(view["group_by"], json!(["day", "account", "model", "provider"]));
    assert_eq!(view["data"][1]["provider"], "b");
    assert_eq!(
        (&view["data"][1]["account"], &view["total"]["calls"]),
        (&json!("acme"), &json!(3))
    );
    assert_eq!(asked.account.as_ref().map(AccountId::as_str), Some("acme"));
    assert_eq!((asked.from, asked.to), (date(2028, 1, 15), date(2028, 2, 29)));
}

#[tokio::test]
async fn nothing_used_is_said_in_words() {
    let (text, _) = output_of(Vec::new(), &["--to", "2028-01-31"]).await.expect("shown");
    assert_eq!(text, "No model was called from 2028-01-01 to 2028-01-31 (UTC).\n");
}

#[tokio::test]
async fn days_the_wrong_way_round_are_wrong_input() {
    let error = output_of(Vec::new(), &["--from", "2028-03-01"])
        .await
        .expect_err("no days");
    assert_eq!(error.to_string(), "--from 2028-03-01 is after --to 2028-02-29");
    assert_eq!(crate::cli::exit_code(&error.into()), crate::cli::EXIT_WRONG_INPUT);
}
