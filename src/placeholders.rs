//! Texts with placeholders: `{{name}}` stands for an argument, `{{secret:NAME}}` for a secret.
//!
//! A text is taken apart once, before anything is filled in: what an argument says is never looked at for placeholders.

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextTemplate(Vec<Part>);

/// A part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// As it is.
    Text(String),
    /// What this argument says.
    Argument(String),
    /// The secret of this name.
    Secret(String),
}

/// What is wrong with a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaceholderProblem {
    /// It has no end.
    #[error("there is a `{{{{` without `}}}}`")]
    Open,
    /// It has no name.
    #[error("a placeholder is `{{{{name}}}}` or `{{{{secret:NAME}}}}`, with a name in it")]
    Nameless,
}

impl TextTemplate {
    /// Takes a text apart.
    ///
    /// # Errors
    /// A placeholder is none.
    pub fn parse(text: &str) -> Result<Self, PlaceholderProblem> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("{{") {
            let (inside, after) = from.split_once("}}").ok_or(PlaceholderProblem::Open)?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            let (name, is_secret) = match inside.trim().strip_prefix("secret:") {
                Some(name) => (name.trim(), true),
                None => (inside.trim(), false),
            };
            if name.is_empty() || name.contains(['{', '}']) {
                return Err(PlaceholderProblem::Nameless);
            }
            parts.push(if is_secret {
                Part::Secret(name.to_owned())
            } else {
                Part::Argument(name.to_owned())
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Its parts, in order.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The argument that it is, if it is nothing else.
    pub fn only_argument(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Argument(name)] => Some(name),
            _ => None,
        }
    }

    /// Names of the arguments in it.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Argument(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Names of the secrets in it.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Secret(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_at_its_placeholders() {
        let template = TextTemplate::parse("a {{ city }} b{{secret:KEY}}").expect("a template");
        assert_eq!(
            template.parts(),
            [
                Part::Text("a ".into()),
                Part::Argument("city".into()),
                Part::Text(" b".into()),
                Part::Secret("KEY".into())
            ]
        );
        assert_eq!(template.arguments().collect::<Vec<_>>(), ["city"]);
        assert_eq!(template.secrets().collect::<Vec<_>>(), ["KEY"]);
        assert_eq!(template.only_argument(), None);
        let only = TextTemplate::parse("{{city}}").expect("a template");
        assert_eq!(only.only_argument(), Some("city"));
        assert_eq!(TextTemplate::parse("").expect("a template").parts(), []);
        let plain = TextTemplate::parse("{a} }} b").expect("a template");
        assert_eq!(plain.parts(), [Part::Text("{a} }} b".into())]);
    }

    #[test]
    fn what_is_no_placeholder_is_refused() {
        assert_eq!(TextTemplate::parse("a {{b"), Err(PlaceholderProblem::Open));
        for wrong in ["{{}}", "{{ }}", "{{secret:}}", "{{a{{b}}"] {
            assert_eq!(TextTemplate::parse(wrong), Err(PlaceholderProblem::Nameless), "{wrong}");
        }
        assert_eq!(PlaceholderProblem::Open.to_string(), "there is a `{{` without `}}`");
    }
}
