//! Names of a server's tools as models see them: `server__tool`, in characters and of a length that every provider takes.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// What providers take as the name of a tool.
const LONGEST: usize = 64;

/// Hexadecimal digits that tell two names apart.
const DIGITS: usize = 8;

/// A name for this tool that is not among those taken, and is then. The same tools in the same order have the same names always.
pub(super) fn exposed(server: &str, tool: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = format!("{}__{}", allowed(server), allowed(tool));
    let is_whole = plain.len() <= LONGEST && allowed(tool) == tool;
    if is_whole && taken.insert(plain.clone()) {
        return plain;
    }
    for attempt in 0_u32.. {
        let digest = Sha256::digest(format!("{server}\n{tool}\n{attempt}"));
        let hex: String = digest
            .iter()
            .take(DIGITS / 2)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let kept = plain.len().min(LONGEST - DIGITS - 1);
        let name = format!("{}_{hex}", &plain[..kept]);
        if taken.insert(name.clone()) {
            return name;
        }
    }
    unreachable!("some number makes a name that is free")
}

/// ASCII only, so that it can be cut anywhere.
fn allowed(name: &str) -> String {
    let keep = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-');
    name.chars()
        .map(|character| if keep(character) { character } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fit_for_models_and_differ() {
        let mut taken = BTreeSet::from(["files__search".to_owned()]);
        let long = "x".repeat(100);
        let tools = ["read", "search", "a b", "a_b", "a.b", "ünï", &long, "read"];
        let names: Vec<String> = tools.iter().map(|tool| exposed("files", tool, &mut taken)).collect();
        assert_eq!(names[0], "files__read");
        assert_eq!(names[3], "files__a_b");
        for name in &names {
            assert!(name.len() <= LONGEST && allowed(name) == *name, "{name}");
        }
        assert!(names[1].starts_with("files__search_") && names[2].starts_with("files__a_b_"));
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        let mut again = BTreeSet::from(["files__search".to_owned()]);
        let repeated: Vec<String> = tools.iter().map(|tool| exposed("files", tool, &mut again)).collect();
        assert_eq!(repeated, names);
    }
}
