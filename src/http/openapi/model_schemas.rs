//! What the server says of models, keys and budgets, as the document describes it.

use serde::Deserialize;
use utoipa::ToSchema;

/// The models that a run may name.
#[derive(Deserialize, ToSchema)]
pub(super) struct Models {
    /// Always `models`.
    object: String,
    /// The model of a run that names none.
    default_model: String,
    /// By name.
    data: Vec<Model>,
}

/// A model.
#[derive(Deserialize, ToSchema)]
pub(super) struct Model {
    name: String,
    /// No real model is ever asked.
    simulated: bool,
    choice: Choice,
    /// Who may answer.
    targets: Vec<ModelTarget>,
    /// What `model_options` may have in it: what all targets take.
    options: Vec<String>,
    /// Whether answers of temperature 0 are given again.
    cached: bool,
}

/// `ordered`: the first target that has room and answers. `weighted`: at random, by weight.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Choice {
    Ordered,
    Weighted,
}

/// A model of a provider.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelTarget {
    provider: String,
    /// The provider's name for the model.
    model: String,
    weight: u32,
    /// `null` if none is configured.
    #[schema(required)]
    price: Option<ModelPrice>,
    simulated: bool,
}

/// US dollars for a million tokens.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelPrice {
    input: f64,
    cached_input: f64,
    /// Of input that the provider puts into its cache.
    cache_write: f64,
    output: f64,
}

/// How things stand with the keys of every provider that some model asks.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelKeys {
    /// Always `model_keys`.
    object: String,
    data: Vec<ModelProvider>,
}

/// A provider.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelProvider {
    provider: String,
    /// `openai`, `openai-responses`, `anthropic` or `simulated`.
    dialect: String,
    circuit: ModelCircuit,
    /// One of all its keys; one for each model where each model has limits of its own.
    pools: Vec<KeyPool>,
}

/// Whether the provider is left alone because it failed again and again; as this instance sees it.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelCircuit {
    state: CircuitState,
    /// Until one call may try again.
    #[schema(required)]
    open_for_ms: Option<u64>,
}

/// `closed`: it is asked. `open`: it is not. `half_open`: one call tries it.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum CircuitState {
    Closed,
    Open,
    HalfOpen,
}

/// Keys that a call can be made with.
#[derive(Deserialize, ToSchema)]
pub(super) struct KeyPool {
    /// The only model that they are counted for; `null` is all.
    #[schema(required)]
    model: Option<String>,
    reach: LimitsReach,
    /// With reach `share`: how many share what the keys allow.
    #[schema(required)]
    sharing_instances: Option<u32>,
    /// Calls of this instance that wait for room.
    waiting: u64,
    keys: Vec<ModelKey>,
}

/// Who counts. `instance`: this one alone. `fleet`: all instances together. `share`: all usually, but what they share cannot be
/// reached, and each keeps to its share.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum LimitsReach {
    Instance,
    Fleet,
    Share,
}

/// A key.
#[derive(Deserialize, ToSchema)]
pub(super) struct ModelKey {
    /// Its place in the configuration, from 1.
    number: u64,
    /// `null` if there is none, or it is too short to show any of it.
    #[schema(required)]
    last_four: Option<String>,
    limits: KeyLimits,
    used: KeyUse,
    /// It met a limit (429) and is not used for so long.
    #[schema(required)]
    cooling_for_ms: Option<u64>,
    /// The provider does not take it (401, 403); for so long it is not tried again.
    #[schema(required)]
    refused_for_ms: Option<u64>,
    recent: RecentCalls,
}

/// The limits that count: those of the configuration, or the provider's where they are lower; `null` is none.
#[derive(Deserialize, ToSchema)]
pub(super) struct KeyLimits {
    #[schema(required)]
    requests_per_minute: Option<u64>,
    #[schema(required)]
    tokens_per_minute: Option<u64>,
    #[schema(required)]
    concurrent_calls: Option<u64>,
}

/// What is used of them: in the last minute and under way.
#[derive(Deserialize, ToSchema)]
pub(super) struct KeyUse {
    requests: u64,
    tokens: u64,
    concurrent_calls: u64,
}

/// How calls of this instance went with it.
#[derive(Deserialize, ToSchema)]
pub(super) struct RecentCalls {
    /// In so many minutes.
    minutes: u64,
    calls: u64,
    /// By the fault of the provider or the key.
    failed: u64,
    /// Those of them that were answered 429.
    rate_limited: u64,
    /// The last one ever.
    #[schema(required)]
    last_failure: Option<CallFailure>,
}

/// A call that failed.
#[derive(Deserialize, ToSchema)]
pub(super) struct CallFailure {
    at: String,
    message: String,
}

/// What the account's model calls may use.
#[derive(Deserialize, ToSchema)]
pub(super) struct Budget {
    /// Always `budget`.
    object: String,
    account: String,
    tier: String,
    /// `null`: the tier has none.
    #[schema(required)]
    budget: Option<BudgetPeriod>,
}

/// A budget in the period that goes on.
#[derive(Deserialize, ToSchema)]
pub(super) struct BudgetPeriod {
    period: PeriodName,
    /// The first day, UTC.
    #[schema(required)]
    from: Option<String>,
    /// When the count begins anew.
    #[schema(required)]
    ends_at: Option<String>,
    /// `fail`: runs fail with `budget_exceeded`. `wait`: they wait.
    when_exhausted: String,
    limits: BudgetLimits,
    used: BudgetAmount,
    /// Held for calls under way.
    held: BudgetAmount,
    /// Given beside the limits.
    topped_up: BudgetAmount,
    /// Limits and top-ups, less what is used and held.
    left: BudgetLimits,
}

/// How long a period is. Days and months are those of UTC.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PeriodName {
    Day,
    Month,
    Forever,
}

/// `null` is no limit of this kind.
#[derive(Deserialize, ToSchema)]
pub(super) struct BudgetLimits {
    #[schema(required)]
    cost_usd: Option<f64>,
    #[schema(required)]
    tokens: Option<u64>,
    #[schema(required)]
    calls: Option<u64>,
    #[schema(required)]
    call_time_ms: Option<u64>,
}

/// An amount of each kind.
#[derive(Deserialize, ToSchema)]
pub(super) struct BudgetAmount {
    cost_usd: f64,
    tokens: u64,
    calls: u64,
    call_time_ms: u64,
}
