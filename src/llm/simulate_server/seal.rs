//! What a thought carries so that it can be sent back: a signature, or the thought encrypted. As at the real providers, one that was changed
//! on its way is noticed; unlike theirs, these are no secrets, and every simulated provider knows those of the others.

use sha2::{Digest, Sha256};

const MARK: &str = "simulated-";

/// The signature of a thought.
pub(super) fn signature_of(thought: &str) -> String {
    format!("{MARK}{}", hash(&["signature", thought]))
}

/// Stands for a thought that only the provider can read.
pub(super) fn encrypted(thought: &str) -> String {
    let content = hash(&["content", thought]);
    let check = hash(&["check", &content]);
    format!("{MARK}{content}{check}")
}

/// Whether [`encrypted`] wrote it.
pub(super) fn is_encrypted(text: &str) -> bool {
    let Some((content, check)) = text.strip_prefix(MARK).and_then(|text| text.split_at_checked(64)) else {
        return false;
    };
    check == hash(&["check", content])
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.as_bytes());
        hasher.update([0]);
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_noticed() {
        let text = encrypted("a thought");
        assert!(is_encrypted(&text));
        for changed in [
            text.replace('0', "1"),
            text[1..].to_owned(),
            String::new(),
            "é".repeat(70),
        ] {
            assert!(!is_encrypted(&changed), "{changed}");
        }
        assert_ne!(signature_of("a"), signature_of("b"));
    }
}
