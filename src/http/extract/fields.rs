//! Reads the fields of a JSON object one by one; every error says where and what was expected.

use serde_json::{Map, Value};

use crate::http::error::{ApiError, ErrorCode};

/// An object whose fields are all known.
pub(crate) struct Fields<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// The object at `path` (empty for the body itself). Refuses anything but an object, and fields that are not in `known`.
    pub(crate) fn of(value: &'a Value, path: &str, known: &[&str]) -> Result<Self, ApiError> {
        let map = value.as_object().ok_or_else(|| wrong_type(path, "an object", value))?;
        let fields = Self {
            path: path.to_owned(),
            map,
        };
        if let Some(unknown) = map.keys().find(|key| !known.contains(&key.as_str())) {
            let param = fields.path_of(unknown);
            let message = format!("there is no field `{param}`; known here: {}", known.join(", "));
            return Err(ApiError::new(ErrorCode::UnknownField, message).with_param(param));
        }
        Ok(fields)
    }

    /// The full path of a field.
    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// The field's value; `null` is the same as leaving it out.
    pub(crate) fn optional(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// The field's value, which must be there.
    pub(crate) fn required(&self, name: &str) -> Result<&'a Value, ApiError> {
        self.optional(name).ok_or_else(|| {
            let param = self.path_of(name);
            ApiError::new(ErrorCode::MissingField, format!("`{param}` is missing")).with_param(param)
        })
    }

    /// A text.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&'a str>, ApiError> {
        self.optional(name)
            .map(|value| text(value, &self.path_of(name)))
            .transpose()
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Result<&'a str, ApiError> {
        text(self.required(name)?, &self.path_of(name))
    }

    /// A truth value.
    pub(crate) fn optional_bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let read = |value: &Value| {
            value
                .as_bool()
                .ok_or_else(|| wrong_type(&self.path_of(name), "true or false", value))
        };
        self.optional(name).map(read).transpose()
    }

    /// A whole number within these bounds.
    pub(crate) fn optional_count(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.optional(name) else {
            return Ok(None);
        };
        let param = self.path_of(name);
        if !value.is_number() {
            return Err(wrong_type(&param, "a whole number", value));
        }
        match value.as_u64().filter(|count| (least..=most).contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(invalid_value(
                &param,
                &format!("`{param}` must be a whole number from {least} to {most}"),
            )),
        }
    }

    /// A list.
    pub(crate) fn optional_list(&self, name: &str) -> Result<Option<&'a [Value]>, ApiError> {
        let read = |value: &'a Value| list(value, &self.path_of(name));
        self.optional(name).map(read).transpose()
    }

    /// An object of any fields.
    pub(crate) fn optional_object(&self, name: &str) -> Result<Option<&'a Map<String, Value>>, ApiError> {
        let read = |value: &'a Value| {
            value
                .as_object()
                .ok_or_else(|| wrong_type(&self.path_of(name), "an object", value))
        };
        self.optional(name).map(read).transpose()
    }
}

/// The text at `path`.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> Result<&'a str, ApiError> {
    value.as_str().ok_or_else(|| wrong_type(path, "a string", value))
}

/// The list at `path`.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> Result<&'a [Value], ApiError> {
    let values = value.as_array().ok_or_else(|| wrong_type(path, "a list", value))?;
    Ok(values)
}

/// The value at `path` is of another type than `expected`.
pub(crate) fn wrong_type(path: &str, expected: &str, found: &Value) -> ApiError {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    if path.is_empty() {
        return ApiError::new(
            ErrorCode::InvalidType,
            format!("the body must be {expected}, not {found}"),
        );
    }
    ApiError::new(
        ErrorCode::InvalidType,
        format!("`{path}` must be {expected}, not {found}"),
    )
    .with_param(path)
}

/// The value at `path` has the right type but cannot be.
pub(crate) fn invalid_value(path: &str, message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidValue, message).with_param(path)
}
