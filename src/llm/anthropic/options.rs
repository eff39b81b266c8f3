//! `model_options` in the words of the Messages API.

use callboard_actors::item::CacheControl;
use callboard_actors::ports::model::InvalidOption;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::llm::upstream::{ResponseFormat, ToolChoice, invalid};

/// What `reasoning_effort` may be: the efforts of this API.
const EFFORTS: [&str; 5] = ["low", "medium", "high", "xhigh", "max"];

/// The run's `model_options`.
#[derive(Debug, Default)]
pub(super) struct OptionsInUse<'a> {
    pub(super) passed_on: PassedOn<'a>,
    pub(super) output_config: Option<OutputConfig<'a>>,
    pub(super) stop_sequences: Option<Vec<&'a str>>,
    /// `{"type": …}`, without a word on parallel calls.
    pub(super) tool_choice: Option<Value>,
    pub(super) one_tool_at_a_time: bool,
    pub(super) thinking: Option<&'a Value>,
    pub(super) cache_mark: Option<CacheControl>,
}

/// Options that are called the same there.
#[derive(Debug, Default, Serialize)]
pub(super) struct PassedOn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulate: Option<&'a Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<OutputFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "json_schema")]
struct OutputFormat<'a> {
    schema: &'a Value,
}

impl<'a> OptionsInUse<'a> {
    /// Fails on an option that this API cannot express.
    pub(super) fn of(options: &'a Map<String, Value>) -> Result<Self, InvalidOption> {
        let parallel = options.get("parallel_tool_calls").map(|value| {
            let problem = "it must be true or false";
            value.as_bool().ok_or_else(|| invalid("parallel_tool_calls", problem))
        });
        Ok(Self {
            passed_on: PassedOn {
                temperature: options.get("temperature"),
                top_p: options.get("top_p"),
                top_k: options.get("top_k"),
                simulate: options.get("simulate"),
            },
            output_config: output_config(options)?,
            stop_sequences: options.get("stop").map(stop_sequences).transpose()?,
            tool_choice: ToolChoice::of(options)?.map(tool_choice),
            one_tool_at_a_time: parallel.transpose()? == Some(false),
            thinking: options.get("thinking").map(thinking).transpose()?,
            cache_mark: options.get("cache_control").map(cache_mark).transpose()?,
        })
    }

    /// How many tokens the model may think, if the run says so: they count as output.
    pub(super) fn thinking_budget(&self) -> u64 {
        self.thinking
            .and_then(|thinking| thinking["budget_tokens"].as_u64())
            .unwrap_or_default()
    }
}

fn output_config(options: &Map<String, Value>) -> Result<Option<OutputConfig<'_>>, InvalidOption> {
    let format = match ResponseFormat::of(options)? {
        None | Some(ResponseFormat::Text) => None,
        Some(ResponseFormat::JsonSchema(described)) => described.get("schema").map(|schema| OutputFormat { schema }),
        Some(ResponseFormat::JsonObject) => {
            let problem = "this model writes JSON only of a given schema: use `json_schema`";
            return Err(invalid("response_format.type", problem));
        }
    };
    let effort = match options.get("reasoning_effort") {
        None => None,
        Some(value) => match value.as_str().filter(|effort| EFFORTS.contains(effort)) {
            Some(effort) => Some(effort),
            None => {
                let efforts = EFFORTS.join(", ");
                let problem = format!("this model takes {efforts}; whether it thinks at all is said with `thinking`");
                return Err(invalid("reasoning_effort", problem));
            }
        },
    };
    Ok((format.is_some() || effort.is_some()).then_some(OutputConfig { format, effort }))
}

/// One, or a list of them.
fn stop_sequences(stop: &Value) -> Result<Vec<&str>, InvalidOption> {
    let all = match stop {
        Value::Null => Some(Vec::new()),
        Value::String(one) => Some(vec![one.as_str()]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    };
    all.ok_or_else(|| invalid("stop", "it must be a string or a list of strings"))
}

fn tool_choice(choice: ToolChoice<'_>) -> Value {
    match choice {
        ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Function(name) => json!({"type": "tool", "name": name}),
    }
}

fn thinking(value: &Value) -> Result<&Value, InvalidOption> {
    match value["type"].as_str() {
        Some(_) => Ok(value),
        None => {
            let forms = r#"{"type": "adaptive"}, {"type": "enabled", "budget_tokens": …} or {"type": "disabled"}"#;
            Err(invalid("thinking", format!("it must be {forms}")))
        }
    }
}

fn cache_mark(value: &Value) -> Result<CacheControl, InvalidOption> {
    CacheControl::deserialize(value).map_err(|_| {
        let form = r#"{"type": "ephemeral"}, with or without "ttl": "5m" or "1h""#;
        invalid("cache_control", format!("it must be {form}"))
    })
}
