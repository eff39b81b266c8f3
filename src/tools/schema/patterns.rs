//! How long patterns of others take. A pattern is a machine that reads a text once, whatever the text is. What it takes for a byte depends on
//! the machine: mostly a few nanoseconds, but one that is as large as it may be, and whose states are too many to be kept, takes ten
//! thousand (measured). So each is charged by its size.

use jsonschema::{Draft, PatternOptions, ValidationOptions};
use serde_json::json;

/// Bytes of memory that a pattern may take: a short one can be a huge machine.
pub(super) const LARGEST: usize = 128 * 1024;

/// Steps for each piece of a text, for each KiB of the pattern. About 150 ns for a byte and a KiB were the worst that was found.
const STEPS_OF_A_KIB: usize = 8;

/// The validator, with patterns that are no larger than that.
pub(super) fn options<'schema>(largest: usize) -> ValidationOptions<'schema> {
    let patterns = PatternOptions::regex().size_limit(largest).dfa_size_limit(LARGEST);
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .with_pattern_options(patterns)
}

/// Steps that a pattern takes for each [piece](super::steps::BYTES_OF_A_VALUE) of a text. Takes a while.
pub(super) fn steps_of(pattern: &str) -> u64 {
    // Nobody tells its size but by refusing what is larger.
    let schema = json!({"pattern": pattern});
    let mut size = 1024;
    while size < LARGEST && options(size).build(&schema).is_err() {
        size *= 2;
    }
    (size / 1024 * STEPS_OF_A_KIB) as u64
}
