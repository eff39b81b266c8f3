//! Stored agents: settings of runs under a name, in versions.
//!
//! A run is made of the version that its agent has when it is posted, and carries all of it along: nothing that becomes of the agent later
//! changes the run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::AgentId;
use crate::spec::RunSettings;
use crate::template::{Piece, Unfilled, filled, pieces};

/// What a version of an agent says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AgentSettings {
    /// What it is for, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What its runs begin with. `instructions` is a template if there are `variables`.
    #[serde(flatten)]
    pub run: RunSettings,
    /// What a run may say about itself, by name: `{{name}}` in the instructions stands for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, AgentVariable>,
    /// Free text that comes back unchanged.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// A variable of an agent's instructions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentVariable {
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it is if the run does not say; `None`: the run must.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

/// The agent that a run was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentPin {
    /// Which.
    pub id: AgentId,
    /// From 1.
    pub version: u32,
}

/// Why instructions cannot be made of these variables.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VariableError {
    /// The instructions have a placeholder that no variable stands for.
    #[error("the instructions have `{{{{{0}}}}}`, which is none of the variables")]
    NotDeclared(String),
    /// The agent has no such variable.
    #[error("the agent has no variable `{0}`")]
    Unknown(String),
    /// The run must say what it is.
    #[error("the agent needs the variable `{0}`")]
    Missing(String),
    /// They are longer than they may be.
    #[error("the instructions have more than {0} bytes with these variables")]
    TooLong(usize),
}

impl AgentSettings {
    /// Checks that each placeholder of the instructions is a variable. Instructions of an agent without variables are plain text.
    pub fn check_variables(&self) -> Result<(), VariableError> {
        if self.variables.is_empty() {
            return Ok(());
        }
        for piece in pieces(self.run.instructions.as_deref().unwrap_or_default()) {
            if let Piece::Placeholder(name) = piece
                && !self.variables.contains_key(name)
            {
                return Err(VariableError::NotDeclared(name.to_owned()));
            }
        }
        Ok(())
    }

    /// The instructions with `given` in the places of the variables, of at most `most` bytes. What is put in is not looked at again.
    pub fn instructions_with(
        &self,
        given: &BTreeMap<String, String>,
        most: usize,
    ) -> Result<Option<String>, VariableError> {
        if let Some(unknown) = given.keys().find(|name| !self.variables.contains_key(*name)) {
            return Err(VariableError::Unknown(unknown.clone()));
        }
        let value = |name: &str| given.get(name).or_else(|| self.variables.get(name)?.default.as_ref());
        if let Some(missing) = self.variables.keys().find(|name| value(name).is_none()) {
            return Err(VariableError::Missing(missing.clone()));
        }
        let Some(template) = &self.run.instructions else {
            return Ok(None);
        };
        if self.variables.is_empty() {
            let fits = template.len() <= most;
            return fits.then(|| Some(template.clone())).ok_or(VariableError::TooLong(most));
        }
        let instructions = filled(template, most, |name| value(name).map(String::as_str));
        instructions.map(Some).map_err(|unfilled| match unfilled {
            Unfilled::NoValue(name) => VariableError::NotDeclared(name.to_owned()),
            Unfilled::TooLong => VariableError::TooLong(most),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(instructions: &str, variables: serde_json::Value) -> AgentSettings {
        let settings = json!({"instructions": instructions, "variables": variables});
        serde_json::from_value(settings).expect("settings")
    }

    const MOST: usize = 1000;

    fn given(name: &str, value: &str) -> BTreeMap<String, String> {
        [(name.to_owned(), value.to_owned())].into()
    }

    #[test]
    fn variables_stand_where_their_names_stood() {
        let agent = settings(
            "Help {{who}} in {{ language }}.",
            json!({"who": {}, "language": {"default": "English"}}),
        );
        assert_eq!(agent.check_variables(), Ok(()));
        let help = agent.instructions_with(&given("who", "{{language}}"), MOST);
        assert_eq!(help, Ok(Some("Help {{language}} in English.".to_owned())));
        assert_eq!(
            agent.instructions_with(&BTreeMap::new(), MOST),
            Err(VariableError::Missing("who".into()))
        );
        let unknown = given("whom", "me");
        assert_eq!(
            agent.instructions_with(&unknown, MOST),
            Err(VariableError::Unknown("whom".into()))
        );
    }

    #[test]
    fn many_placeholders_of_a_long_value_are_refused_before_they_are_written() {
        // Filled in they would have 80 GB.
        let agent = settings(&"{{a}}".repeat(20_000), json!({"a": {}}));
        let refused = agent.instructions_with(&given("a", &"x".repeat(4_000_000)), 100_000);
        assert_eq!(refused, Err(VariableError::TooLong(100_000)));
        let plain = settings("12345", json!({}));
        assert_eq!(
            plain.instructions_with(&BTreeMap::new(), 4),
            Err(VariableError::TooLong(4))
        );
    }

    #[test]
    fn without_variables_there_are_no_placeholders() {
        let agent = settings("Write {{mustache}}.", json!({}));
        assert_eq!(agent.check_variables(), Ok(()));
        assert_eq!(
            agent.instructions_with(&BTreeMap::new(), MOST),
            Ok(Some("Write {{mustache}}.".into()))
        );
        let agent = settings("Write {{mustache}}.", json!({"who": {}}));
        assert_eq!(
            agent.check_variables(),
            Err(VariableError::NotDeclared("mustache".into()))
        );
    }

    #[test]
    fn settings_read_back_as_they_are_written() {
        let written = json!({
            "description": "helps",
            "model": "simulated",
            "instructions": "Help {{who}}.",
            "tools": ["now"],
            "limits": {"max_steps": 3},
            "variables": {"who": {"description": "the customer"}},
            "metadata": {"team": "support"},
        });
        let settings: AgentSettings = serde_json::from_value(written.clone()).expect("settings");
        assert_eq!(serde_json::to_value(&settings).expect("JSON"), written);
        assert_eq!(serde_json::to_value(AgentSettings::default()).expect("JSON"), json!({}));
    }
}
