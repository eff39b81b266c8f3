//! `sql_query`: reads from the databases that the configuration names. That nothing is written is for the database to see to; here it is
//! made sure that it does.

mod postgres;
mod sqlite;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use callboard_actors::ids::AccountId;
use callboard_actors::ports::{RetryClass, Tool, ToolCall, ToolDefinition, ToolError};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::reach::ToolReach;
use crate::places::SharedPlaces;

/// Statements of one call.
const MOST_QUERIES: usize = 10;

/// Bytes of a statement.
const LONGEST_QUERY: usize = 20_000;

/// A database that may be read.
#[derive(Debug, Clone)]
pub struct DatabaseOptions {
    /// Which.
    pub place: DatabasePlace,
    /// Rows of an answer.
    pub max_rows: usize,
    /// How long a statement may take.
    pub timeout: Duration,
    /// Statements at once, of all runs of this instance.
    pub max_concurrent: usize,
}

/// Where a database is.
#[derive(Debug, Clone)]
pub enum DatabasePlace {
    /// A PostgreSQL with this URL.
    Postgres(SecretString),
    /// A file of SQLite.
    Sqlite(PathBuf),
}

pub(super) struct SqlQuery {
    databases: BTreeMap<String, Database>,
    reach: ToolReach,
    max_bytes: usize,
}

struct Database {
    source: Source,
    places: SharedPlaces,
    bounds: Bounds,
}

enum Source {
    Postgres(Box<sqlx::postgres::PgConnectOptions>),
    Sqlite(PathBuf),
}

/// What a statement keeps to.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    rows: usize,
    /// Of all rows, as JSON.
    bytes: usize,
    time: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    #[serde(default)]
    database: Option<String>,
    queries: Vec<String>,
}

/// Rows as lists, in the order of the columns.
#[derive(Debug, Default, Serialize)]
struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Box<RawValue>>>,
    /// There are more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

/// What became of a statement.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Outcome {
    Rows(Rows),
    Error { error: String },
}

/// Takes rows for as long as there is room.
struct RowCollector {
    rows: Rows,
    bounds: Bounds,
    bytes: usize,
}

impl RowCollector {
    fn new(columns: Vec<String>, bounds: Bounds) -> Self {
        Self {
            rows: Rows {
                columns,
                ..Rows::default()
            },
            bounds,
            bytes: 0,
        }
    }

    /// `false`: there is no room for this one, and none for more.
    fn push(&mut self, row: Vec<Box<RawValue>>) -> bool {
        let length = row.iter().map(|value| value.get().len() + 1).sum::<usize>() + 3;
        if self.rows.rows.len() == self.bounds.rows || self.bytes + length > self.bounds.bytes {
            self.rows.truncated = true;
            return false;
        }
        self.bytes += length;
        self.rows.rows.push(row);
        true
    }
}

impl SqlQuery {
    /// `max_bytes`: of an answer.
    ///
    /// # Errors
    /// A URL is none.
    pub(super) fn new(
        databases: BTreeMap<String, DatabaseOptions>,
        max_bytes: usize,
        reach: ToolReach,
    ) -> anyhow::Result<Self> {
        let opened = databases.into_iter().map(|(name, options)| {
            let source = match options.place {
                DatabasePlace::Sqlite(path) => Source::Sqlite(path),
                DatabasePlace::Postgres(url) => {
                    let options = postgres::connect_options(&url, options.timeout);
                    let options = options
                        .ok_or_else(|| anyhow::anyhow!("tools.databases.{name}: this is no URL of PostgreSQL"))?;
                    Source::Postgres(Box::new(options))
                }
            };
            let database = Database {
                source,
                places: SharedPlaces::new(options.max_concurrent),
                bounds: Bounds {
                    rows: options.max_rows,
                    bytes: max_bytes,
                    time: options.timeout,
                },
            };
            Ok((name, database))
        });
        Ok(Self {
            databases: opened.collect::<anyhow::Result<_>>()?,
            reach,
            max_bytes,
        })
    }

    fn database(&self, wanted: Option<&str>) -> Result<&Database, ToolError> {
        let names = || self.databases.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        match wanted {
            Some(name) => {
                let found = self.databases.get(name);
                found.ok_or_else(|| ToolError::new(format!("there is no database {name:?}; there are {}", names())))
            }
            None if self.databases.len() == 1 => self
                .databases
                .values()
                .next()
                .ok_or_else(|| ToolError::new("there is no database")),
            None => Err(ToolError::new(format!("`database` is needed: one of {}", names()))),
        }
    }

    async fn outcome(&self, database: &Database, account: &AccountId, query: String, share: usize) -> Outcome {
        // A tenth is for what is around the rows: an answer that is cut later is no JSON any more.
        let bounds = Bounds {
            bytes: database.bounds.bytes / 10 * 9 / share,
            ..database.bounds
        };
        let [own, all] = database.places.of(account);
        // The semaphores are never closed.
        let _places = (own.acquire().await, all.acquire().await);
        let pool = self.reach.blocking_pool.for_account(account);
        let read = match &database.source {
            _ if query.len() > LONGEST_QUERY => Err(format!("a statement has at most {LONGEST_QUERY} bytes")),
            Source::Sqlite(path) => sqlite::read(&pool, path.clone(), query, bounds).await,
            Source::Postgres(options) => postgres::read(options, &query, bounds).await,
        };
        match read {
            Ok(rows) => Outcome::Rows(rows),
            Err(error) => Outcome::Error { error },
        }
    }
}

fn took_too_long(bounds: Bounds) -> String {
    format!("the statement took longer than {:?}", bounds.time)
}

#[async_trait]
impl Tool for SqlQuery {
    fn definition(&self) -> ToolDefinition {
        let names: Vec<&String> = self.databases.keys().collect();
        let mut required = vec!["queries"];
        if names.len() > 1 {
            required.push("database");
        }
        let kinds = self.databases.iter().map(|(name, database)| match database.source {
            Source::Postgres(_) => format!("{name} (PostgreSQL)"),
            Source::Sqlite(_) => format!("{name} (SQLite)"),
        });
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        ToolDefinition {
            name: "sql_query".into(),
            description: format!(
                "Reads from a database: {kinds}. Takes several SELECT statements, which run at once; each is one statement. An answer has \
                 columns and rows, and says `truncated` if there are more."
            ),
            parameters: json!({
                "type": "object",
                "properties": {
                    "database": {"type": "string", "enum": names},
                    "queries": {
                        "type": "array", "minItems": 1, "maxItems": MOST_QUERIES,
                        "items": {"type": "string", "minLength": 1, "maxLength": LONGEST_QUERY}
                    }
                },
                "required": required,
                "additionalProperties": false
            }),
        }
    }

    fn retry_class(&self) -> RetryClass {
        RetryClass::Safe
    }

    async fn call(&self, call: ToolCall) -> Result<String, ToolError> {
        let Arguments { database, mut queries } = super::arguments(call.arguments)?;
        let database = self.database(database.as_deref())?;
        queries.truncate(MOST_QUERIES);
        let share = queries.len().max(1);
        let all = queries
            .into_iter()
            .map(|query| self.outcome(database, &call.account, query, share));
        let outcomes: Vec<Outcome> = futures::future::join_all(all).await;
        if let [Outcome::Error { error }] = outcomes.as_slice() {
            return Err(ToolError::new(error.clone()));
        }
        let shown = self
            .reach
            .work_through(&call.account, self.max_bytes, move || serde_json::to_string(&outcomes))
            .await?;
        shown.map_err(|_| ToolError::new("the rows cannot be shown"))
    }
}

#[cfg(test)]
mod tests;
