//! The field `metadata`: free text that comes back unchanged.

use std::collections::BTreeMap;

use super::error::ApiError;
use super::extract::fields::{Fields, invalid_value, wrong_type};
use super::options::RunRequestLimits;

pub(super) fn read_metadata(
    fields: &Fields<'_>,
    bounds: &RunRequestLimits,
) -> Result<BTreeMap<String, String>, ApiError> {
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
