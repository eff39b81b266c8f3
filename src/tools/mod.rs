//! Tools: built-in ones, and what can be made of those that clients declare.

mod calculator;
mod declarations;
mod echo;
mod fetch_url;
mod http_tool;
mod limited;
pub mod mcp;
mod now;
mod page_text;
pub mod parse_file;
mod reach;
pub mod schema;
mod search;
mod sql_query;
mod toolbox;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use callboard_actors::ports::{Tool, ToolError};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::files::FileService;
pub use limited::ToolLimits;
pub use parse_file::{DocumentLimits, DocumentReader};
pub use reach::ToolReach;
pub use search::{InvalidSearch, SearchOptions};
pub use sql_query::{DatabaseOptions, DatabasePlace};
pub use toolbox::{ServerToolbox, ToolboxOptions};

/// The names of all built-in tools.
pub const fn builtin_names() -> [&'static str; 8] {
    [
        "now",
        "echo",
        "wait",
        "calculator",
        "fetch_url",
        "parse_file",
        "search",
        "sql_query",
    ]
}

/// What built-in tools are made of.
pub struct BuiltinParts {
    /// For addresses that models choose.
    pub reach: ToolReach,
    /// Uploaded files.
    pub files: FileService,
    /// What reading one as a document may use.
    pub documents: DocumentLimits,
    /// The search endpoint, and what reaches it.
    pub search: Option<(SearchOptions, ToolReach)>,
    /// The databases that may be read, by name.
    pub databases: BTreeMap<String, DatabaseOptions>,
    /// Bytes of an output that are kept.
    pub max_output: usize,
}

/// The built-in tool with this name.
///
/// # Errors
/// There is none, or it cannot work with these parts.
pub fn builtin(name: &str, parts: &BuiltinParts) -> anyhow::Result<Arc<dyn Tool>> {
    let reach = parts.reach.clone();
    Ok(match name {
        "now" => Arc::new(now::Now),
        "echo" => Arc::new(echo::Echo),
        "wait" => Arc::new(wait::Wait),
        "calculator" => Arc::new(calculator::Calculator),
        "fetch_url" => Arc::new(fetch_url::FetchUrl { reach }),
        "parse_file" => {
            let documents = DocumentReader::of_this_program(parts.documents)?;
            let files = parts.files.clone();
            Arc::new(parse_file::ParseFile::new(files, documents, parts.max_output))
        }
        "search" => {
            let (options, reach) = parts.search.clone().context("search needs [tools.search]")?;
            Arc::new(search::Search::new(options, reach).map_err(|wrong| anyhow::anyhow!("tools.search.{wrong}"))?)
        }
        "sql_query" => {
            let databases = parts.databases.clone();
            Arc::new(sql_query::SqlQuery::new(databases, parts.max_output, reach)?)
        }
        _ => bail!("there is no tool {name:?}"),
    })
}

/// Reads a tool's arguments; the error tells the model what to mend.
fn arguments<T: DeserializeOwned>(mut value: Value) -> Result<T, ToolError> {
    if let Some(fields) = value.as_object_mut() {
        fields.values_mut().for_each(write_whole_number);
    }
    serde_json::from_value(value).map_err(|error| ToolError::new(format!("wrong arguments: {error}")))
}

/// To JSON Schema 1.0 is an integer, to Rust it is none.
fn write_whole_number(value: &mut Value) {
    /// Integers above it have neighbours that a float cannot tell from them.
    const LARGEST: f64 = 9_007_199_254_740_992.0;
    let number = value.as_f64().filter(|_| value.is_f64());
    if let Some(whole) = number.filter(|number| number.fract() == 0.0 && number.abs() <= LARGEST) {
        *value = Value::from(whole as i64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Wanted {
            offset: u64,
            share: f64,
        }
        let read = |offset: Value| arguments::<Wanted>(serde_json::json!({"offset": offset, "share": 2.0}));
        for offset in [serde_json::json!(3), serde_json::json!(3.0)] {
            let wanted = read(offset).expect("arguments");
            assert_eq!(wanted, Wanted { offset: 3, share: 2.0 });
        }
        assert!(read(serde_json::json!(3.5)).is_err());
    }
}
