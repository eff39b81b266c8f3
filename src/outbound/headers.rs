//! Header fields as clients and the configuration declare them, with placeholders.

use std::borrow::Cow;
use std::collections::BTreeMap;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use crate::placeholders::{BoundedText, Part, Placeholder, TextTemplate, Unfilled};
use crate::secrets::SecretRefused;

/// Bytes of a value, filled in.
const LONGEST_VALUE: usize = 8 * 1024;

/// Fields of the connection and of the transfer. They are this side's to set: with them a request could be made to look like two.
const OURS: &[&str] = &[
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields that say nothing but what is asked for, if there is no secret in them. All others may say who asks.
const HARMLESS: &[&str] = &["accept", "accept-language", "content-type", "user-agent"];

/// Header fields with placeholders.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeaderTemplates(Vec<Field>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// As its author spells it.
    written: String,
    name: HeaderName,
    value: TextTemplate,
}

/// Filled in.
#[derive(Debug, Clone, Default)]
pub struct FilledHeaders {
    /// For anybody.
    pub headers: HeaderMap,
    /// For the server that is asked alone: [`super::OutboundRequest::private_headers`].
    pub private_headers: HeaderMap,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct HeaderProblem {
    /// Its name as it was written.
    pub name: String,
    /// What is wrong. Says nothing of a secret.
    pub problem: String,
}

impl HeaderTemplates {
    /// Takes the fields apart.
    ///
    /// # Errors
    /// The first that cannot be sent.
    pub fn parse(fields: &BTreeMap<String, String>) -> Result<Self, HeaderProblem> {
        let mut parsed: Vec<Field> = Vec::with_capacity(fields.len());
        for (written, text) in fields {
            let wrong = |problem: String| HeaderProblem {
                name: written.clone(),
                problem,
            };
            let name = HeaderName::from_bytes(written.as_bytes())
                .map_err(|_| wrong("this is no name of a header field".to_owned()))?;
            if OURS.contains(&name.as_str()) {
                return Err(wrong("this header field is set by the server".to_owned()));
            }
            if parsed.iter().any(|other| other.name == name) {
                return Err(wrong("this header field is there twice".to_owned()));
            }
            let template = TextTemplate::parse(text).map_err(|problem| wrong(problem.to_string()))?;
            let literal = |part: &Part| match part {
                Part::Text(text) => HeaderValue::from_str(text).is_ok(),
                _ => true,
            };
            if !template.parts().iter().all(literal) {
                return Err(wrong(
                    "the value has characters that no header field can carry".to_owned(),
                ));
            }
            parsed.push(Field {
                written: written.clone(),
                name,
                value: template,
            });
        }
        Ok(Self(parsed))
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        self.0.iter().map(|field| &field.name)
    }

    /// Names of the arguments in them, each with the field that it is in.
    pub fn arguments(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|field| field.value.arguments().map(move |name| (field.written.as_str(), name)))
    }

    /// Names of the secrets in them, each with the field that it is in.
    pub fn secrets(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .flat_map(|field| field.value.secrets().map(move |name| (field.written.as_str(), name)))
    }

    /// Fills in. A field that is one argument which is not there is left out; in a text, one that is not there is nothing.
    ///
    /// # Errors
    /// A secret is refused, or a value cannot be sent.
    pub fn fill<'value>(
        &self,
        argument: impl Fn(&str) -> Option<Cow<'value, str>>,
        secret: impl Fn(&str) -> Result<&'value SecretString, SecretRefused>,
    ) -> Result<FilledHeaders, HeaderProblem> {
        let mut filled = FilledHeaders::default();
        for Field { written, name, value } in &self.0 {
            let wrong = |problem: String| HeaderProblem {
                name: written.clone(),
                problem,
            };
            let is_absent = |name: &str| argument(name).is_none();
            if value.only_argument().is_some_and(is_absent) {
                continue;
            }
            let is_private = value.secrets().next().is_some() || !HARMLESS.contains(&name.as_str());
            let mut text = BoundedText::new(LONGEST_VALUE);
            let filled_in = value.fill(&mut text, |placeholder| match placeholder {
                Placeholder::Argument(name) => Ok(argument(name).unwrap_or_default()),
                Placeholder::Secret(name) => secret(name).map(|secret| Cow::Borrowed(secret.expose_secret())),
            });
            filled_in.map_err(|unfilled| match unfilled {
                Unfilled::TooLong => wrong(format!("the value has more than {LONGEST_VALUE} bytes")),
                Unfilled::NoValue(refused) => wrong(refused.to_string()),
            })?;
            let value = HeaderValue::from_str(text.as_str());
            let mut value =
                value.map_err(|_| wrong("the value has characters that no header field can carry".to_owned()))?;
            if is_private {
                value.set_sensitive(true);
                filled.private_headers.insert(name.clone(), value);
            } else {
                filled.headers.insert(name.clone(), value);
            }
        }
        Ok(filled)
    }
}
