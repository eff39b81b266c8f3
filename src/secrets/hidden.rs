//! What takes the place of secrets in what comes back from those who were sent them.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// Shorter secrets are not looked for: they would be found in words.
const SHORTEST: usize = 6;

/// Of secrets that come and go, so many are remembered.
const MOST_LATER: usize = 8;

/// Stands where a secret stood.
const IN_ITS_PLACE: &str = "[secret]";

/// Secrets that nobody is to read in an answer, as they are and as JSON writes them. Cheap to clone: all clones hide the same.
#[derive(Clone, Default)]
pub struct HiddenSecrets(Arc<RwLock<Kept>>);

#[derive(Default)]
struct Kept {
    /// The longest first: one may be a part of another.
    forms: Vec<SecretString>,
    fixed: Vec<SecretString>,
    later: VecDeque<SecretString>,
}

impl HiddenSecrets {
    /// These, but for the shortest.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a SecretString>) -> Self {
        let mut kept = Kept {
            fixed: secrets.into_iter().cloned().collect(),
            ..Kept::default()
        };
        kept.write_forms();
        Self(Arc::new(RwLock::new(kept)))
    }

    /// One more, that has come to be: an access token, say. Those before it stay hidden for a while.
    pub fn add(&self, secret: SecretString) {
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        kept.later.truncate(MOST_LATER - 1);
        kept.later.push_front(secret);
        kept.write_forms();
    }

    /// The text with `[secret]` in the place of each. To be called before a text is cut: of a secret at the cut a part would stay.
    pub fn replaced_in(&self, mut text: String) -> String {
        for secret in &self.kept().forms {
            if text.contains(secret.expose_secret()) {
                text = text.replace(secret.expose_secret(), IN_ITS_PLACE);
            }
        }
        text
    }

    /// The same for the beginning of something of which the rest is not known: what may be the beginning of a secret at its end is left out.
    pub fn replaced_in_beginning(&self, text: String) -> String {
        let mut text = self.replaced_in(text);
        let kept = self.kept();
        let begun = kept
            .forms
            .iter()
            .map(|secret| begun_at_the_end(&text, secret.expose_secret()));
        let begun = begun.max().unwrap_or(0);
        text.truncate(text.len() - begun);
        text
    }

    /// Whether there is nothing to hide (yet).
    pub fn is_empty(&self) -> bool {
        self.kept().forms.is_empty()
    }

    fn kept(&self) -> std::sync::RwLockReadGuard<'_, Kept> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn write_forms(&mut self) {
        let mut forms: Vec<SecretString> = Vec::new();
        for secret in self.fixed.iter().chain(&self.later) {
            let secret = secret.expose_secret();
            if secret.len() < SHORTEST {
                continue;
            }
            let in_json = serde_json::Value::from(secret).to_string();
            forms.push(in_json[1..in_json.len() - 1].into());
            forms.push(secret.into());
        }
        forms.sort_by(|one, other| longest_first(one.expose_secret(), other.expose_secret()));
        forms.dedup_by(|one, other| one.expose_secret() == other.expose_secret());
        self.forms = forms;
    }
}

impl fmt::Debug for HiddenSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HiddenSecrets")
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
    fn what_comes_later_is_hidden_for_a_while_in_all_clones() {
        let hidden = hidden(&["always-hidden"]);
        let clone = hidden.clone();
        for number in 100..=100 + MOST_LATER {
            hidden.add(format!("token-{number}").into());
        }
        let text = "always-hidden token-100 token-101 token-108".to_owned();
        assert_eq!(clone.replaced_in(text), "[secret] token-100 [secret] [secret]");
        assert_eq!(clone.replaced_in_beginning("it is token-10".to_owned()), "it is ");
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
