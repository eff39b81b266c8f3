//! Texts with placeholders: `{{name}}` stands for an argument, `{{secret:NAME}}` for a secret.
//!
//! A text is taken apart once, before anything is filled in: what an argument says is never looked at for placeholders. Whoever fills it in says
//! how long it may get: a few placeholders of a long argument would make a text that no memory holds.

use std::borrow::Cow;
use std::io;

use serde_json::Value;

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

/// A text that grows up to a number of bytes and no further.
#[derive(Debug)]
pub struct BoundedText {
    text: String,
    most: usize,
}

/// Something would be longer than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// What a value is to stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder<'a> {
    /// What this argument says.
    Argument(&'a str),
    /// The secret of this name.
    Secret(&'a str),
}

/// Why a template is not filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfilled<E> {
    /// The text would be longer than it may be.
    TooLong,
    /// A value is not to be had.
    NoValue(E),
}

/// Bytes that are left of a number of them.
#[derive(Debug)]
pub struct Room(usize);

impl BoundedText {
    /// Empty; of at most `most` bytes.
    pub const fn new(most: usize) -> Self {
        Self {
            text: String::new(),
            most,
        }
    }

    /// Appends a piece, or nothing of it.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn push(&mut self, piece: &str) -> Result<(), TooLong> {
        if piece.len() > self.most - self.text.len() {
            return Err(TooLong);
        }
        self.text.push_str(piece);
        Ok(())
    }

    /// What it is so far.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it has become.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Room {
    /// So many.
    pub const fn of(bytes: usize) -> Self {
        Self(bytes)
    }

    /// How many are left.
    pub const fn left(&self) -> usize {
        self.0
    }

    /// Takes so many.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn take(&mut self, bytes: usize) -> Result<(), TooLong> {
        self.0 = self.0.checked_sub(bytes).ok_or(TooLong)?;
        Ok(())
    }

    /// Takes as many as the value has as JSON. Nothing of that is kept.
    ///
    /// # Errors
    /// Fewer are left.
    pub fn take_value(&mut self, value: &Value) -> Result<(), TooLong> {
        serde_json::to_writer(self, value).map_err(|_| TooLong)
    }
}

impl io::Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.take(bytes.len());
        taken.map_err(|_| io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    /// Appends it to `text`, with a value for each placeholder. Stops at once where the text would get too long.
    ///
    /// # Errors
    /// It is too long, or a value is not to be had.
    pub fn fill<'value, E>(
        &self,
        text: &mut BoundedText,
        value: impl Fn(Placeholder<'_>) -> Result<Cow<'value, str>, E>,
    ) -> Result<(), Unfilled<E>> {
        for part in &self.0 {
            let piece = match part {
                Part::Text(literal) => Cow::Borrowed(literal.as_str()),
                Part::Argument(name) => value(Placeholder::Argument(name)).map_err(Unfilled::NoValue)?,
                Part::Secret(name) => value(Placeholder::Secret(name)).map_err(Unfilled::NoValue)?,
            };
            text.push(&piece).map_err(|TooLong| Unfilled::TooLong)?;
        }
        Ok(())
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
    fn filling_stops_where_the_text_would_be_too_long() {
        let template = TextTemplate::parse(&"{{a}}-".repeat(1000)).expect("a template");
        let asked = std::cell::Cell::new(0);
        let value = |placeholder: Placeholder<'_>| {
            asked.set(asked.get() + 1);
            match placeholder {
                Placeholder::Argument("a") => Ok(Cow::Borrowed("four")),
                _ => Err("no value"),
            }
        };
        let mut text = BoundedText::new(12);
        assert_eq!(template.fill(&mut text, value), Err(Unfilled::TooLong));
        assert_eq!((text.as_str(), asked.get()), ("four-four-", 3));
        let secret = TextTemplate::parse("{{secret:a}}").expect("a template");
        assert_eq!(secret.fill(&mut text, value), Err(Unfilled::NoValue("no value")));
        let short = TextTemplate::parse("{{a}}").expect("a template");
        let mut text = BoundedText::new(4);
        assert_eq!(short.fill(&mut text, value), Ok(()));
        assert_eq!(text.into_text(), "four");
    }

    #[test]
    fn a_value_takes_the_room_of_its_json() {
        let mut room = Room::of(10);
        let value = serde_json::json!({"a": [1]});
        assert_eq!((room.take_value(&value), room.left()), (Ok(()), 1));
        assert_eq!(room.take_value(&value), Err(TooLong));
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
