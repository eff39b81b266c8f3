//! What runs and agents say about how runs are to be: `model`, `instructions`, `tools`, …

use callboard_actors::event::MAX_SEQ;
use callboard_actors::ids::AccountId;
use callboard_actors::money::Money;
use callboard_actors::spec::{LimitSettings, RunLimits, RunSettings};
use serde_json::{Map, Value};

use super::tools::{check_tools, read_tools};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::fields::{Fields, invalid_value, text, wrong_type};
use crate::http::options::RunRequestLimits;
use crate::http::state::Catalog;

/// The fields that [`read_settings`] reads.
pub(crate) const SETTINGS_FIELDS: &[&str] = &[
    "model",
    "fallback_models",
    "instructions",
    "tools",
    "model_options",
    "limits",
];

/// Models that may be named beside the first.
const MAX_FALLBACK_MODELS: usize = 8;

/// Reads the settings. Every error names the field.
pub(crate) fn read_settings(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<RunSettings, ApiError> {
    let instructions = fields.optional_text("instructions")?;
    at_most(
        "instructions",
        instructions.map_or(0, str::len),
        bounds.max_instructions_bytes,
    )?;
    Ok(RunSettings {
        model: fields.optional_text("model")?.map(str::to_owned),
        fallback_models: read_names(fields, "fallback_models", "model", MAX_FALLBACK_MODELS)?,
        instructions: instructions.map(str::to_owned),
        tools: read_tools(fields, bounds)?,
        model_options: fields.optional_object("model_options")?.cloned(),
        limits: read_limits(fields, bounds)?,
    })
}

/// Checks names and options against what this server has. Every error names the field.
pub(crate) fn check_settings(
    settings: &RunSettings,
    account: &AccountId,
    catalog: &Catalog,
    bounds: &RunRequestLimits,
) -> Result<(), ApiError> {
    let options = settings.model_options.as_ref();
    check_model(catalog, model_of(settings, bounds), options, "model")?;
    for (index, fallback) in settings.fallback_models.iter().flatten().enumerate() {
        check_model(catalog, fallback, options, &format!("fallback_models[{index}]"))?;
    }
    check_tools(catalog, account, settings.tools.as_deref().unwrap_or_default())
}

/// The model that they name, or the usual one.
pub(super) fn model_of<'a>(settings: &'a RunSettings, bounds: &'a RunRequestLimits) -> &'a str {
    settings.model.as_deref().unwrap_or(&bounds.default_model)
}

/// The limits that they name, or the usual ones, within what the server allows by now.
pub(super) fn limits_of(settings: &RunSettings, bounds: &RunRequestLimits) -> RunLimits {
    let wanted = settings.limits;
    let output_tokens = wanted.max_output_tokens.or(bounds.default_max_output_tokens);
    let deadline = wanted.deadline_seconds.unwrap_or(bounds.default_deadline.as_secs());
    RunLimits {
        max_steps: wanted
            .max_steps
            .unwrap_or(bounds.default_max_steps)
            .min(bounds.max_steps_ceiling),
        max_output_tokens: output_tokens.map(|tokens| tokens.min(bounds.max_output_tokens_ceiling)),
        max_total_tokens: wanted.max_total_tokens,
        max_cost_usd: wanted.max_cost_usd,
        deadline_seconds: deadline.min(bounds.deadline_ceiling.as_secs()),
    }
}

/// Whether there is such a model, and whether it takes these options.
fn check_model(
    catalog: &Catalog,
    name: &str,
    options: Option<&Map<String, Value>>,
    param: &str,
) -> Result<(), ApiError> {
    let Some(model) = catalog.model(name) else {
        let known: Vec<&str> = catalog.model_names().collect();
        let message = format!("there is no model `{name}` here");
        return Err(ApiError::new(ErrorCode::UnknownModel, message)
            .with_param(param)
            .with_detail("available", known));
    };
    let Some(options) = options else { return Ok(()) };
    model.check_options(options).map_err(|invalid| {
        let param = format!("model_options.{}", invalid.key);
        let message = format!("the model `{name}` does not take `{param}`: {}", invalid.problem);
        ApiError::new(ErrorCode::InvalidModelOption, message).with_param(param)
    })
}

/// Refuses a text that is too long.
pub(crate) fn at_most(field: &str, bytes: usize, limit: usize) -> Result<(), ApiError> {
    if bytes <= limit {
        return Ok(());
    }
    let message = format!("`{field}` has {bytes} bytes; this server takes at most {limit}");
    Err(invalid_value(field, &message))
}

/// A list of names, each once.
fn read_names(fields: &Fields<'_>, field: &str, what: &str, most: usize) -> Result<Option<Vec<String>>, ApiError> {
    let Some(listed) = fields.optional_list(field)? else {
        return Ok(None);
    };
    if listed.len() > most {
        return Err(invalid_value(
            field,
            &format!("`{field}` may name at most {most} {what}s"),
        ));
    }
    let mut names: Vec<String> = Vec::with_capacity(listed.len());
    for (index, value) in listed.iter().enumerate() {
        let path = format!("{field}[{index}]");
        let name = text(value, &path)?;
        if names.iter().any(|known| known == name) {
            return Err(invalid_value(&path, &format!("the {what} `{name}` is listed twice")));
        }
        names.push(name.to_owned());
    }
    Ok(Some(names))
}

fn read_limits(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<LimitSettings, ApiError> {
    let Some(value) = fields.optional("limits") else {
        return Ok(LimitSettings::default());
    };
    let known = [
        "max_steps",
        "max_output_tokens",
        "max_total_tokens",
        "max_cost_usd",
        "deadline_seconds",
    ];
    let limits = Fields::of(value, "limits", &known)?;
    let steps = limits.optional_count("max_steps", 1, bounds.max_steps_ceiling.into())?;
    Ok(LimitSettings {
        max_steps: steps.and_then(|steps| u32::try_from(steps).ok()),
        max_output_tokens: limits.optional_count("max_output_tokens", 1, bounds.max_output_tokens_ceiling)?,
        max_total_tokens: limits.optional_count("max_total_tokens", 1, MAX_SEQ)?,
        max_cost_usd: read_cost(&limits)?,
        deadline_seconds: limits.optional_count("deadline_seconds", 1, bounds.deadline_ceiling.as_secs())?,
    })
}

fn read_cost(limits: &Fields<'_>) -> Result<Option<Money>, ApiError> {
    let Some(value) = limits.optional("max_cost_usd") else {
        return Ok(None);
    };
    let path = limits.path_of("max_cost_usd");
    let dollars = value
        .as_f64()
        .ok_or_else(|| wrong_type(&path, "a number of US dollars", value))?;
    match Money::from_dollars(dollars) {
        Some(cost) if !cost.is_zero() => Ok(Some(cost)),
        _ => Err(invalid_value(
            &path,
            &format!("`{path}` must be more than 0, and at most {}", Money::MAX.dollars()),
        )),
    }
}
