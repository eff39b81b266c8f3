//! Text with placeholders: `{{name}}`.

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Stands for itself.
    Text(&'a str),
    /// `{{name}}`, with or without blanks around the name: something is to stand there.
    Placeholder(&'a str),
}

/// Why a template cannot be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfilled<'a> {
    /// Nothing is there for this placeholder.
    NoValue(&'a str),
    /// The text would be longer than it may be.
    TooLong,
}

/// The text with values in the places of the placeholders: at most `most` bytes, and no more than that is ever written. What is put in is not
/// looked at again.
///
/// # Errors
/// The first value that is not there, or with which the text is too long.
pub fn filled<'a, 'v>(
    template: &'a str,
    most: usize,
    value: impl Fn(&str) -> Option<&'v str>,
) -> Result<String, Unfilled<'a>> {
    let mut text = String::new();
    for piece in pieces(template) {
        let next = match piece {
            Piece::Text(text) => text,
            Piece::Placeholder(name) => value(name).ok_or(Unfilled::NoValue(name))?,
        };
        if next.len() > most - text.len() {
            return Err(Unfilled::TooLong);
        }
        text.push_str(next);
    }
    Ok(text)
}

/// Whether this can stand between the braces: letters, digits and `_`, at most 64, no digit in front.
pub fn is_placeholder_name(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=64).contains(&text.len()) && text.bytes().all(is_part) && !text.as_bytes()[0].is_ascii_digit()
}

/// The pieces of a template, in order. Braces around anything but a name are text.
pub fn pieces(template: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut text_from, mut at) = (0, 0);
    while let Some(found) = template[at..].find("{{") {
        let open = at + found;
        let Some(length) = template[open + 2..].find("}}") else {
            break;
        };
        let inside = &template[open + 2..open + 2 + length];
        let name = inside.trim_matches(' ');
        if !is_placeholder_name(name) {
            // `{{{name}}` has its placeholder one brace later.
            at = open + 1;
            continue;
        }
        if open > text_from {
            pieces.push(Piece::Text(&template[text_from..open]));
        }
        pieces.push(Piece::Placeholder(name));
        at = open + 4 + length;
        text_from = at;
    }
    if text_from < template.len() {
        pieces.push(Piece::Text(&template[text_from..]));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::Piece::{Placeholder, Text};
    use super::*;

    #[test]
    fn names_in_double_braces_are_placeholders() {
        assert_eq!(
            pieces("Dear {{name}}, {{ x_1 }}{{y}}!"),
            [
                Text("Dear "),
                Placeholder("name"),
                Text(", "),
                Placeholder("x_1"),
                Placeholder("y"),
                Text("!")
            ]
        );
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "", "a", "{", "{{", "{{}}", "{{a b}}", "{{1}}", "{{a", "{a}", "}}{{", "{{ä}}", "{{\na}}",
        ] {
            let expected: &[Piece<'_>] = if text.is_empty() { &[] } else { &[Text(text)] };
            assert_eq!(pieces(text), expected, "{text}");
        }
        assert_eq!(pieces("{{{a}}}"), [Text("{"), Placeholder("a"), Text("}")]);
        assert_eq!(pieces("{{ {{a}}"), [Text("{{ "), Placeholder("a")]);
    }

    #[test]
    fn a_text_is_filled_up_to_its_bound_and_no_further() {
        let value = |name: &str| (name == "a").then_some("four");
        assert_eq!(filled("-{{a}}{{ a }}", 9, value).as_deref(), Ok("-fourfour"));
        assert_eq!(filled("-{{a}}{{ a }}", 8, value), Err(Unfilled::TooLong));
        assert_eq!(filled("{{b}}", 9, value), Err(Unfilled::NoValue("b")));
        // What stands behind the bound is not asked for: nothing is filled in that is thrown away afterwards.
        let asked = std::cell::Cell::new(0);
        let counted = |_: &str| {
            asked.set(asked.get() + 1);
            Some("four")
        };
        assert_eq!(filled(&"{{a}}".repeat(1000), 10, counted), Err(Unfilled::TooLong));
        assert_eq!(asked.get(), 3);
    }

    proptest::proptest! {
        #[test]
        fn no_text_is_lost(template in "[{} a_1ä]{0,40}") {
            let written: String = pieces(&template)
                .into_iter()
                .map(|piece| match piece {
                    Text(text) => text.to_owned(),
                    Placeholder(name) => format!("{{{{{name}}}}}"),
                })
                .collect();
            let without_blanks = |text: &str| text.replace(' ', "");
            proptest::prop_assert_eq!(without_blanks(&written), without_blanks(&template));
        }
    }
}
