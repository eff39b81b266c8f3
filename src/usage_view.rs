//! What was used, as `GET /api/v1/usage` and `callboard usage` show it: summed up by whatever somebody wants to know.

use std::collections::BTreeMap;
use std::time::Duration;

use callboard_actors::ids::AccountId;
use callboard_actors::item::Usage;
use callboard_actors::money::Money;
use callboard_actors::ports::budgets::UsageRow;
use jiff::civil::Date;
use serde::{Serialize, Serializer};

/// By what it is summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UsageDimension {
    Day,
    Account,
    Model,
    Provider,
}

/// What was used in some days, and all of it together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UsageView {
    object: &'static str,
    #[serde(serialize_with = "as_text")]
    pub(crate) from: Date,
    #[serde(serialize_with = "as_text")]
    pub(crate) to: Date,
    group_by: Vec<UsageDimension>,
    /// By day, account, model and provider, as far as they are shown.
    pub(crate) data: Vec<UsageGroup>,
    pub(crate) total: UsageSum,
}

/// What calls that have something in common used.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UsageGroup {
    #[serde(flatten)]
    pub(crate) key: UsageKey,
    #[serde(flatten)]
    pub(crate) sum: UsageSum,
}

/// What they have in common: `None` is not shown.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct UsageKey {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text_or_null")]
    pub(crate) day: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<AccountId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) provider: Option<String>,
}

/// What they used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct UsageSum {
    /// Model calls.
    pub(crate) calls: u64,
    pub(crate) usage: Usage,
    pub(crate) cost_usd: Money,
    /// One after the other, in whole milliseconds.
    #[serde(rename = "call_time_ms", serialize_with = "whole_milliseconds")]
    pub(crate) call_time: Duration,
}

impl UsageView {
    /// Sums up what was used from the first day to the last.
    pub(crate) fn of(rows: Vec<UsageRow>, from: Date, to: Date, mut group_by: Vec<UsageDimension>) -> Self {
        group_by.sort_unstable();
        let mut groups: BTreeMap<UsageKey, UsageSum> = BTreeMap::new();
        let mut total = UsageSum::default();
        for row in rows {
            let sum = UsageSum {
                calls: row.calls,
                usage: row.usage,
                cost_usd: row.cost,
                call_time: row.call_time,
            };
            total.add(&sum);
            groups.entry(UsageKey::of(row, &group_by)).or_default().add(&sum);
        }
        Self {
            object: "usage",
            from,
            to,
            group_by,
            data: groups.into_iter().map(|(key, sum)| UsageGroup { key, sum }).collect(),
            total,
        }
    }
}

impl UsageKey {
    fn of(row: UsageRow, group_by: &[UsageDimension]) -> Self {
        let shown = |dimension| group_by.contains(&dimension);
        Self {
            day: shown(UsageDimension::Day).then_some(row.day),
            account: shown(UsageDimension::Account).then_some(row.account),
            model: shown(UsageDimension::Model).then_some(row.model),
            provider: shown(UsageDimension::Provider).then_some(row.provider),
        }
    }
}

impl UsageSum {
    fn add(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.usage += other.usage;
        self.cost_usd += other.cost_usd;
        self.call_time = self.call_time.saturating_add(other.call_time);
    }
}

fn as_text<S: Serializer>(day: &Date, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(day)
}

#[expect(clippy::ref_option, reason = "serde hands out references")]
fn as_text_or_null<S: Serializer>(day: &Option<Date>, serializer: S) -> Result<S::Ok, S::Error> {
    match day {
        Some(day) => serializer.collect_str(day),
        None => serializer.serialize_none(),
    }
}

fn whole_milliseconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use serde_json::{Value, json};

    use super::*;

    fn row(day: i8, account: &str, model: &str, provider: &str, calls: u64) -> UsageRow {
        UsageRow {
            day: date(2028, 2, day),
            account: account.parse().expect("an account"),
            model: model.into(),
            provider: provider.into(),
            calls,
            usage: Usage {
                cached_input_tokens: calls,
                ..Usage::of(10 * calls, calls)
            },
            cost: Money::from_nanos(500_000_000 * calls),
            call_time: Duration::from_micros(1500 * calls),
        }
    }

    fn shown(group_by: &[UsageDimension]) -> Value {
        let rows = vec![
            row(1, "zeta", "fast", "b", 1),
            row(1, "acme", "fast", "b", 2),
            row(2, "acme", "slow", "b", 4),
            row(2, "acme", "fast", "a", 8),
        ];
        let view = UsageView::of(rows, date(2028, 2, 1), date(2028, 2, 29), group_by.to_vec());
        serde_json::to_value(view).expect("JSON")
    }

    #[test]
    fn rows_that_have_the_same_in_common_are_one() {
        let calls = |group_by: &[UsageDimension]| -> Vec<u64> {
            let view = shown(group_by);
            let data = view["data"].as_array().expect("a list");
            let calls = data.iter().map(|group| group["calls"].as_u64().expect("a count"));
            calls.collect()
        };
        use UsageDimension::{Account, Day, Model, Provider};
        assert_eq!(calls(&[Day]), [3, 12]);
        assert_eq!(calls(&[Account]), [14, 1]);
        assert_eq!(calls(&[Provider]), [8, 7]);
        assert_eq!(calls(&[Model, Day]), [3, 8, 4]);
        assert_eq!(calls(&[Day, Account, Model, Provider]), [2, 1, 8, 4]);
        assert_eq!(calls(&[]), [15]);
    }

    #[test]
    fn only_what_was_asked_for_is_shown() {
        let sum = json!({
            "calls": 4, "usage": {"input_tokens": 40, "output_tokens": 4, "cached_input_tokens": 4},
            "cost_usd": 2.0, "call_time_ms": 6
        });
        let mut group = sum.clone();
        group["day"] = json!("2028-02-02");
        group["model"] = json!("slow");
        let view = shown(&[UsageDimension::Model, UsageDimension::Day]);
        assert_eq!(view["data"][2], group);
        assert_eq!(view["group_by"], json!(["day", "model"]));
        assert_eq!(
            (&view["from"], &view["to"]),
            (&json!("2028-02-01"), &json!("2028-02-29"))
        );
        assert_eq!(
            (&view["object"], &view["total"]["cost_usd"]),
            (&json!("usage"), &json!(7.5))
        );
        assert_eq!(view["total"]["call_time_ms"], 22);
    }
}
