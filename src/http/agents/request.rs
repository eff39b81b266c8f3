//! The bodies of `POST` and `PATCH`.

use std::collections::BTreeMap;

use callboard_actors::agent::{AgentSettings, AgentVariable};
use callboard_actors::ids::AccountId;
use callboard_actors::ports::agents::AgentRecord;
use callboard_actors::template::is_placeholder_name;
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::extract::fields::{Fields, invalid_value};
use crate::http::metadata::read_metadata;
use crate::http::options::RunRequestLimits;
use crate::http::runs::agent::variable_text;
use crate::http::runs::settings::{SETTINGS_FIELDS, at_most, check_settings, read_settings};
use crate::http::state::Catalog;

const OWN_FIELDS: &[&str] = &["name", "description", "variables", "metadata"];

/// Of a `PATCH`: the version that the client has seen.
const EXPECTED_VERSION: &str = "expected_version";

/// Characters of a name.
const LONGEST_NAME: usize = 64;
/// Bytes of a description: of an agent, of a variable.
const LONGEST_DESCRIPTION: usize = 4096;
/// Variables of an agent.
const MOST_VARIABLES: usize = 64;

/// What an agent is called and says.
#[derive(Debug, PartialEq)]
pub(super) struct AgentRequest {
    pub(super) name: String,
    pub(super) settings: AgentSettings,
}

impl AgentRequest {
    /// Reads the body. Every error names the field.
    pub(super) fn read(
        body: &Value,
        account: &AccountId,
        catalog: &Catalog,
        bounds: &RunRequestLimits,
    ) -> Result<Self, ApiError> {
        let fields = Fields::of(body, "", &[OWN_FIELDS, SETTINGS_FIELDS].concat())?;
        let name = fields.required_text("name")?;
        check_name(name)?;
        let description = fields.optional_text("description")?.unwrap_or_default();
        at_most("description", description.len(), LONGEST_DESCRIPTION)?;
        let settings = AgentSettings {
            description: description.to_owned(),
            run: read_settings(&fields, bounds)?,
            variables: read_variables(&fields, bounds)?,
            metadata: read_metadata(&fields, bounds)?,
        };
        settings
            .check_variables()
            .map_err(|error| invalid_value("instructions", &format!("{error}: declare it, or none")))?;
        check_settings(&settings.run, account, catalog, bounds)?;
        Ok(Self {
            name: name.to_owned(),
            settings,
        })
    }
}

/// What a `PATCH` wants.
#[derive(Debug, Clone)]
pub(super) struct AgentChange {
    /// The version that the client has seen; `None`: whatever it is.
    pub(super) expected_version: Option<u32>,
    change: Value,
}

impl AgentChange {
    /// Reads the body. What it makes of an agent is checked by [`AgentChange::applied_to`].
    pub(super) fn read(mut body: Value) -> Result<Self, ApiError> {
        let known = [OWN_FIELDS, SETTINGS_FIELDS, &[EXPECTED_VERSION]].concat();
        let fields = Fields::of(&body, "", &known)?;
        let expected = fields.optional_count(EXPECTED_VERSION, 1, u32::MAX.into())?;
        if let Some(map) = body.as_object_mut() {
            map.remove(EXPECTED_VERSION);
        }
        Ok(Self {
            expected_version: expected.and_then(|version| u32::try_from(version).ok()),
            change: body,
        })
    }

    /// The agent with the change: a JSON Merge Patch (RFC 7396) of what its newest version says.
    pub(super) fn applied_to(
        &self,
        record: &AgentRecord,
        catalog: &Catalog,
        bounds: &RunRequestLimits,
    ) -> Result<AgentRequest, ApiError> {
        let mut body = serde_json::to_value(&record.settings).map_err(|error| {
            tracing::error!(%error, "an agent could not be written");
            ApiError::internal()
        })?;
        body["name"] = record.name.as_str().into();
        json_patch::merge(&mut body, &self.change);
        AgentRequest::read(&body, &record.account, catalog, bounds)
    }
}

/// Whatever looks like an id would not be found by its name.
fn check_name(name: &str) -> Result<(), ApiError> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_good = (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(is_allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric();
    if !is_good {
        let message = format!(
            "`name` must have 1 to {LONGEST_NAME} letters, digits, '_', '-' or '.', and begin with a letter or digit"
        );
        return Err(invalid_value("name", &message));
    }
    if name.starts_with("agt_") {
        return Err(invalid_value("name", "`name` must not begin with \"agt_\", as ids do"));
    }
    Ok(())
}

fn read_variables(fields: &Fields<'_>, bounds: &RunRequestLimits) -> Result<BTreeMap<String, AgentVariable>, ApiError> {
    let Some(given) = fields.optional_object("variables")? else {
        return Ok(BTreeMap::new());
    };
    if given.len() > MOST_VARIABLES {
        let message = format!("`variables` may have at most {MOST_VARIABLES} entries");
        return Err(invalid_value("variables", &message));
    }
    let mut variables = BTreeMap::new();
    for (name, value) in given {
        let path = format!("variables.{name}");
        if !is_placeholder_name(name) {
            let message = "a variable's name has 1 to 64 letters, digits or '_', and begins with no digit";
            return Err(invalid_value(&path, message));
        }
        let fields = Fields::of(value, &path, &["description", "default"])?;
        let description = fields.optional_text("description")?.unwrap_or_default();
        at_most(&fields.path_of("description"), description.len(), LONGEST_DESCRIPTION)?;
        let default_path = fields.path_of("default");
        let default = fields.optional("default");
        let default = default.map(|value| variable_text(value, &default_path)).transpose()?;
        let length = default.as_ref().map_or(0, String::len);
        at_most(&default_path, length, bounds.max_instructions_bytes)?;
        let variable = AgentVariable {
            description: description.to_owned(),
            default,
        };
        variables.insert(name.clone(), variable);
    }
    Ok(variables)
}
