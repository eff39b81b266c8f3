//! The body of `POST /runs`: JSON → [`RunRequest`] (what was said) → [`RunSpec`] (what will be done).

use std::collections::BTreeMap;

use callboard_actors::event::MAX_SEQ;
use callboard_actors::item::{ContentPart, ImageSource, ItemContent};
use callboard_actors::money::Money;
use callboard_actors::spec::{RunLimits, RunSpec};
use callboard_actors::supervisor::messages::OnLimit;
use serde::Serialize;
use serde_json::{Map, Value};

use super::input_items::read_input;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::fields::{Fields, invalid_value, text, wrong_type};
use crate::http::options::RunRequestLimits;
use crate::http::state::Catalog;

const KNOWN_FIELDS: &[&str] = &[
    "input",
    "model",
    "fallback_models",
    "instructions",
    "tools",
    "metadata",
    "model_options",
    "limits",
    "on_limit",
    "stream",
    "agent",
];

/// Models that a run may name beside its first.
const MAX_FALLBACK_MODELS: usize = 8;

/// What a client asked for, nothing filled in. Its serialised form decides whether two requests are the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct RunRequest {
    pub(super) input: Vec<ItemContent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fallback_models: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<String>,
    tools: Vec<String>,
    metadata: BTreeMap<String, String>,
    model_options: Map<String, Value>,
    limits: RequestedLimits,
    refuse_at_limit: bool,
    /// How to answer; no part of what was asked for.
    #[serde(skip)]
    pub(super) stream: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct RequestedLimits {
    #[serde(skip_serializing_if = "Option::is_none")]
    max_steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_total_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_cost_usd: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_seconds: Option<u64>,
}

impl RunRequest {
    /// Reads the body. Every error names the field.
    pub(super) fn read(body: &Value, bounds: &RunRequestLimits) -> Result<Self, ApiError> {
        let fields = Fields::of(body, "", KNOWN_FIELDS)?;
        if fields.optional("agent").is_some() {
            return Err(ApiError::new(
                ErrorCode::AgentsNotAvailable,
                "stored agents are not available in this version; give `model`, `instructions` and `tools` instead",
            )
            .with_param("agent"));
        }
        let input = read_input(fields.required("input")?, bounds.max_input_items)?;
        at_most("input", input.iter().map(text_bytes).sum(), bounds.max_input_bytes)?;
        let instructions = fields.optional_text("instructions")?;
        at_most(
            "instructions",
            instructions.map_or(0, str::len),
            bounds.max_instructions_bytes,
        )?;
        Ok(Self {
            input,
            model: fields.optional_text("model")?.map(str::to_owned),
            fallback_models: read_names(&fields, "fallback_models", "model", MAX_FALLBACK_MODELS)?,
            instructions: instructions.map(str::to_owned),
            tools: read_names(&fields, "tools", "tool", bounds.max_tools)?,
            metadata: read_metadata(&fields, bounds)?,
            model_options: fields.optional_object("model_options")?.cloned().unwrap_or_default(),
            limits: read_limits(&fields, bounds)?,
            refuse_at_limit: read_on_limit(&fields)? == OnLimit::Refuse,
            stream: fields.optional_bool("stream")?.unwrap_or(false),
        })
    }

    /// What to do when the run cannot start at once.
    pub(super) fn on_limit(&self) -> OnLimit {
        if self.refuse_at_limit {
            OnLimit::Refuse
        } else {
            OnLimit::Queue
        }
    }

    /// Fills in what the client left open and checks names against what this server has.
    pub(super) fn resolve(&self, catalog: &Catalog, bounds: &RunRequestLimits) -> Result<RunSpec, ApiError> {
        let model_name = self.model.as_deref().unwrap_or(&bounds.default_model);
        self.check_model(catalog, model_name, "model")?;
        for (index, fallback) in self.fallback_models.iter().enumerate() {
            self.check_model(catalog, fallback, &format!("fallback_models[{index}]"))?;
        }
        for (index, tool) in self.tools.iter().enumerate() {
            if !catalog.has_tool(tool) {
                let known: Vec<&str> = catalog.tool_names().collect();
                let param = format!("tools[{index}]");
                return Err(unknown_name(ErrorCode::UnknownTool, "tool", &param, tool, &known));
            }
        }
        let limits = RunLimits {
            max_steps: self
                .limits
                .max_steps
                .and_then(|steps| u32::try_from(steps).ok())
                .unwrap_or(bounds.default_max_steps),
            max_output_tokens: self.limits.max_output_tokens.or(bounds.default_max_output_tokens),
            max_total_tokens: self.limits.max_total_tokens,
            max_cost_usd: self.limits.max_cost_usd,
            deadline_seconds: self
                .limits
                .deadline_seconds
                .unwrap_or(bounds.default_deadline.as_secs()),
        };
        Ok(RunSpec {
            model: model_name.to_owned(),
            fallback_models: self.fallback_models.clone(),
            instructions: self.instructions.clone(),
            tools: self.tools.clone(),
            model_options: self.model_options.clone(),
            metadata: self.metadata.clone(),
            limits,
        })
    }
}

impl RunRequest {
    /// Whether there is such a model, and whether it takes the run's options.
    fn check_model(&self, catalog: &Catalog, name: &str, param: &str) -> Result<(), ApiError> {
        let Some(model) = catalog.model(name) else {
            let known: Vec<&str> = catalog.model_names().collect();
            return Err(unknown_name(ErrorCode::UnknownModel, "model", param, name, &known));
        };
        model.check_options(&self.model_options).map_err(|invalid| {
            let param = format!("model_options.{}", invalid.key);
            let message = format!("the model `{name}` does not take `{param}`: {}", invalid.problem);
            ApiError::new(ErrorCode::InvalidModelOption, message).with_param(param)
        })
    }
}

fn at_most(field: &str, bytes: usize, limit: usize) -> Result<(), ApiError> {
    if bytes <= limit {
        return Ok(());
    }
    Err(invalid_value(
        field,
        &format!("`{field}` has {bytes} bytes; this server takes at most {limit}"),
    ))
}

/// Bytes of what an item says.
fn text_bytes(content: &ItemContent) -> usize {
    match content {
        ItemContent::Message { content, .. } => content.iter().map(part_bytes).sum(),
        ItemContent::Reasoning { text, .. } => text.len(),
        ItemContent::ToolCall {
            call_id,
            name,
            arguments,
        } => call_id.len() + name.len() + arguments.len(),
        ItemContent::ToolResult { call_id, output, .. } => call_id.len() + output.len(),
    }
}

fn part_bytes(part: &ContentPart) -> usize {
    match part {
        ContentPart::Text { text, .. } => text.len(),
        ContentPart::Image {
            source: ImageSource::Url { url },
            ..
        } => url.len(),
        ContentPart::Image { .. } => 0,
    }
}

fn unknown_name(code: ErrorCode, what: &str, param: &str, name: &str, known: &[&str]) -> ApiError {
    let message = format!("there is no {what} `{name}` here");
    ApiError::new(code, message)
        .with_param(param)
        .with_detail("available", known.to_vec())
}

/// A list of names, each once.
fn read_names(fields: &Fields<'_>, field: &str, what: &str, most: usize) -> Result<Vec<String>, ApiError> {
    let listed = fields.optional_list(field)?.unwrap_or_default();
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
    Ok(names)
}

fn read_metadata(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<BTreeMap<String, String>, ApiError> {
    let Some(given) = fields.optional_object("metadata")? else {
        return Ok(BTreeMap::new());
    };
    if given.len() > bounds.max_metadata_entries {
        let message = format!("`metadata` may have at most {} entries", bounds.max_metadata_entries);
        return Err(invalid_value("metadata", &message));
    }
    let mut metadata = BTreeMap::new();
    for (key, value) in given {
        let path = format!("metadata.{key}");
        let value = value.as_str().ok_or_else(|| wrong_type(&path, "a string", value))?;
        if key.is_empty() || key.len() > bounds.max_metadata_key_bytes {
            let message = format!("a metadata key has 1 to {} bytes", bounds.max_metadata_key_bytes);
            return Err(invalid_value("metadata", &message));
        }
        if value.len() > bounds.max_metadata_value_bytes {
            let message = format!("a metadata value has at most {} bytes", bounds.max_metadata_value_bytes);
            return Err(invalid_value(&path, &message));
        }
        metadata.insert(key.clone(), value.to_owned());
    }
    Ok(metadata)
}

fn read_limits(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<RequestedLimits, ApiError> {
    let Some(value) = fields.optional("limits") else {
        return Ok(RequestedLimits::default());
    };
    let known = [
        "max_steps",
        "max_output_tokens",
        "max_total_tokens",
        "max_cost_usd",
        "deadline_seconds",
    ];
    let limits = Fields::of(value, "limits", &known)?;
    Ok(RequestedLimits {
        max_steps: limits.optional_count("max_steps", 1, bounds.max_steps_ceiling.into())?,
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

fn read_on_limit(fields: &Fields<'_>) -> Result<OnLimit, ApiError> {
    match fields.optional_text("on_limit")? {
        None | Some("queue") => Ok(OnLimit::Queue),
        Some("refuse") => Ok(OnLimit::Refuse),
        Some(_) => Err(invalid_value(
            "on_limit",
            "`on_limit` must be \"queue\" (wait for a place) or \"refuse\" (answer with an error)",
        )),
    }
}
