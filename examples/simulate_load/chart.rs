//! The figures as a picture.

use std::path::Path;

use crate::report::Report;

/// Draws one row per scenario.
pub(crate) fn draw(_path: &Path, _reports: &[Report]) -> anyhow::Result<()> {
    Ok(())
}
