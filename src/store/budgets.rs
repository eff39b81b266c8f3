//! Budgets as the tables keep them: what every database counts and decides alike.

use std::time::Duration;

use callboard_actors::ids::ModelCallId;
use callboard_actors::money::Money;
use callboard_actors::ports::StoreError;
use callboard_actors::ports::budgets::{
    Amount, Balance, BudgetPeriod, CallEstimate, Charge, HoldOutcome, NewHold, UsageRow,
};
use callboard_actors::time::Timestamp;
use jiff::SignedDuration;
use jiff::civil::Date;
use uuid::Uuid;

use crate::store::rows::{self, Columns};

/// The largest number that is counted, of whatever; sums stop there. What a float can hold exactly, because SQLite's only sum that never
/// fails is one.
pub(super) const MOST: i64 = (1 << 53) - 1;

/// So many charges of an account may be waiting before a hold folds them: few enough to sum them up at every hold, enough to write the
/// sums seldom.
pub(super) const MOST_TO_SUM_UP: u64 = 64;

/// Charges that one transaction folds.
pub(super) const FOLDED_AT_ONCE: u32 = 1000;

/// The numbers of a charge.
pub(super) const CHARGE_VALUES: usize = 9;

/// No hold's id.
pub(super) const NO_HOLD: ModelCallId = ModelCallId::from_uuid(Uuid::nil());

const EPOCH: Date = Date::constant(1970, 1, 1);

pub(super) fn counted(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(MOST).min(MOST)
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(MOST).min(MOST)
}

/// `cost_nanos`, `tokens`, `calls`, `call_micros`.
pub(super) fn amount_values(amount: &Amount) -> [i64; 4] {
    [
        counted(amount.cost.nanos()),
        counted(amount.tokens),
        counted(amount.calls),
        micros(amount.call_time),
    ]
}

/// `likely_input_tokens`, `likely_output_tokens`, `likely_cost_nanos`, `likely_call_micros`.
pub(super) fn estimate_values(estimate: &CallEstimate) -> [i64; 4] {
    [
        counted(estimate.usage.input_tokens),
        counted(estimate.usage.output_tokens),
        counted(estimate.cost.nanos()),
        micros(estimate.call_time),
    ]
}

/// `day`, `input_tokens`, `output_tokens`, `cached_input_tokens`, `cache_write_input_tokens`, `reasoning_tokens`, `cost_nanos`,
/// `call_micros`, `at`.
pub(super) fn charge_values(charge: &Charge) -> [i64; CHARGE_VALUES] {
    [
        day_number(charge.at.utc_day()),
        counted(charge.usage.input_tokens),
        counted(charge.usage.output_tokens),
        counted(charge.usage.cached_input_tokens),
        counted(charge.usage.cache_write_input_tokens),
        counted(charge.usage.reasoning_tokens),
        counted(charge.cost.nanos()),
        micros(charge.call_time),
        charge.at.as_micros(),
    ]
}

/// Days since 1970-01-01.
pub(super) fn day_number(day: Date) -> i64 {
    day.duration_since(EPOCH).as_hours() / 24
}

fn day(number: i64) -> Result<Date, StoreError> {
    let hours = number.checked_mul(24).ok_or_else(|| rows::damaged("day"))?;
    EPOCH
        .checked_add(SignedDuration::try_from_hours(hours).ok_or_else(|| rows::damaged("day"))?)
        .map_err(|_| rows::damaged("day"))
}

/// The first and the last day of a period; `None` of the one that never ends.
pub(super) fn days_of(period: BudgetPeriod, at: Timestamp) -> Option<(i64, i64)> {
    let first = period.first_day(at);
    let last = match period {
        BudgetPeriod::Day => first,
        BudgetPeriod::Month => first.last_of_month(),
        BudgetPeriod::Forever => return None,
    };
    Some((day_number(first), day_number(last)))
}

/// How an account stands, as a hold finds it.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) balance: Balance,
    /// Charges that are not folded.
    pub(super) to_fold: u64,
}

impl Standing {
    /// A row of `standing!`.
    pub(super) fn read(row: &impl Columns) -> Result<Self, StoreError> {
        let amount = |[cost, tokens, calls, call_time]: [&'static str; 4]| -> Result<Amount, StoreError> {
            Ok(Amount {
                cost: Money::from_nanos(rows::unsigned(row, cost)?),
                tokens: rows::unsigned(row, tokens)?,
                calls: rows::unsigned(row, calls)?,
                call_time: Duration::from_micros(rows::unsigned(row, call_time)?),
            })
        };
        Ok(Self {
            balance: Balance {
                used: amount(["used_cost_nanos", "used_tokens", "used_calls", "used_call_micros"])?,
                held: amount(["held_cost_nanos", "held_tokens", "held_calls", "held_call_micros"])?,
                topped_up: amount([
                    "topped_up_cost_nanos",
                    "topped_up_tokens",
                    "topped_up_calls",
                    "topped_up_call_micros",
                ])?,
            },
            to_fold: rows::unsigned(row, "to_fold")?,
        })
    }

    /// `None` if there is enough left.
    pub(super) fn refusal(&self, hold: &NewHold) -> Option<HoldOutcome> {
        let Balance { used, held, topped_up } = self.balance;
        let kind = hold.limits.exceeded_by(used.plus(held), hold.amount, topped_up)?;
        Some(HoldOutcome::Exhausted {
            kind,
            used,
            held,
            topped_up,
        })
    }

    /// Whether it is time to fold.
    pub(super) fn has_much_to_fold(&self) -> bool {
        self.to_fold >= MOST_TO_SUM_UP
    }
}

/// By day, account, model and provider, whatever the order of texts is in the database.
pub(super) fn usage_rows<Row: Columns>(found: &[Row]) -> Result<Vec<UsageRow>, StoreError> {
    let mut rows = found.iter().map(usage_row).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|one, other| {
        let other = (other.day, &other.account, &other.model, &other.provider);
        (one.day, &one.account, &one.model, &one.provider).cmp(&other)
    });
    Ok(rows)
}

fn usage_row(row: &impl Columns) -> Result<UsageRow, StoreError> {
    Ok(UsageRow {
        day: day(row.number("day")?)?,
        account: rows::account(row)?,
        model: row.text("model")?.to_owned(),
        provider: row.text("provider")?.to_owned(),
        calls: rows::unsigned(row, "calls")?,
        usage: rows::usage(row)?,
        cost: Money::from_nanos(rows::unsigned(row, "cost_nanos")?),
        call_time: Duration::from_micros(rows::unsigned(row, "call_micros")?),
    })
}
