//! Turns requests into values, or into errors that name what is wrong.

pub(super) mod declared;
pub(super) mod fields;
pub(super) mod json_body;
pub(super) mod query;
pub(super) mod run_path;
pub(super) mod strict_json;
pub(super) mod thread_path;
