//! The `input` of a run: a text, or a list of messages, tool calls and their results.

use std::collections::BTreeMap;

use callboard_actors::item::{CacheControl, ContentPart, ImageDetail, ImageSource, ItemContent, Role};
use serde_json::Value;

use crate::http::error::{ApiError, ErrorCode};
use crate::http::extract::fields::{Fields, invalid_value, text, wrong_type};
use crate::http::options::RunRequestLimits;

/// The longest name of a tool call, bytes.
const MAX_CALL_ID_BYTES: usize = 256;

/// Reads `input`.
pub(crate) fn read_input(value: &Value, bounds: &RunRequestLimits) -> Result<Vec<ItemContent>, ApiError> {
    match value {
        Value::String(said) if said.trim().is_empty() => Err(empty_input()),
        Value::String(said) => Ok(vec![ItemContent::Message {
            role: Role::User,
            content: vec![ContentPart::text(said)],
        }]),
        Value::Array(items) if items.is_empty() => Err(empty_input()),
        Value::Array(items) => read_items(items, "input", bounds),
        other => Err(wrong_type("input", "a string or a list of items", other)),
    }
}

fn empty_input() -> ApiError {
    ApiError::new(
        ErrorCode::EmptyInput,
        "`input` is empty; a run needs something to begin with",
    )
    .with_param("input")
}

/// Reads the items and pairs tool calls with their results: models accept no call without a result and no result without a call.
pub(crate) fn read_items(
    values: &[Value],
    field: &str,
    bounds: &RunRequestLimits,
) -> Result<Vec<ItemContent>, ApiError> {
    let max_items = bounds.max_input_items;
    if values.len() > max_items {
        let message = format!("`{field}` may have at most {max_items} items");
        return Err(invalid_value(field, &message));
    }
    let mut items = Vec::with_capacity(values.len());
    let mut parts = 0;
    let mut open_calls: BTreeMap<String, usize> = BTreeMap::new();
    let mut closed_calls = std::collections::BTreeSet::new();
    for (index, value) in values.iter().enumerate() {
        let path = format!("{field}[{index}]");
        parts += parts_of(value);
        if parts > bounds.max_input_parts {
            let message = format!(
                "the messages of `{field}` may have at most {} parts together",
                bounds.max_input_parts
            );
            return Err(invalid_value(&format!("{path}.content"), &message));
        }
        let item = read_item(value, &path)?;
        match &item {
            ItemContent::ToolCall { call_id, .. } => {
                if closed_calls.contains(call_id) || open_calls.insert(call_id.clone(), index).is_some() {
                    return Err(invalid_value(
                        &format!("{path}.call_id"),
                        &format!("the call id `{call_id}` is used twice"),
                    ));
                }
            }
            ItemContent::ToolResult { call_id, .. } => {
                if open_calls.remove(call_id).is_none() {
                    return Err(invalid_value(
                        &format!("{path}.call_id"),
                        &format!("no tool call before this has the call id `{call_id}` and waits for its result"),
                    ));
                }
                closed_calls.insert(call_id.clone());
            }
            ItemContent::Message { .. } | ItemContent::Reasoning { .. } | ItemContent::Summary { .. } => {}
        }
        items.push(item);
    }
    if let Some((call_id, index)) = open_calls.first_key_value() {
        return Err(invalid_value(
            &format!("{field}[{index}].call_id"),
            &format!("the tool call `{call_id}` has no result in `{field}`"),
        ));
    }
    Ok(items)
}

/// How many parts an item has, before anybody looks whether it is one.
fn parts_of(item: &Value) -> usize {
    item.get("content").and_then(Value::as_array).map_or(1, Vec::len)
}

fn read_item(value: &Value, path: &str) -> Result<ItemContent, ApiError> {
    let all_fields = &[
        "type",
        "role",
        "content",
        "call_id",
        "name",
        "arguments",
        "output",
        "is_error",
    ];
    let kind = Fields::of(value, path, all_fields)?.optional_text("type")?;
    match kind {
        // `{role, content}` says what it is.
        Some("message") | None => read_message(value, path),
        Some("tool_call") => {
            let fields = Fields::of(value, path, &["type", "call_id", "name", "arguments"])?;
            Ok(ItemContent::ToolCall {
                call_id: read_name(&fields, "call_id")?,
                name: read_name(&fields, "name")?,
                arguments: fields.required_text("arguments")?.to_owned(),
            })
        }
        Some("tool_result") => {
            let fields = Fields::of(value, path, &["type", "call_id", "output", "is_error"])?;
            Ok(ItemContent::ToolResult {
                call_id: read_name(&fields, "call_id")?,
                output: fields.required_text("output")?.to_owned(),
                is_error: fields.optional_bool("is_error")?.unwrap_or(false),
                truncated: false,
                approved_arguments: None,
            })
        }
        Some(_) => Err(invalid_value(
            &format!("{path}.type"),
            "an input item is of type message, tool_call or tool_result",
        )),
    }
}

fn read_message(value: &Value, path: &str) -> Result<ItemContent, ApiError> {
    let fields = Fields::of(value, path, &["type", "role", "content"])?;
    let role = match fields.required_text("role")? {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            return Err(invalid_value(
                &fields.path_of("role"),
                "the role of a message is system, user or assistant",
            ));
        }
    };
    let content = read_content(fields.required("content")?, &fields.path_of("content"))?;
    Ok(ItemContent::Message { role, content })
}

fn read_content(value: &Value, path: &str) -> Result<Vec<ContentPart>, ApiError> {
    let parts = match value {
        Value::String(said) => vec![ContentPart::text(said)],
        Value::Array(parts) => parts
            .iter()
            .enumerate()
            .map(|(index, part)| read_part(part, &format!("{path}[{index}]")))
            .collect::<Result<_, _>>()?,
        other => return Err(wrong_type(path, "a string or a list of parts", other)),
    };
    let is_empty = |part: &ContentPart| matches!(part, ContentPart::Text { text, .. } if text.is_empty());
    if parts.iter().all(is_empty) {
        return Err(invalid_value(
            path,
            &format!("`{path}` is empty; leave the message out"),
        ));
    }
    Ok(parts)
}

fn read_part(value: &Value, path: &str) -> Result<ContentPart, ApiError> {
    let all_fields = &["type", "text", "url", "file_id", "detail", "cache_control"];
    match Fields::of(value, path, all_fields)?.required_text("type")? {
        "text" => {
            let fields = Fields::of(value, path, &["type", "text", "cache_control"])?;
            Ok(ContentPart::Text {
                text: text(fields.required("text")?, &fields.path_of("text"))?.to_owned(),
                cache_control: read_cache_control(&fields)?,
            })
        }
        "image" => {
            let fields = Fields::of(value, path, &["type", "url", "file_id", "detail", "cache_control"])?;
            Ok(ContentPart::Image {
                source: read_image_source(&fields)?,
                detail: read_detail(&fields)?,
                cache_control: read_cache_control(&fields)?,
            })
        }
        _ => Err(invalid_value(
            &format!("{path}.type"),
            "a part of a message is of type text or image",
        )),
    }
}

fn read_image_source(fields: &Fields<'_>) -> Result<ImageSource, ApiError> {
    let Some(file_id) = fields.optional_text("file_id")? else {
        return Ok(ImageSource::url(read_image_url(fields)?));
    };
    if fields.optional("url").is_some() {
        let message = "an image has a `url` or a `file_id`, not both";
        return Err(invalid_value(&fields.path_of("url"), message));
    }
    let no_id = |_| {
        ApiError::new(ErrorCode::UnknownFile, "there is no file with this id").with_param(fields.path_of("file_id"))
    };
    let file_id = file_id.parse().map_err(no_id)?;
    Ok(ImageSource::File { file_id })
}

fn read_image_url(fields: &Fields<'_>) -> Result<String, ApiError> {
    let url = fields.required_text("url")?;
    let is_data = || {
        let (kind, data) = url.strip_prefix("data:image/")?.split_once(";base64,")?;
        let is_kind = !kind.is_empty()
            && kind
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        let is_base64 = !data.is_empty()
            && data
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        Some(is_kind && is_base64)
    };
    let is_link = || reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if is_data().unwrap_or_else(is_link) {
        return Ok(url.to_owned());
    }
    // It is not repeated: it may be long, and may have a secret in it.
    Err(invalid_value(
        &fields.path_of("url"),
        "the `url` of an image begins with https://, http:// or data:image/…;base64,",
    ))
}

fn read_detail(fields: &Fields<'_>) -> Result<Option<ImageDetail>, ApiError> {
    match fields.optional_text("detail")? {
        None => Ok(None),
        Some("low") => Ok(Some(ImageDetail::Low)),
        Some("high") => Ok(Some(ImageDetail::High)),
        Some("auto") => Ok(Some(ImageDetail::Auto)),
        Some(_) => Err(invalid_value(
            &fields.path_of("detail"),
            "the `detail` of an image is low, high or auto",
        )),
    }
}

fn read_cache_control(fields: &Fields<'_>) -> Result<Option<CacheControl>, ApiError> {
    let Some(value) = fields.optional("cache_control") else {
        return Ok(None);
    };
    let path = fields.path_of("cache_control");
    let mark = Fields::of(value, &path, &["type", "ttl"])?;
    if mark.required_text("type")? != "ephemeral" {
        let message = "the `type` of `cache_control` is ephemeral";
        return Err(invalid_value(&mark.path_of("type"), message));
    }
    let ttl = mark.optional_text("ttl")?;
    if ttl.is_some_and(|ttl| !matches!(ttl, "5m" | "1h")) {
        return Err(invalid_value(
            &mark.path_of("ttl"),
            "the `ttl` of `cache_control` is 5m or 1h",
        ));
    }
    Ok(Some(CacheControl {
        kind: "ephemeral".into(),
        ttl: ttl.map(str::to_owned),
    }))
}

fn read_name(fields: &Fields<'_>, name: &str) -> Result<String, ApiError> {
    let value = fields.required_text(name)?;
    if value.is_empty() || value.len() > MAX_CALL_ID_BYTES {
        let path = fields.path_of(name);
        return Err(invalid_value(
            &path,
            &format!("`{path}` has 1 to {MAX_CALL_ID_BYTES} bytes"),
        ));
    }
    Ok(value.to_owned())
}
