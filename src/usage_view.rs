//! What was used on a day, as `GET /api/v1/usage` and `callboard budgets usage` tell of it.

use std::time::Duration;

use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::UsageRow;
use serde::Serialize;

use crate::json_durations::whole_milliseconds;

/// What an account used of a model of a provider on a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UsageRowView {
    /// UTC.
    pub(crate) day: String,
    /// The name that was asked for.
    pub(crate) model: String,
    /// Who answered.
    pub(crate) provider: String,
    #[serde(flatten)]
    pub(crate) used: UsedView,
}

/// How much it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct UsedView {
    pub(crate) calls: u64,
    pub(crate) usage: Usage,
    pub(crate) cost_usd: Money,
    #[serde(rename = "call_time_ms", serialize_with = "whole_milliseconds")]
    pub(crate) call_time: Duration,
}

impl UsageRowView {
    pub(crate) fn of(row: &UsageRow) -> Self {
        Self {
            day: row.day.to_string(),
            model: row.model.clone(),
            provider: row.provider.clone(),
            used: UsedView::of(row),
        }
    }
}

impl UsedView {
    fn of(row: &UsageRow) -> Self {
        Self {
            calls: row.calls,
            usage: row.usage,
            cost_usd: row.cost,
            call_time: row.call_time,
        }
    }

    /// All rows together.
    pub(crate) fn sum_of(rows: &[UsageRow]) -> Self {
        let mut sum = Self::default();
        for row in rows {
            sum.calls = sum.calls.saturating_add(row.calls);
            sum.usage += row.usage;
            sum.cost_usd += row.cost;
            sum.call_time = sum.call_time.saturating_add(row.call_time);
        }
        sum
    }
}
