//! `[tiers.<name>.budget]`: what the model calls of each of a tier's accounts may use.

use std::time::Duration;

use callboard_actors::llm::{AccountBudget, WhenExhausted};
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::{BudgetLimits, BudgetPeriod};
use serde::Deserialize;

use super::resolve::{Contradictions, refuse};
use super::values;

/// A budget's table as it is written: each key may be left out, so that each can be judged on its own.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BudgetTable {
    period: Option<BudgetPeriod>,
    cost_usd: Option<Money>,
    tokens: Option<u64>,
    calls: Option<u64>,
    #[serde(deserialize_with = "values::optional_duration")]
    call_time: Option<Duration>,
    when_exhausted: Option<WhenExhaustedName>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WhenExhaustedName {
    Fail,
    Wait,
}

impl BudgetTable {
    /// The budget in the table with this key.
    pub(super) fn resolve(&self, table_key: &str, wrong: &mut Contradictions) -> Option<AccountBudget> {
        let Some(period) = self.period else {
            let message = "is missing; it must be \"day\", \"month\" or \"forever\"";
            refuse(wrong, &[&format!("{table_key}.period")], message);
            return None;
        };
        let limits = BudgetLimits {
            period,
            cost: values::none_if_zero(self.cost_usd),
            tokens: values::none_if_zero(self.tokens),
            calls: values::none_if_zero(self.calls),
            call_time: values::none_if_zero(self.call_time),
        };
        if limits.cost.is_none() && limits.tokens.is_none() && limits.calls.is_none() && limits.call_time.is_none() {
            let message = "limits nothing: set cost_usd, tokens, calls or call_time, or leave the table out";
            refuse(wrong, &[table_key], message);
            return None;
        }
        Some(AccountBudget {
            limits,
            when_exhausted: match self.when_exhausted {
                Some(WhenExhaustedName::Wait) => WhenExhausted::Wait,
                Some(WhenExhaustedName::Fail) | None => WhenExhausted::Fail,
            },
        })
    }
}
