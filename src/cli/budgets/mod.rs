//! `callboard budgets show|top-up`, on whatever store it is given.

use std::io::{self, Write};
use std::time::Duration;

use callboard_actors::ids::{AccountId, ModelCallId};
use callboard_actors::llm::AccountBudget;
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::{Amount, BudgetPeriod, TopUp};
use callboard_actors::ports::{Budgets, Store, StoreError};
use callboard_actors::time::Timestamp;
use clap::{Args, Subcommand};

use super::text::{grouped, table};
use crate::budget_view::{AmountView, BudgetView, PeriodView};
use crate::config::{Config, LOCAL_TIER, parse_duration};

/// What to do with the budgets.
#[derive(Debug, Clone, Subcommand)]
pub enum BudgetsCommand {
    /// Show what an account may use, has used and has left
    Show {
        /// Whose budget
        #[arg(long)]
        account: AccountId,
        /// As JSON, in the form of `GET /api/v1/budget`
        #[arg(long)]
        json: bool,
    },
    /// Give an account more, in the period that goes on; runs that wait for it go on
    TopUp(TopUpArguments),
}

/// How much more, and for whom.
#[derive(Debug, Clone, Args)]
pub struct TopUpArguments {
    /// Whose budget
    #[arg(long)]
    account: AccountId,
    #[command(flatten)]
    more: More,
}

/// An amount of each kind that is limited.
#[derive(Debug, Clone, Default, Args)]
#[group(required = true, multiple = true)]
struct More {
    /// US dollars
    #[arg(long, value_name = "DOLLARS", value_parser = dollars)]
    cost_usd: Option<Money>,
    /// Tokens, read and written
    #[arg(long, value_name = "COUNT")]
    tokens: Option<u64>,
    /// Model calls
    #[arg(long, value_name = "COUNT")]
    calls: Option<u64>,
    /// How long calls take, one after the other, such as 1h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    call_time: Option<Duration>,
}

fn dollars(text: &str) -> Result<Money, String> {
    let dollars = text.parse().ok().and_then(Money::from_dollars);
    dollars.ok_or_else(|| format!("an amount of dollars is a number from 0 to {}", Money::MAX.dollars()))
}

impl More {
    fn amount(&self) -> Amount {
        Amount {
            cost: self.cost_usd.unwrap_or_default(),
            tokens: self.tokens.unwrap_or_default(),
            calls: self.calls.unwrap_or_default(),
            call_time: self.call_time.unwrap_or_default(),
        }
    }
}

/// Why a command on budgets was not done. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum BudgetsError {
    /// No such account.
    #[error("there is no account {0}: it has no API key, and none that was revoked")]
    UnknownAccount(AccountId),
    /// Its tier has no budget.
    #[error(
        "{account} has no budget: its tier {tier} has no [tiers.{tier}.budget], and there is nothing to give it more of"
    )]
    NoBudget {
        /// Whose.
        account: AccountId,
        /// Its tier.
        tier: String,
    },
    /// The store did not do it.
    #[error("the store did not do it")]
    Store(#[from] StoreError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Does it at this time, and prints to `output`.
///
/// # Errors
/// See [`BudgetsError`].
pub async fn run(
    command: BudgetsCommand,
    config: &Config,
    (store, budgets): (&dyn Store, &dyn Budgets),
    at: Timestamp,
    output: &mut impl Write,
) -> Result<(), BudgetsError> {
    let account = match &command {
        BudgetsCommand::Show { account, .. } => account.clone(),
        BudgetsCommand::TopUp(arguments) => arguments.account.clone(),
    };
    let tier = tier_of(&account, store).await?;
    let budget = config.tiers.get(&tier).and_then(|tier| tier.budget);
    let is_json = match command {
        BudgetsCommand::Show { json, .. } => json,
        BudgetsCommand::TopUp(arguments) => {
            if budget.is_none() {
                return Err(BudgetsError::NoBudget { account, tier });
            }
            let top_up = TopUp {
                id: ModelCallId::new(),
                account: account.clone(),
                amount: arguments.more.amount(),
                at,
            };
            budgets.top_up(top_up).await?;
            false
        }
    };
    let view = view_of(account, tier, budget, budgets, at).await?;
    if is_json {
        serde_json::to_writer_pretty(&mut *output, &view).map_err(io::Error::from)?;
        return Ok(writeln!(output)?);
    }
    Ok(print(&view, output)?)
}

/// An account's tier is that of its keys.
async fn tier_of(account: &AccountId, store: &dyn Store) -> Result<String, BudgetsError> {
    let keys = store.list_keys().await?;
    match keys.iter().rfind(|key| key.account == *account) {
        Some(key) => Ok(key.tier.clone()),
        None if *account == AccountId::local() => Ok(LOCAL_TIER.to_owned()),
        None => Err(BudgetsError::UnknownAccount(account.clone())),
    }
}

async fn view_of(
    account: AccountId,
    tier: String,
    budget: Option<AccountBudget>,
    budgets: &dyn Budgets,
    at: Timestamp,
) -> Result<BudgetView, BudgetsError> {
    let Some(budget) = budget else {
        return Ok(BudgetView::unlimited(account, tier));
    };
    let balance = budgets.balance(&account, budget.limits.period, at).await?;
    Ok(BudgetView::of(account, tier, &budget, &balance, at))
}

fn print(view: &BudgetView, output: &mut impl Write) -> io::Result<()> {
    let (account, tier) = (&view.account, &view.tier);
    let Some(budget) = &view.budget else {
        return writeln!(
            output,
            "{account} (tier {tier}) has no budget: it may use what it likes."
        );
    };
    let period = match budget.period {
        BudgetPeriod::Day => "today (UTC)",
        BudgetPeriod::Month => "this month (UTC)",
        BudgetPeriod::Forever => "for ever",
    };
    writeln!(output, "{account} (tier {tier}), {period}")?;
    let headings = ["", "limit", "topped up", "used", "held", "left"];
    writeln!(output, "{}", table(headings, rows(budget), &[1, 2, 3, 4, 5]))
}

fn rows(budget: &PeriodView) -> Vec<[String; 6]> {
    fn row<T>(
        kind: &str,
        (limit, left): (Option<T>, Option<T>),
        of: impl Fn(&AmountView) -> T,
        budget: &PeriodView,
        show: impl Fn(T) -> String,
    ) -> [String; 6] {
        let or_none = |amount: Option<T>| amount.map_or("no limit".to_owned(), &show);
        [
            kind.to_owned(),
            or_none(limit),
            show(of(&budget.topped_up)),
            show(of(&budget.used)),
            show(of(&budget.held)),
            or_none(left),
        ]
    }
    let (limits, left) = (&budget.limits, &budget.left);
    let time = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    let money = |money: Money| money.to_string();
    vec![
        row(
            "cost",
            (limits.cost_usd, left.cost_usd),
            |of| of.cost_usd,
            budget,
            money,
        ),
        row("tokens", (limits.tokens, left.tokens), |of| of.tokens, budget, grouped),
        row("calls", (limits.calls, left.calls), |of| of.calls, budget, grouped),
        row(
            "call time",
            (limits.call_time, left.call_time),
            |of| of.call_time,
            budget,
            time,
        ),
    ]
}
