//! What accounts use, as the document describes it.

use serde::Deserialize;
use utoipa::ToSchema;

use super::run_schemas::Usage;

/// What the account has used.
#[derive(Deserialize, ToSchema)]
pub(super) struct AccountUsage {
    /// Always `usage`.
    object: String,
    /// The first day, in UTC.
    #[schema(format = Date)]
    from: String,
    /// The last day.
    #[schema(format = Date)]
    to: String,
    /// What the entries of `data` have.
    group_by: Vec<UsageDimension>,
    /// By day, model and provider. What was not used is not there.
    data: Vec<UsageGroup>,
    /// All of it.
    total: UsageSum,
}

/// By what usage is summed up.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum UsageDimension {
    Day,
    Model,
    Provider,
}

/// What the calls of a day, to a model, or to a provider have used.
#[derive(Deserialize, ToSchema)]
pub(super) struct UsageGroup {
    /// In UTC; only with `day` in `group_by`.
    #[schema(format = Date)]
    day: Option<String>,
    /// The name that runs asked for; only with `model` in `group_by`.
    model: Option<String>,
    /// Who answered, as `config.toml` names it; only with `provider` in `group_by`.
    provider: Option<String>,
    /// Model calls.
    calls: u64,
    usage: Usage,
    /// US dollars, by the prices in `config.toml`.
    cost_usd: f64,
    /// How long the calls took, one after the other, in milliseconds.
    call_time_ms: u64,
}

/// What calls have used.
#[derive(Deserialize, ToSchema)]
pub(super) struct UsageSum {
    /// Model calls.
    calls: u64,
    usage: Usage,
    /// US dollars, by the prices in `config.toml`.
    cost_usd: f64,
    /// How long the calls took, one after the other, in milliseconds.
    call_time_ms: u64,
}
