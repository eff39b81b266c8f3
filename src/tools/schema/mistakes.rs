//! What is wrong with arguments, in a sentence for a model. All arguments may be wrong, and the validator makes a list of all mistakes before
//! it shows the first: so it is asked for them only where they are few.

use std::fmt::{self, Write};

use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::steps::Steps;

/// Mistakes that a model is told of at once.
const MOST_TOLD: usize = 5;

/// Bytes of each.
const LONGEST: usize = 300;

/// Mistakes that the validator may gather; each has a step or more of its own.
pub(super) const MOST_GATHERED: u64 = 4_000;

/// How much the validator is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// The first few of all mistakes.
    First,
    /// The first one, at which it stops.
    One,
    /// None: even for one it would gather too many.
    None,
}

impl Telling {
    /// For a check that takes so many steps.
    pub(super) fn of(steps: Steps) -> Self {
        match steps {
            Steps { all, .. } if all <= MOST_GATHERED => Self::First,
            Steps { for_a_choice, .. } if for_a_choice <= MOST_GATHERED => Self::One,
            _ => Self::None,
        }
    }
}

/// What is wrong with arguments that do not fit.
pub(super) fn told(validator: &Validator, arguments: &Value, telling: Telling) -> String {
    let mistakes: Vec<String> = match telling {
        Telling::First => validator
            .iter_errors(arguments)
            .take(MOST_TOLD)
            .map(|mistake| sentence(&mistake))
            .collect(),
        Telling::One => validator.validate(arguments).err().iter().map(sentence).collect(),
        Telling::None => {
            vec!["they do not fit the tool's schema, and are too many to say where: give fewer at once".to_owned()]
        }
    };
    format!("wrong arguments: {}", mistakes.join("; "))
}

/// A text that is cut where it becomes too long, also one of megabytes: it is not written further.
pub(super) fn shortened(text: &impl fmt::Display) -> String {
    let mut shortened = Shortened(String::new());
    if write!(shortened, "{text}").is_err() {
        shortened.0.push('…');
    }
    shortened.0
}

fn sentence(mistake: &ValidationError<'_>) -> String {
    let place = mistake.instance_path();
    match place.as_str() {
        "" => shortened(&format_args!("the arguments: {mistake}")),
        place => shortened(&format_args!("{place}: {mistake}")),
    }
}

struct Shortened(String);

impl Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = LONGEST - self.0.len();
        if text.len() <= room {
            self.0.push_str(text);
            return Ok(());
        }
        self.0.push_str(&text[..text.floor_char_boundary(room)]);
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_and_not_written_further() {
        assert_eq!(shortened(&"short"), "short");
        let exact = "x".repeat(LONGEST);
        assert_eq!(shortened(&exact), exact);
        let cut = shortened(&format_args!("{}{}", "ü".repeat(149), "€€€"));
        assert_eq!(cut, format!("{}…", "ü".repeat(149)));

        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    formatter.write_str("and so on, ")?;
                }
            }
        }
        assert_eq!(shortened(&Endless).len(), LONGEST + '…'.len_utf8());
    }
}
