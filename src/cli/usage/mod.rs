//! `callboard usage`: what accounts have used, as their store has it. It asks the store itself, so it answers also when no server does.

use std::io::{self, Write};

use callboard_actors::ids::AccountId;
use callboard_actors::ports::budgets::UsageQuery;
use callboard_actors::ports::{Budgets, StoreError};
use callboard_actors::time::Timestamp;
use clap::Args;
use comfy_table::ContentArrangement;
use jiff::civil::Date;

use super::text::{grouped, table};
use crate::usage_view::{UsageDimension, UsageGroup, UsageSum, UsageView};

/// Columns of a terminal. An account may have a long name: it is broken, not the table.
const WIDTH: u16 = 80;

/// Whose usage to show, and of when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct UsageArguments {
    /// Only of this account [default: of all]
    #[arg(long)]
    account: Option<AccountId>,
    /// The first day, in UTC [default: the first of the month that the last day is in]
    #[arg(long, value_name = "DAY")]
    from: Option<Date>,
    /// The last day, in UTC [default: today]
    #[arg(long, value_name = "DAY")]
    to: Option<Date>,
    /// As JSON, in the form of `GET /api/v1/usage`, by account and provider as well
    #[arg(long)]
    json: bool,
}

/// Why usage was not shown. `Display` is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The days are the wrong way round.
    #[error("--from {from} is after --to {to}")]
    NoDays {
        /// The first day.
        from: Date,
        /// The last day.
        to: Date,
    },
    /// The store did not say it.
    #[error("the store did not say it")]
    Store(#[from] StoreError),
    /// Nobody reads what we print.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// Prints to `output` what was used until `now`, if nothing else is asked for.
///
/// # Errors
/// See [`UsageError`].
pub async fn run(
    arguments: UsageArguments,
    budgets: &dyn Budgets,
    now: Timestamp,
    output: &mut impl Write,
) -> Result<(), UsageError> {
    let to = arguments.to.unwrap_or(now.utc_day());
    let from = arguments.from.unwrap_or(to.first_of_month());
    if from > to {
        return Err(UsageError::NoDays { from, to });
    }
    let account = arguments.account;
    let rows = budgets.usage(UsageQuery { account, from, to }).await?;
    let mut group_by = vec![UsageDimension::Day, UsageDimension::Account, UsageDimension::Model];
    if arguments.json {
        group_by.push(UsageDimension::Provider);
        let view = UsageView::of(rows, from, to, group_by);
        serde_json::to_writer_pretty(&mut *output, &view).map_err(io::Error::from)?;
        return Ok(writeln!(output)?);
    }
    Ok(print(&UsageView::of(rows, from, to, group_by), output)?)
}

fn print(view: &UsageView, output: &mut impl Write) -> io::Result<()> {
    if view.data.is_empty() {
        return writeln!(output, "No model was called from {} to {} (UTC).", view.from, view.to);
    }
    let mut rows: Vec<[String; 6]> = view.data.iter().map(row).collect();
    rows.push(row_of("total".to_owned(), String::new(), &view.total));
    let headings = ["day (UTC)", "account · model", "calls", "tokens in", "out", "cost"];
    let mut table = table(headings, rows, &[2, 3, 4, 5]);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    writeln!(output, "{table}")
}

fn row(group: &UsageGroup) -> [String; 6] {
    let day = group.key.day.map(|day| day.to_string()).unwrap_or_default();
    let account = group.key.account.as_ref().map_or("", AccountId::as_str);
    let model = group.key.model.as_deref().unwrap_or_default();
    row_of(day, format!("{account} · {model}"), &group.sum)
}

fn row_of(day: String, what: String, sum: &UsageSum) -> [String; 6] {
    [
        day,
        what,
        grouped(sum.calls),
        grouped(sum.usage.input_tokens),
        grouped(sum.usage.output_tokens),
        sum.cost_usd.to_string(),
    ]
}

#[cfg(test)]
mod tests;
