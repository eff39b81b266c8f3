//! What takes the place of secrets in what comes back from those who were sent them.

use secrecy::{ExposeSecret, SecretString};

/// Shorter secrets are not looked for: they would be found in words.
const SHORTEST: usize = 6;

/// Stands where a secret stood.
const IN_ITS_PLACE: &str = "[secret]";

/// Secrets that nobody is to read in an answer, as they are and as JSON writes them.
#[derive(Debug, Clone, Default)]
pub struct HiddenSecrets(Vec<SecretString>);

impl HiddenSecrets {
    /// These, but for the shortest.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut hidden: Vec<SecretString> = Vec::new();
        for secret in secrets {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST {
                continue;
            }
            let in_json = serde_json::Value::from(secret).to_string();
            hidden.push(in_json[1..in_json.len() - 1].into());
            hidden.push(secret.into());
        }
        // One may be a part of another.
        hidden.sort_by(|one, other| longest_first(one.expose_secret(), other.expose_secret()));
        hidden.dedup_by(|one, other| one.expose_secret() == other.expose_secret());
        Self(hidden)
    }

    /// The text with `[secret]` in the place of each. To be called before a text is cut: of a secret at the cut a part would stay.
    pub fn replaced_in(&self, mut text: String) -> String {
        for secret in &self.0 {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), IN_ITS_PLACE);
            }
        }
        text
    }

    /// The same for the beginning of something of which the rest is not known: what may be the beginning of a secret at its end is left out.
    pub fn replaced_in_beginning(&self, text: String) -> String {
        let mut text = self.replaced_in(text);
        let begun = self
            .0
            .iter()
            .map(|secret| begun_at_the_end(&text, secret.expose_secret()));
        let begun = begun.max().unwrap_or(0);
        text.truncate(text.len() - begun);
        text
    }
}

fn longest_first(one: &str, other: &str) -> std::cmp::Ordering {
    other.len().cmp(&one.len()).then_with(|| one.cmp(other))
}

/// Bytes of the longest end of `text` with which `secret` begins.
fn begun_at_the_end(text: &str, secret: &str) -> usize {
    let ends = secret.char_indices().map(|(end, _)| end);
    ends.rev().find(|end| text.ends_with(&secret[..*end])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(secrets: &[&str]) -> HiddenSecrets {
        let secrets: Vec<SecretString> = secrets.iter().map(|secret| (*secret).into()).collect();
        HiddenSecrets::new(&secrets)
    }

    #[test]
    fn secrets_are_replaced_wherever_and_however_they_are_written() {
        let hidden = hidden(&["hidden-token", "hidden-token-2", "quo\"ted\\secret", "short"]);
        let text = "a hidden-token b hidden-token-2 {\"c\":\"quo\\\"ted\\\\secret\"} quo\"ted\\secret short".to_owned();
        assert_eq!(
            hidden.replaced_in(text),
            "a [secret] b [secret] {\"c\":\"[secret]\"} [secret] short"
        );
        assert!(!format!("{hidden:?}").contains("hidden-token"));
    }

    #[test]
    fn of_a_secret_at_the_end_of_a_part_nothing_stays() {
        let hidden = hidden(&["abcabcdä", "other-secret"]);
        for (part, expected) in [
            ("x abcabcdä", "x [secret]"),
            ("x abcabcd", "x "),
            ("x abcabc", "x "),
            ("x abcab", "x "),
            ("x o", "x "),
            ("x abcabcx", "x abcabcx"),
            ("x", "x"),
            ("", ""),
        ] {
            assert_eq!(hidden.replaced_in_beginning(part.to_owned()), expected, "{part}");
        }
        assert_eq!(HiddenSecrets::default().replaced_in_beginning("abc".to_owned()), "abc");
    }
}
