//! The binary under test.

use std::path::Path;
use std::process::Output;

use crate::rig::Binary;

/// The binary that cargo built for these tests.
pub(crate) fn binary() -> Binary {
    Binary::at(env!("CARGO_BIN_EXE_callboard"))
}

/// Runs a command of the binary that ends by itself.
pub(crate) async fn run_to_end(directory: &Path, arguments: &[&str]) -> Output {
    binary().run_to_end(directory, &[], arguments).await.unwrap()
}
