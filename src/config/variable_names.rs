//! Names of environment variables that hold secrets, and how not to repeat a secret that somebody wrote in a name's place.

/// Letters of a part of a name, at least, before it may be a secret.
const LONG_PART: usize = 16;

/// Whether this can be the name of an environment variable, and is none that only a secret would have.
pub(super) fn is_variable_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !text.is_empty()
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(allowed)
        && !text.split('_').any(looks_random)
}

/// A long word of letters and digits, or of small and capital letters.
fn looks_random(part: &str) -> bool {
    let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
    let mixes_cases = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
    part.len() >= LONG_PART && (mixes_cases || has(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_secret_looks_like_is_no_name() {
        for right in [
            "OPENAI_API_KEY",
            "OPENAI_API_KEY_2",
            "openai_key_for_team_1",
            "A1",
            "_K",
            "DEPARTMENTOFENERGYKEY",
        ] {
            assert!(is_variable_name(right), "{right}");
        }
        for wrong in [
            "",
            "1KEY",
            "sk-proj-abc",
            "MY KEY",
            "postgres://u:p@h/d",
            "sk_live_4eC39HqLyjWDarjtT1zdp7dc",
            "0123456789abcdef0123456789abcdef",
            "a123456789abcdef0123456789abcdef",
            "AKIAIOSFODNN7EXAMPLE",
        ] {
            assert!(!is_variable_name(wrong), "{wrong}");
        }
    }
}
